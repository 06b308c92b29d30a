r"""The table of a study, with the papers' columns: Markdown, LaTeX and CSV.

Parameters are counted twice: by thop's convention, which the ELA paper prints (affine parameters of
GroupNorm are not counted), and truly. MACs are what the papers print as FLOPs. Bold is only what
beats every other row of its backbone by more than the noise; see ``comparisons.Standing``.

table.tex needs \usepackage{booktabs,siunitx} and the article class, nothing else.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from reports.comparisons import standings
from reports.configs import ConfigRow, by_group
from reports.rows import STATUSES, StudyRows
from reports.stats import Spread
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
        found = {m.name: standings(self.configs, m).values() for m in self.metrics}
        return {
            name: tuple(standing.best for standing in groups if standing.best is not None)
            for name, groups in found.items()
        }

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
        f"{common(rows, 'recipe.epochs')} epochs of {_recipes(rows)}; "
        f"mean ± sample standard deviation over seeds {seeds(rows)} (number of seeds); "
        f"Δ: against the baseline of the same backbone, paired by seed. Device: {devices(rows)}."
    )


def _recipes(rows: StudyRows) -> str:
    settings = [
        sorted(item for item in trial.settings.items() if item[0].startswith("recipe."))
        for trial in rows.trials
    ]
    same = all(recipe == settings[0] for recipe in settings)
    text = "one recipe for all rows" if same else "recipes that differ between groups of rows"
    return text + (f", but for {chosen(rows)}, which a search chose" if chosen(rows) else "")


def notes(table: Table) -> list[str]:
    """Return what a reader must know of a table beyond its caption."""
    lines = [
        "Params by thop's convention, as the ELA paper prints them (affine parameters of GroupNorm "
        "are not counted); true counts every one. MACs: one multiply-accumulate is one, of one "
        "image; the papers print MACs as FLOPs.",
        "Bold: chosen on validation, and beats every other row of its backbone on test by more "
        "than the noise (paired t tests, corrected)."
        if any(table.bold.values())
        else "Nothing is bold: no row that validation chose beats every other of its backbone on "
        "test by more than the noise (paired t tests, corrected).",
    ]
    if chosen(table.rows):
        lines.append(f"Δ only where the baseline was trained with the same {chosen(table.rows)}.")
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
        "stopped early": config.count("stopped"),
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


def chosen(rows: StudyRows) -> str:
    """Return what a search chose of the recipe ("lr, weight_decay"); empty if nothing."""
    fields = dict.fromkeys(field for trial in rows.trials for field in trial.chosen)
    return ", ".join(field.removeprefix("recipe.") for field in fields)


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
    lines = [markdown_row(map(markdown_text, table.header)), markdown_row(align)]
    for section in table.sections:
        lines += [markdown_row(_markdown_cell(cell) for cell in row) for row in section.rows]
    if not table.configs:
        lines = ["No trial has run yet."]
    explained = [f"- {markdown_text(note)}" for note in notes(table)] if table.configs else []
    title = f"# {markdown_text(table.rows.study)}"
    text = [title, "", markdown_text(table.rows.question), "", *lines, ""]
    text += [markdown_text(caption(table.rows)), "", *explained]
    return "\n".join(text).rstrip() + "\n"


def markdown_row(cells: Iterable[str]) -> str:
    """Return a line of a table, of cells that are Markdown."""
    return f"| {' | '.join(cells)} |"


def _markdown_cell(cell: Cell) -> str:
    text = markdown_text(cell.text)
    return f"**{text}**" if cell.bold else text


def markdown_text(text: str) -> str:
    """Return text as Markdown shows it literally."""
    for character in "\\|*_<`":
        text = text.replace(character, "\\" + character)
    return text


# LaTeX -------------------------------------------------------------------------------------------


def latex(table: Table) -> str:
    """Return a table float for booktabs and siunitx; the number of seeds is a column."""
    lines = [
        r"% \usepackage{booktabs,siunitx}",
        *(f"% {note}" for note in notes(table)),
        r"\begin{table}",
        r"\centering",
        r"\footnotesize\setlength{\tabcolsep}{3pt}",
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


@dataclass(frozen=True)
class _Score:
    """A score of every configuration, and whether its numbers of seeds need a column."""

    metric: Metric
    spreads: tuple[Spread | None, ...]
    bold: tuple[bool, ...]
    sign: str
    counted: bool

    def cells(self) -> list[list[str]]:
        """Return for each configuration: mean, the sign between, std, n.

        Not as one number with an uncertainty: siunitx leaves out one of zero, as if there were
        none.
        """
        return [
            self._cells(spread, bold) for spread, bold in zip(self.spreads, self.bold, strict=True)
        ]

    def _cells(self, spread: Spread | None, bold: bool) -> list[str]:
        cells = [NO_NUMBER, "", "", ""]
        if spread is not None:
            weight = r"\bfseries " if bold else ""
            cells[0] = weight + number(spread.mean, self.metric, self.sign)
            cells[3] = str(spread.n)
        if spread is not None and spread.std is not None:
            cells[1:3] = [r"$\pm$", number(spread.std, self.metric)]
        return cells if self.counted else cells[:3]


def _scores(table: Table) -> list[_Score]:
    """Return the scores of a table; seeds are counted once if they are the same for all."""
    compared = table.rows.compared
    first = tuple(config.spreads.get(compared.name) for config in table.configs)
    columns = [(m, m.label, [c.spreads.get(m.name) for c in table.configs]) for m in table.metrics]
    change = [config.differences.get(compared.name) for config in table.configs]
    columns.append((compared, table.header[-1], change))
    scores = []
    for index, (metric, title, spreads) in enumerate(columns):
        pairs = zip(first, spreads, strict=True)
        differ = any(s is not None and (f is None or s.n != f.n) for f, s in pairs)
        bold = table.bold[metric.name] if title == metric.label else ()
        is_bold = tuple(any(config is best for best in bold) for config in table.configs)
        sign = "+" if title != metric.label else ""
        scores.append(_Score(metric, tuple(spreads), is_bold, sign, differ or not index))
    return scores


def _tabular(table: Table) -> list[str]:
    scores = _scores(table)
    costs = [[_latex_cost(cost) for cost in table.costs(config)] for config in table.configs]
    kinds = ["l", "l", *(f"S[{_width(column)}]" for column in zip(*costs, strict=True))]
    for score in scores:
        mean, _, std, *_ = zip(*score.cells(), strict=True)
        kinds += [f"S[{_width(mean)}]", r"@{\,}c@{\,}"]
        kinds += [f"S[{_width(std)}, table-number-alignment=left]", *("c" * score.counted)]
    parts = [[[escape(config.name), escape(config.backbone)] for config in table.configs], costs]
    parts += [score.cells() for score in scores]
    body = [[cell for part in row for cell in part] for row in zip(*parts, strict=True)]
    return [
        rf"\begin{{tabular}}{{@{{}}{''.join(kinds)}@{{}}}}",
        r"\toprule",
        *_latex_header(table, scores),
        r"\midrule",
        *_latex_rows(table, body),
        r"\bottomrule",
        r"\end{tabular}",
    ]


def _latex_header(table: Table, scores: Sequence[_Score]) -> list[str]:
    """Return two lines: names, and their units, so that narrow columns stay narrow."""
    lines = []
    for part in (0, 2):  # of "name (unit"
        titles = [escape(title.removesuffix(")").partition(" (")[part]) for title in table.header]
        method, backbone, *costs = titles[:5]
        cells = [method, backbone, *(f"{{{_unit_of(cost, part)}}}" for cost in costs)]
        for score, title in zip(scores, titles[5:], strict=True):
            cells.append(rf"\multicolumn{{3}}{{c}}{{{_unit_of(title, part)}}}")
            cells += ["$n$" if not part else ""] * score.counted
        lines.append(" & ".join(cells) + r" \\")
    return lines


def _unit_of(title: str, part: int) -> str:
    return f"({title})" if part and title else title


def _latex_cost(cost: str) -> str:
    return cost if cost != MISSING else NO_NUMBER


def _latex_rows(table: Table, body: Sequence[Sequence[str]]) -> list[str]:
    lines: list[str] = []
    remaining = iter(body)
    for section in table.sections:
        if lines:
            lines.append(r"\midrule")
        lines += [" & ".join(next(remaining)) + r" \\" for _ in section.rows]
    return lines


def _width(cells: Sequence[str]) -> str:
    """Return the option of an S column that makes room for the widest of its numbers."""
    numbers = [cell.removeprefix(r"\bfseries ") for cell in cells if cell not in ("", NO_NUMBER)]
    whole = max((len(text.lstrip("+-").partition(".")[0]) for text in numbers), default=1)
    fraction = max((len(text.partition(".")[2]) for text in numbers), default=0)
    sign = "+" if any(text[0] in "+-" for text in numbers) else ""
    return f"table-format={sign}{whole}.{fraction}"


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
        "part": config.part,
        **{f"attention.{key}": config.hyperparameters.get(key) for key in hyperparameters},
        **config.chosen,
        "params_true": config.params_true,
        "params_thop_like": config.params_thop_like,
        "params_no_norm": config.params_no_norm,
        "macs": config.macs,
        "macs_fvcore": config.macs_fvcore,
        "seeds": " ".join(str(trial.seed) for trial in config.trials),
        **{status: config.count(status) for status in STATUSES},
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
