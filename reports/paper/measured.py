"""What was measured of a row's model, from the runs in MLflow: on any data set, each apart.

A run is of a row if it has the same backbone, sites, module and hyperparameters, and nothing of
these was adjusted. What it learnt may be another data set or recipe than the paper's, and its stem
may be the one for small images: runs are grouped by that, and every group says what it is. A member
of a population learnt by several recipes, and is of no row.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from reports.paper.counting import Configuration
from reports.paper.published import Architecture, PublishedTable, Row
from reports.stats import Spread, spread
from sweep.models.build import resolve_placement
from sweep.registry import DATASETS
from sweep.spec.recipes import PRESETS, Recipe
from sweep.tracking import names
from sweep.tracking.reading import RunRecord

Setting = tuple[tuple[str, str], ...]
"""Parameters of a run that say what it learnt and how, sorted."""
SETTING = ("dataset", "recipe.", "weights", "patience", "stem")
"""What these start with."""
LEFT_OUT = ("dataset.split_seed",)


@dataclass(frozen=True)
class Measured:
    """What a table's models scored under one setting."""

    title: str
    """Empty if it is the paper's own data set and recipe."""
    spreads: Mapping[tuple[int, str], Spread]
    """By number of the row and metric, over the test split; as stored."""


def measured(table: PublishedTable, runs: Sequence[RunRecord]) -> list[Measured]:
    """Return the scores of a table's rows, the paper's own setting first."""
    found: dict[Setting | None, dict[tuple[int, str], list[float]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for number, row in enumerate(table.rows):
        if row.architecture is None:
            continue
        for run in _of_row(row, runs):
            # The paper's own are one setting, though its rows may differ in recipe and data set.
            setting = None if _is_papers(run, row.architecture) else _setting(run)
            for metric, value in _scores(run):
                found[setting][number, metric].append(value)
    stems = {row.architecture.stem for row in table.rows if row.architecture is not None}
    titles = _titles([setting for setting in found if setting is not None], stems)
    groups = [
        Measured(
            titles[setting] if setting is not None else "",
            {key: spread(values) for key, values in scores.items()},
        )
        for setting, scores in found.items()
    ]
    return sorted(groups, key=lambda group: group.title)


def _of_row(row: Row, runs: Iterable[RunRecord]) -> list[RunRecord]:
    assert row.architecture is not None
    configuration = Configuration.of(row.architecture, row.attention)
    wanted = {
        "backbone": row.architecture.backbone,
        "attention": configuration.attention,
        "sites": _sites(configuration),
    }
    return [
        run
        for run in runs
        if all(run.params.get(key) == value for key, value in wanted.items())
        and not run.tags.get(names.ADJUSTED)
        and names.UNTIL not in run.params
        and _same_hyperparameters(run, configuration)
    ]


def _sites(configuration: Configuration) -> str:
    if configuration.attention == "none":
        return names.sites_param(())
    architecture = configuration.architecture
    return names.sites_param(resolve_placement(architecture.backbone, architecture.placement))


def _same_hyperparameters(run: RunRecord, configuration: Configuration) -> bool:
    """Compare as text, as MLflow keeps them; one that is newer than the run has its default."""
    config = configuration.config
    default = type(config)().model_dump()
    return all(
        run.params.get(names.HYPERPARAMETER + key, str(default[key])) == str(value)
        for key, value in config.model_dump().items()
    )


def _setting(run: RunRecord) -> Setting:
    return tuple(
        sorted(
            (key, value)
            for key, value in run.params.items()
            if key.startswith(SETTING) and key not in LEFT_OUT
        )
    )


def _is_papers(run: RunRecord, architecture: Architecture) -> bool:
    """Return whether a run learnt what the paper's did: its data set, image size and recipe."""
    benchmark = architecture.benchmark
    recipe = Recipe.model_validate(PRESETS[benchmark.recipe]).model_dump(mode="json")
    settings = DATASETS[benchmark.dataset].Config(image_size=benchmark.image_size).model_dump()
    wanted = {
        "dataset": benchmark.dataset,
        **{f"dataset.{key}": str(value) for key, value in settings.items() if key != "root"},
        "weights": architecture.weights or "none",
        "stem": architecture.stem,
        "patience": "none",
        **{f"recipe.{key}": str(value) for key, value in recipe.items()},
    }
    del wanted["dataset.split_seed"]
    return all(run.params.get(key) == value for key, value in wanted.items())


def _scores(run: RunRecord) -> list[tuple[str, float]]:
    prefix = "test_"
    return [
        (key.removeprefix(prefix), value)
        for key, value in run.metrics.items()
        if key.startswith(prefix) and math.isfinite(value)
    ]


def _short(values: Mapping[str, str], stems: Collection[str]) -> str:
    size = f"{values.get('dataset', '?')} {values.get('dataset.image_size', '?')} px"
    if (subset := values.get("dataset.subset", "None")) != "None":
        size += f", {subset} images"
    stem = "" if values.get("stem") in stems else f", stem {values.get('stem', '?')}"
    epochs = values.get("recipe.epochs", "?")
    return f"{size}, {epochs} epoch{'s' * (epochs != '1')}{stem}"


def _titles(settings: Iterable[Setting], stems: Collection[str]) -> dict[Setting, str]:
    """Return what the settings are: data set, image size, epochs, and what else varies.

    And the stem, where it is none of those that the table's rows have.
    """
    plain = {setting: dict(setting) for setting in settings}
    short = {setting: _short(values, stems) for setting, values in plain.items()}
    titles = {}
    for setting, title in short.items():
        alike = [plain[other] for other in short if short[other] == title]
        varying = sorted(
            key for key in plain[setting] if len({values.get(key) for values in alike}) > 1
        )
        titles[setting] = ", ".join([title, *(f"{key} {plain[setting][key]}" for key in varying)])
    return titles
