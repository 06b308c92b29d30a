r"""The table of a study, with the papers' columns: Markdown, LaTeX and CSV.

Parameters are counted twice: by thop's convention, which the ELA paper prints (affine parameters of
GroupNorm are not counted), and truly. MACs are what the papers print as FLOPs. Bold is only what
beats every other row of its backbone by more than the noise; see ``stats.Noise``.

table.tex needs \usepackage{booktabs,siunitx} and the article class, nothing else.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from reports.rows import StudyRows
from reports.stats import ConfigRow, Spread, best_beyond_noise, by_group
from sweep.tasks.base import Metric

MISSING = "–"
NO_NUMBER = "{--}"
GIGA_FROM = 1e9
"""MACs from which a table counts in G."""
LATEX_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "Δ": r"$\Delta$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "–": "--",
    **{character: "\\" + character for character in "&%$#_{}"},
}


@dataclass(frozen=True)
class Cell:
    """A value as it is read."""

    text: str
    bold: bool = False


@dataclass(frozen=True)
class Section:
    """The rows of one group: one backbone under one recipe."""

    title: str
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True)
class Table:
    """The configurations of a study as the papers' tables have them."""

    rows: StudyRows
    configs: tuple[ConfigRow, ...]

    @property
    def header(self) -> tuple[str, ...]:
        """The titles of the columns, with units."""
        change = f"Δ{metric_name(self.rows.compared)}{_unit(self.rows.compared, change=True)}"
        scores = (metric.label for metric in self.metrics)
        costs = ("Params (M)", "true (M)", f"MACs ({self.macs_unit})")
        return ("Method", "Backbone", *costs, *scores, change)

    @cached_property
    def sections(self) -> tuple[Section, ...]:
        """The rows, by group."""
        return tuple(
            Section(group, tuple(self._cells(config) for config in configs))
            for group, configs in by_group(self.configs).items()
        )

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The metrics with a column: the compared one, and the others that more of is better."""
        return tuple(m for m in self.rows.metrics if m is self.rows.compared or m.mode == "max")

    @property
    def macs_unit(self) -> str:
        """The unit of MACs: "G" if any model has that many, else "M"."""
        return "G" if max((c.macs or 0 for c in self.configs), default=0) >= GIGA_FROM else "M"

    @cached_property
    def bold(self) -> Mapping[str, tuple[ConfigRow, ...]]:
        """By metric, the configurations that are the best of their group beyond the noise."""
        groups = by_group(self.configs).values()
        found = {
            m.name: [best_beyond_noise(configs, m) for configs in groups] for m in self.metrics
        }
        return {name: tuple(c for c in best if c is not None) for name, best in found.items()}

    def costs(self, config: ConfigRow) -> tuple[str, str, str]:
        """Return parameters by thop's convention and truly, and MACs, as printed."""
        macs = config.macs
        scaled = (
            f"{macs / 1e9:.3f}" if macs and self.macs_unit == "G" else f"{(macs or 0) / 1e6:.2f}"
        )
        return (
            _millions(config.params_thop_like),
            _millions(config.params_true),
            scaled if macs is not None else MISSING,
        )

    def _cells(self, config: ConfigRow) -> tuple[Cell, ...]:
        compared = self.rows.compared
        change = config.differences.get(compared.name)
        return (
            Cell(config.name),
            Cell(config.backbone),
            *map(Cell, self.costs(config)),
            *(
                Cell(
                    spread_text(config.spreads.get(metric.name), metric),
                    any(config is best for best in self.bold[metric.name]),
                )
                for metric in self.metrics
            ),
            Cell(spread_text(change, compared, sign="+")),
        )


def metric_name(metric: Metric) -> str:
    """Return a metric's name without its unit ("Top-1")."""
    return metric.label.partition(" (")[0]


def decimals(metric: Metric) -> int:
    """Return how many decimals of a metric are printed: two of per cent, as in the papers."""
    return 2 if metric.scale == 100 else 4


def number(value: float, metric: Metric, sign: str = "") -> str:
    """Return a stored value as printed, scaled."""
    return f"{value * metric.scale:{sign}.{decimals(metric)}f}"


def spread_text(spread: Spread | None, metric: Metric, sign: str = "") -> str:
    """Return "mean ± std (n)"; without ± for one seed, which shows no spread."""
    if spread is None:
        return MISSING
    spread_part = f" ± {number(spread.std, metric)}" if spread.std is not None else ""
    return f"{number(spread.mean, metric, sign)}{spread_part} ({spread.n})"


def caption(rows: StudyRows) -> str:
    """Return what a table must say of its numbers: data, recipe, seeds, device, spread."""
    return (
        f"{metric_name(rows.compared)} on the test split of {common(rows, 'dataset')}; "
        f"{common(rows, 'recipe.epochs')} epochs of one recipe for all rows; "
        f"mean ± sample standard deviation over seeds {seeds(rows)} (number of seeds); "
        f"Δ: against the baseline of the same backbone, paired by seed. Device: {devices(rows)}."
    )


