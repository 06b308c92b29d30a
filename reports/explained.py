"""Which models of a study Grad-CAM shows side by side, where nobody says: not the best ones.

The baseline and, of every attention module, the first configuration in the order of the grid. A
choice by score would show what the score has chosen.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from reports.configs import ConfigRow, by_group
from reports.rows import StudyRows
from sweep.errors import UserError
from sweep.registry import nearest

Runs = dict[int, str]
"""Seed to the MLflow run of a finished trial."""


def explained(
    rows: StudyRows,
    configs: Sequence[ConfigRow],
    backbone: str | None = None,
    modules: Collection[str] = (),
) -> dict[str, dict[str, Runs]]:
    """Return the runs of the models that are shown: by group and name, the baseline first.

    Args:
        rows: of the study.
        configs: of the study.
        backbone: registered name of the one to show; None means all.
        modules: names of the configurations to show beside the baseline, as tables print them; by
            default the first of every attention module.

    Raises:
        UserError: the study is none of classification, nothing of it has begun, or it has no such
            backbone or module; the text names those that it has.
    """
    if not configs:
        raise UserError(f"{rows.study} has no trial yet")
    task = rows.trials[0].settings["task"]
    if task != "classification":
        raise UserError(f"{rows.study} is a study of {task}; Grad-CAM explains a classification")
    backbones = [config.trials[0].backbone for config in configs]
    _check("--backbone", [] if backbone is None else [backbone], backbones, rows.study)
    shown = [c for c, name in zip(configs, backbones, strict=True) if backbone in (None, name)]
    _check("--module", modules, [c.name for c in shown if not c.is_baseline], rows.study)
    return {
        group: {config.name: _runs(config) for config in _side_by_side(members, modules)}
        for group, members in by_group(shown).items()
    }


def _side_by_side(members: Sequence[ConfigRow], modules: Collection[str]) -> list[ConfigRow]:
    """Return the baseline, and the configurations of a group that were asked for."""
    if modules:
        return [config for config in members if config.is_baseline or config.name in modules]
    firsts: dict[str, ConfigRow] = {}
    for config in members:
        firsts.setdefault(config.attention, config)
    return list(firsts.values())


def _runs(config: ConfigRow) -> Runs:
    return {trial.seed: trial.run_id for trial in config.trials if trial.status == "done"}


def _check(option: str, names: Collection[str], known: Sequence[str], study: str) -> None:
    """Refuse a name that a study does not have."""
    for name in names:
        if name not in known:
            guess = nearest(name, list(known))
            hint = f"; did you mean {guess!r}?" if guess else "."
            has = ", ".join(dict.fromkeys(known)) or "none"
            raise UserError(f"{option} {name!r} is not in {study}{hint} It has: {has}")
