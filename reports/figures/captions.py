"""What captions say of configurations that a figure does not show."""

from __future__ import annotations

from collections.abc import Sequence

from reports.configs import ConfigRow, by_group


def counted(configs: Sequence[ConfigRow]) -> str:
    """Return the number and names of configurations: "2 of ResNet-18 (CA, SE); 1 of ..."."""
    return "; ".join(
        f"{len(members)} of {group} ({', '.join(config.name for config in members)})"
        for group, members in by_group(configs).items()
    )