def notes(table: Table) -> list[str]:
    """Return what a reader must know of a table beyond its caption."""
    lines = [
        "Params by thop's convention, as the ELA paper prints them (affine parameters of GroupNorm "
        "are not counted); true counts every one. MACs: one multiply-accumulate is one, of one "
        "image; the papers print MACs as FLOPs.",
        "Bold: beats every other row of its backbone by more than the noise (Tukey-Kramer, 95 %)."
        if any(table.bold.values())
        else "Nothing is bold: no row beats every other of its backbone by more than the noise "
        "(Tukey-Kramer, 95 %).",
    ]
    compared = table.rows.compared.name
    incomplete = [incomplete_text(config, compared) for config in table.configs]
    lines += [f"Not in the means: {text}." for text in incomplete if text]
    lines += [f"Adjusted: {c.group}, {c.name}: {c.adjusted}." for c in table.configs if c.adjusted]
    return lines


def incomplete_text(config: ConfigRow, metric: str) -> str:
    """Return how many trials of a configuration entered no mean, and why; empty if all did."""
    done = [trial for trial in config.trials if trial.status == "done"]
    counts = {
        "failed": config.count("failed"),
        "unfinished": config.count("unfinished"),
        "finished without a finite number": sum(t.score(metric) is None for t in done),
    }
    parts = [f"{count} {what}" for what, count in counts.items() if count]
    if not parts:
        return ""
    return f"{config.group}, {config.name}: {', '.join(parts)} of {len(config.trials)} trials"


def common(rows: StudyRows, setting: str) -> str:
    """Return a setting that all trials share, or all its values."""
    values = dict.fromkeys(trial.settings.get(setting, "unknown") for trial in rows.trials)
    return ", ".join(values) or "unknown"


def seeds(rows: StudyRows) -> str:
    """Return the seeds of a study."""
    return ", ".join(map(str, sorted({trial.seed for trial in rows.trials}))) or "none"


def devices(rows: StudyRows) -> str:
    """Return the devices that a study's finished trials ran on."""
    return "; ".join(dict.fromkeys(t.device for t in rows.trials if t.device)) or "unknown"


# Markdown ----------------------------------------------------------------------------------------


def markdown(table: Table) -> str:
    """Return the table in GitHub's Markdown, with caption and notes."""
    align = ["---", "---", *["---:"] * (len(table.header) - 2)]
    lines = [_markdown_row(map(_markdown_text, table.header)), _markdown_row(align)]
    for section in table.sections:
        lines += [_markdown_row(_markdown_cell(cell) for cell in row) for row in section.rows]
    if not table.configs:
        lines = ["No trial has run yet."]
    explained = [f"- {_markdown_text(note)}" for note in notes(table)] if table.configs else []
    title = f"# {_markdown_text(table.rows.study)}"
    text = [title, "", _markdown_text(table.rows.question), "", *lines, ""]
    text += [_markdown_text(caption(table.rows)), "", *explained]
    return "\n".join(text).rstrip() + "\n"


def _markdown_row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _markdown_cell(cell: Cell) -> str:
    text = _markdown_text(cell.text)
    return f"**{text}**" if cell.bold else text


def _markdown_text(text: str) -> str:
    for character in "\\|*_<`":
        text = text.replace(character, "\\" + character)
    return text


# LaTeX -------------------------------------------------------------------------------------------


