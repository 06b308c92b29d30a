"""Small distributions, as pip leaves them in site-packages."""

from __future__ import annotations

from pathlib import Path


def write_distribution(
    folder: Path, name: str, version: str, entry_points: dict[str, str], **modules: str
) -> None:
    """Write ``NAME-VERSION.dist-info`` and modules into a folder that is on sys.path.

    Args:
        entry_points: "GROUP NAME" to what is loaded.
        modules: name to source.
    """
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    lines = []
    for where, target in entry_points.items():
        group, point = where.split()
        lines.append(f"[{group}]\n{point} = {target}\n")
    (info / "entry_points.txt").write_text("\n".join(lines))
    for module, source in modules.items():
        (folder / f"{module}.py").write_text(source, encoding="utf-8")
