"""The figures of a report, in the order of its page, with what is said under them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from reports.configs import ConfigRow, by_group
from reports.effects import Effects
from reports.figures import accuracy, curves, gradcam, heat, overview, seeds, slopes
from reports.rows import StudyRows
from reports.sources import Source
from sweep.tracking.gradcam import GradCam

AXES = {
    "accuracy_vs_params": accuracy.PARAMETERS,
    "accuracy_vs_macs": accuracy.MACS,
    "accuracy_vs_latency": accuracy.LATENCY,
}


@dataclass(frozen=True, kw_only=True)
class Figures:
    """A figure, on as many pages as it needs."""

    name: str
    title: str
    caption: str
    pages: tuple[Figure, ...]
    folded: bool = False
    """Whether the report's page shows its title alone until it is asked for."""


def draw(
    source: Source, rows: StudyRows, configs: Sequence[ConfigRow], effects: Effects
) -> list[Figures]:
    """Return the figures that have something to show."""
    return [figures for figures in _drawn(source, rows, configs, effects) if figures.pages]


def _drawn(
    source: Source, rows: StudyRows, configs: Sequence[ConfigRow], effects: Effects
) -> Iterator[Figures]:
    for name, axis in AXES.items():
        yield Figures(
            name=name,
            title=f"Score against {axis.words}",
            caption=accuracy.caption(rows, configs, axis),
            pages=accuracy.score_against(rows, configs, axis),
            folded=name != "accuracy_vs_params",
        )
    yield Figures(
        name="seeds",
        title="Every seed",
        caption=seeds.caption(rows),
        pages=seeds.seeds(rows, configs),
    )
    yield _overview(rows, configs)
    yield Figures(
        name="slopes",
        title="Score over each hyperparameter",
        caption=slopes.caption(rows),
        pages=slopes.slopes(rows, configs),
        folded=True,
    )
    yield Figures(
        name="heat_maps",
        title="Score over two hyperparameters",
        caption=heat.caption(rows, effects.grids),
        pages=heat.heat_maps(rows, effects.grids),
        folded=True,
    )
    yield _curves(source, rows, configs)
    if source.gradcam is not None:
        yield from _maps(source.gradcam)


def _overview(rows: StudyRows, configs: Sequence[ConfigRow]) -> Figures:
    """Return ELA's Figure 1 for the study's task; on one backbone the other figures say it all."""
    facets = [overview.facet_of(rows, configs)]
    figure = overview.overview(facets) if len(by_group(configs)) > 1 else None
    return Figures(
        name="overview",
        title="Modules over backbones",
        caption=overview.caption(facets),
        pages=() if figure is None else (figure,),
    )


def _curves(source: Source, rows: StudyRows, configs: Sequence[ConfigRow]) -> Figures:
    """Return the learning curves; only those of runs that are drawn are read."""
    shown = [c for own in by_group(configs).values() for c in curves.chosen(own, rows.compared)]
    runs = [trial.run_id for config in shown for trial in config.trials if trial.status == "done"]
    histories = source.curves(runs, f"val_{rows.compared.name}")
    return Figures(
        name="learning_curves",
        title="Learning curves",
        caption=curves.caption(rows, configs, histories),
        pages=curves.curves(rows, configs, histories),
        folded=True,
    )


def _maps(found: GradCam) -> Iterator[Figures]:
    """Yield ELA's Figure 3, one for each backbone."""
    several = len(found.comparisons) > 1
    for number, comparison in enumerate(found.comparisons, start=1):
        yield Figures(
            name=f"gradcam_{number}" if several else "gradcam",
            title=f"Where the models look (Grad-CAM): {comparison.group}",
            caption=gradcam.caption(found, comparison),
            pages=(gradcam.figure_of(found, comparison),),
        )