def latex(table: Table) -> str:
    """Return a table float for booktabs and siunitx; each number of seeds has its own column."""
    lines = [
        r"% \usepackage{booktabs,siunitx}",
        *(f"% {note}" for note in notes(table)),
        r"\begin{table}",
        r"\centering",
        r"\sisetup{detect-weight=true, retain-explicit-plus=true}",
        rf"\caption{{{escape(caption(table.rows))}}}",
        rf"\label{{tab:{table.rows.study}}}",
        *(_tabular(table) if table.configs else ["No trial has run yet."]),
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def escape(text: str) -> str:
    """Return text as LaTeX prints it literally."""
    return "".join(LATEX_SPECIAL.get(character, character) for character in text)


def _tabular(table: Table) -> list[str]:
    body = [_latex_cells(table, config) for config in table.configs]
    columns = list(zip(*body, strict=True))
    scores = len(table.metrics) + 1
    kinds = ["l", "l", *map(_number_column, columns[2:5])]
    for mean in range(5, 5 + 4 * scores, 4):
        std = _number_column(columns[mean + 2])
        kinds += [_number_column(columns[mean]), r"@{\,}c@{\,}", std, "c"]
    return [
        rf"\begin{{tabular}}{{@{{}}{''.join(kinds)}@{{}}}}",
        r"\toprule",
        " & ".join(_latex_header(table)) + r" \\",
        r"\midrule",
        *_latex_rows(table, body),
        r"\bottomrule",
        r"\end{tabular}",
    ]


def _latex_header(table: Table) -> list[str]:
    method, backbone, *titles = map(escape, table.header)
    costs, scores = titles[:3], titles[3:]
    spanned = [rf"\multicolumn{{3}}{{c}}{{{score}}} & {{$n$}}" for score in scores]
    return [method, backbone, *(f"{{{cost}}}" for cost in costs), *spanned]


def _latex_rows(table: Table, body: Sequence[Sequence[str]]) -> list[str]:
    lines: list[str] = []
    remaining = iter(body)
    for section in table.sections:
        if lines:
            lines.append(r"\midrule")
        lines += [" & ".join(next(remaining)) + r" \\" for _ in section.rows]
    return lines


def _latex_cells(table: Table, config: ConfigRow) -> list[str]:
    compared = table.rows.compared
    cells = [escape(config.name), escape(config.backbone)]
    cells += [cost if cost != MISSING else NO_NUMBER for cost in table.costs(config)]
    for metric in table.metrics:
        bold = any(config is best for best in table.bold[metric.name])
        cells += _latex_spread(config.spreads.get(metric.name), metric, bold=bold)
    return cells + _latex_spread(config.differences.get(compared.name), compared, sign="+")


def _latex_spread(
    spread: Spread | None, metric: Metric, *, sign: str = "", bold: bool = False
) -> list[str]:
    """Return four cells: mean, the sign between, std, n.

    Not as one number with an uncertainty: siunitx leaves out one of zero, as if there were none.
    """
    if spread is None:
        return [NO_NUMBER, "", "", ""]
    mean = (r"\bfseries " if bold else "") + number(spread.mean, metric, sign)
    if spread.std is None:
        return [mean, "", "", str(spread.n)]
    return [mean, r"$\pm$", number(spread.std, metric), str(spread.n)]


def _number_column(cells: Sequence[str]) -> str:
    """Return the S column that the widest of its numbers fits in."""
    numbers = [cell.removeprefix(r"\bfseries ") for cell in cells if cell not in ("", NO_NUMBER)]
    whole = max((len(text.lstrip("+-").partition(".")[0]) for text in numbers), default=1)
    fraction = max((len(text.partition(".")[2]) for text in numbers), default=0)
    sign = "+" if any(text[0] in "+-" for text in numbers) else ""
    return f"S[table-format={sign}{whole}.{fraction}]"


# CSV ---------------------------------------------------------------------------------------------


def comma_separated(table: Table) -> str:
    """Return one line per configuration, for machines: plain numbers, empty where there is none.

    Parameters and MACs are counts; ``pct`` columns are per cent, their differences points.
    """
    known = sorted({name for config in table.configs for name in config.hyperparameters})
    records = [_record(config, known, table.rows.metrics) for config in table.configs]
    out = io.StringIO()
    fields = dict.fromkeys(field for record in records for field in record)
    writer = csv.DictWriter(out, list(fields), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return out.getvalue()


def _record(
    config: ConfigRow, hyperparameters: Sequence[str], metrics: Sequence[Metric]
) -> dict[str, object]:
    record: dict[str, object] = {
        "method": config.name,
        "backbone": config.trials[0].backbone,
        "stem": config.stem,
        "weights": config.weights,
        "placement": config.placement,
        "attention": config.attention,
        "preset": config.preset,
        **{f"attention.{key}": config.hyperparameters.get(key) for key in hyperparameters},
        "params_true": config.params_true,
        "params_thop_like": config.params_thop_like,
        "params_no_norm": config.params_no_norm,
        "macs": config.macs,
        "macs_fvcore": config.macs_fvcore,
        "seeds": " ".join(str(trial.seed) for trial in config.trials),
        **{status: config.count(status) for status in ("done", "failed", "unfinished")},
    }
    for metric in metrics:
        name = f"test_{metric.name}" + ("_pct" if metric.scale == 100 else "")
        record |= _spread_record(name, config.spreads.get(metric.name), metric)
        difference = config.differences.get(metric.name)
        record |= _spread_record(f"{name}_minus_baseline", difference, metric)
    return record


def _spread_record(name: str, spread: Spread | None, metric: Metric) -> dict[str, object]:
    fields = ("n", "mean", "std", "min", "max")
    if spread is None:
        return {f"{name}_{field}": 0 if field == "n" else None for field in fields}
    scaled = (
        None if value is None else round(value * metric.scale, 10)
        for value in (spread.mean, spread.std, spread.low, spread.high)
    )
    return dict(zip((f"{name}_{field}" for field in fields), (spread.n, *scaled), strict=True))


def _millions(count: int | None) -> str:
    return MISSING if count is None else f"{count / 1e6:.3f}"


def _unit(metric: Metric, *, change: bool) -> str:
    unit = metric.label.partition(" (")[2].removesuffix(")")
    if not unit:
        return ""
    return f" ({'points' if change and unit == '%' else unit})"
