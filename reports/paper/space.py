"""The search space that trains the rows of a table: YAML that ``sweep run`` takes."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from reports.paper.published import (
    BASELINE,
    Architecture,
    Attention,
    Benchmark,
    PublishedTable,
    Row,
)
from sweep.errors import UserError
from sweep.registry import DATASETS, nearest

SEEDS = [0, 1, 2]
"""The papers print one run of each row; a spread needs more."""
WIDTH = 96
WORKERS = 8
"""Processes that read and decode a data set of photos."""


def search_space(table: PublishedTable, dataset: str | None = None) -> str:
    """Return the YAML of the space that trains a table's rows.

    Args:
        table: whose rows are trained.
        dataset: of a table with several, the one that is wanted.

    Raises:
        UserError: no row is a trial, or the table has several data sets, or not this one.
    """
    rows = _rows_on(table, dataset)
    architectures = list(dict.fromkeys(_architecture(row) for row in rows))
    benchmark = architectures[0].benchmark
    space = {
        "study": table.name if dataset is None else f"{table.name}-{dataset}",
        "question": table.question,
        "task": benchmark.task,
        "dataset": _dataset(benchmark),
        "backbones": [_backbone(architecture, benchmark) for architecture in architectures],
        "attention": _attention(rows, architectures),
        "seeds": SEEDS,
        "recipe": {"preset": benchmark.recipe},
        **({"resources": {"workers": WORKERS}} if _streamed(benchmark) else {}),
    }
    return _header(table, rows) + _yaml(space)


def _rows_on(table: PublishedTable, dataset: str | None) -> list[Row]:
    rows = [row for row in table.rows if row.architecture is not None]
    if not rows:
        raise UserError(f"{table.name} has no row that is trained: {table.title}")
    known = list(dict.fromkeys(_architecture(row).benchmark.dataset for row in rows))
    if dataset is None and len(known) > 1:
        raise UserError(
            f"{table.name} has several data sets; choose one by --dataset: {', '.join(known)}"
        )
    if dataset is not None and dataset not in known:
        near = nearest(dataset, known)
        hint = f"; did you mean {near!r}?" if near else "."
        raise UserError(
            f"{table.name} has no data set {dataset!r}{hint} Allowed: {', '.join(known)}"
        )
    return [row for row in rows if dataset in (None, _architecture(row).benchmark.dataset)]


def _architecture(row: Row) -> Architecture:
    assert row.architecture is not None
    return row.architecture


def _dataset(benchmark: Benchmark) -> dict[str, Any]:
    default = DATASETS[benchmark.dataset].Config.model_fields["image_size"].default
    own_size = {} if default == benchmark.image_size else {"image_size": benchmark.image_size}
    return {"name": benchmark.dataset, **own_size}


def _streamed(benchmark: Benchmark) -> bool:
    return not DATASETS[benchmark.dataset].of({"image_size": benchmark.image_size}).resident


def _backbone(architecture: Architecture, shared: Benchmark) -> dict[str, Any]:
    own = architecture.benchmark.recipe
    return {
        "name": architecture.backbone,
        **({"stem": architecture.stem} if architecture.stem != "imagenet" else {}),
        **({"weights": architecture.weights} if architecture.weights else {}),
        "placement": architecture.placement,
        **({"recipe": {"preset": own}} if own != shared.recipe else {}),
    }


def _attention(rows: Sequence[Row], architectures: Sequence[Architecture]) -> list[Any]:
    """Return every setting of a module once, with the backbones that it is on where not all are.

    Every backbone has its baseline, also where the paper prints none.
    """
    settings: dict[str, tuple[Attention, list[str]]] = {_key(BASELINE): (BASELINE, [])}
    for row in rows:
        _, on = settings.setdefault(_key(row.attention), (row.attention, []))
        on.append(_architecture(row).backbone)
    names = [architecture.backbone for architecture in architectures]
    return [
        {
            **attention,
            **({"backbones": on} if set(on) != set(names) and not _bare(attention) else {}),
        }
        for attention, on in settings.values()
    ]


def _key(attention: Attention) -> str:
    return repr(sorted(attention.items()))


def _bare(attention: Attention) -> bool:
    return bool(attention["name"] == "none")


def _header(table: PublishedTable, rows: Sequence[Row]) -> str:
    deviations = dict.fromkeys(_architecture(row).benchmark.deviation for row in rows)
    sites = dict.fromkeys(
        f"{_architecture(row).backbone}: {_architecture(row).assumed}"
        for row in rows
        if _architecture(row).assumed
    )
    assumed = dict.fromkeys(
        f"{row.label.lstrip('+ ')}: {row.assumed}" for row in rows if row.assumed
    )
    parts = {
        "Question": table.question,
        "Paper": table.reference,
        "Expected": "the scores of the table, one run each: "
        f"sweep paper table {table.name} shows them beside these",
        "Assumed": "; ".join([*assumed, *sites]),
        "Deviation": "; ".join(filter(None, deviations)),
    }
    lines = []
    for name, text in parts.items():
        if text:
            lines += textwrap.wrap(
                text, WIDTH, initial_indent=f"# {name:<11}", subsequent_indent="#" + " " * 12
            )
    return "\n".join(lines) + "\n"


def _yaml(space: Mapping[str, Any]) -> str:
    """Return block style on the upper levels, flow style where an entry fits on a line."""
    from ruamel.yaml import YAML
    from ruamel.yaml.comments import CommentedMap, CommentedSeq

    def entry(value: Any) -> Any:
        if isinstance(value, Mapping):
            mapping = CommentedMap({key: entry(inner) for key, inner in value.items()})
            mapping.fa.set_flow_style()
            return mapping
        if isinstance(value, list):
            sequence = CommentedSeq(map(entry, value))
            sequence.fa.set_flow_style()
            return sequence
        return value

    shown = CommentedMap()
    for key, value in space.items():
        shown[key] = (
            [entry(v) for v in value] if key in ("backbones", "attention") else entry(value)
        )
    writer = YAML()
    writer.width = WIDTH
    writer.indent(mapping=2, sequence=4, offset=2)
    out = io.StringIO()
    writer.dump(shown, out)
    return out.getvalue()
