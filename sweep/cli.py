"""The commands. Thin; nothing heavy is imported before a command needs it."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sweep.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from reports.paper.audit import AuditedCell
    from reports.paper.statements import Statement
    from sweep.orchestration.run import Summary
    from sweep.plan import Plan
    from sweep.tracking.reading import RunRecord

USAGE_ERROR, FAILED, INTERRUPTED = 2, 1, 130
STATUSES = ("planned", "adjusted", "done", "refused", "pruned")

working_folder = click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="SWEEP_DIR",
    default=Path("sweeps"),
    show_default=True,
    help="Working folder: ledger, checkpoints, MLflow's store, reports. Also $SWEEP_DIR.",
)
store_option = click.option("--tracking-uri", help="MLflow store; by default the working folder's.")
spec_argument = click.argument("spec", type=click.Path(path_type=Path))
overrides_argument = click.argument("overrides", nargs=-1, metavar="[FIELD=VALUE]...")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="sweep")
def cli() -> None:
    """Which attention module, with which hyperparameters, on which backbone?

    One YAML search space in; Ray trials, MLflow runs and a report out.
    """


@cli.command()
@spec_argument
@overrides_argument
@working_folder
@click.option(
    "--runner",
    type=click.Choice(["ray", "inline"]),
    default="ray",
    show_default=True,
    help="'inline' trains one trial after the other in this process, for debugging.",
)
def run(spec: Path, overrides: tuple[str, ...], folder: Path, runner: Any) -> None:
    """Run what a sweep is missing.

    Trials that have a result are never run again; those that failed are. Fields of SPEC can be
    changed on the way: sweep run SPEC recipe.epochs=1 dataset.name=digits 'seeds=[0,1]'.
    """
    from sweep.plan import plan_key

    key = plan_key(spec, overrides)
    if _nothing_to_do(spec, overrides, key, folder):
        return
    from sweep.display import Display
    from sweep.ledger import Ledger
    from sweep.orchestration.run import dataset_root, missing, run_sweep
    from sweep.plan import make_plan
    from sweep.spec.load import load_space

    console = _console()
    space = load_space(spec, overrides)
    plan = make_plan(space)
    _show_refused(plan, console)
    todo = missing(plan, Ledger(folder))
    console.print(
        f"{plan.study}: {len(plan.runnable)} trials, "
        f"{len(plan.runnable) - len(todo)} done, {len(todo)} to run"
    )
    if todo:
        dataset_root(space)  # a missing data set is told before anything is shown to run
    try:
        with Display(todo, plan.metric, console) as display:
            summary = run_sweep(space, plan, key, folder, runner=runner, listener=display)
    except KeyboardInterrupt:
        click.echo("interrupted: nothing is lost, the same command goes on from here", err=True)
        sys.exit(INTERRUPTED)
    _show_summary(plan, summary, folder, console)
    if summary.failures:
        sys.exit(FAILED)


@cli.command()
@spec_argument
@overrides_argument
@working_folder
@click.option("--json", "as_json", is_flag=True, help="One object per trial.")
def plan(spec: Path, overrides: tuple[str, ...], folder: Path, as_json: bool) -> None:
    """Show every trial of a sweep and what it costs.

    Nothing is run, and no data set is read but a folder of your own.

    Parameters are counted by three conventions: all; without those of GroupNorm, as thop and the
    ELA paper count; without those of any norm, as the EMA paper counts some rows.
    """
    from sweep.ledger import Ledger
    from sweep.plan import make_plan, plan_rows
    from sweep.spec.load import load_space

    made = make_plan(load_space(spec, overrides))
    rows = plan_rows(made, Ledger(folder))
    if as_json:
        import json

        click.echo(json.dumps(rows, indent=1))
    else:
        _show_plan(made, rows, _console())


@cli.command()
def schema() -> None:
    """Print the JSON Schema of a search space.

    With it an editor completes and checks the YAML.
    """
    import json

    from sweep.spec.schema import json_schema

    click.echo(json.dumps(json_schema(), indent=1))


@cli.command(name="list")
def list_parts() -> None:
    """List what a search space can name.

    Attention modules, backbones with their placements, data sets, recipes.
    """
    from sweep.models.placement import policies_of
    from sweep.registry import ATTENTION, BACKBONES, DATASETS, TASKS
    from sweep.spec.recipes import PRESETS

    lines = ["attention (hyperparameters; presets)"]
    for name in ATTENTION.names():
        config = ATTENTION[name].Config
        presets = f"; {', '.join(config.presets)}" if config.presets else ""
        lines.append(f"  {name:20}{', '.join(config.model_fields) or '-'}{presets}")
    lines.append("backbones (placements; the first is the default)")
    for name in BACKBONES.names():
        default = BACKBONES[name].default_placement
        others = [policy for policy in policies_of(name) if policy != default]
        lines.append(f"  {name:20}{', '.join([default, *others])}")
    lines.append("tasks: backbones; data sets")
    for name in TASKS.names():
        backbones = [known for known in BACKBONES.names() if BACKBONES[known].task == name]
        sets = [known for known in DATASETS.names() if DATASETS[known].task == name]
        lines.append(f"  {name:20}{', '.join(backbones)}; {', '.join(sets)}")
    lines += ["recipes", f"  {', '.join(PRESETS)}"]
    click.echo("\n".join(lines))


@cli.command()
@click.argument("study")
@working_folder
@store_option
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder to write to; by default reports/STUDY in the working folder.",
)
def report(study: str, folder: Path, tracking_uri: str | None, output: Path | None) -> None:
    """Write the tables and figures of a sweep, from MLflow alone."""
    from reports.render import write_report
    from sweep.tracking.store import tracking_uri as resolve

    target = output or folder / "reports" / study
    uri = resolve(folder, tracking_uri)
    for path in write_report(study, uri, target):
        click.echo(path)
    click.echo(f"report: {target / 'index.html'}")
    click.echo(_store_line(uri, folder))


@cli.command()
@working_folder
@store_option
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=5000, show_default=True)
def ui(folder: Path, tracking_uri: str | None, host: str, port: int) -> None:
    """Browse the runs in MLflow's own pages."""
    import socket

    from sweep.tracking.reading import check_store
    from sweep.tracking.store import artifact_root
    from sweep.tracking.store import tracking_uri as resolve

    uri = resolve(folder, tracking_uri)
    if not uri.startswith(("sqlite:", "postgresql", "mysql")):
        click.echo(f"the runs are on a server already: open {uri}")
        return
    check_store(uri)
    with socket.socket() as probe:
        if probe.connect_ex((host, port)) == 0:
            raise UserError(f"port {port} is in use; choose another one with --port")
    click.echo(f"MLflow on {uri}: open http://{host}:{port} (Ctrl-C ends it)")
    arguments = ["-m", "mlflow", "server", "--backend-store-uri", uri]
    arguments += ["--artifacts-destination", artifact_root(folder).as_uri()]
    arguments += ["--host", host, "--port", str(port)]
    os.execv(sys.executable, [sys.executable, *arguments])


@cli.group()
def paper() -> None:
    """The published tables of ELA and EMA, beside ours.

    They are called ela-1 to ela-8 and ema-1 to ema-3.
    """


@paper.command(name="audit")
@click.option("--json", "as_json", is_flag=True, help="Summary, cells and statements as data.")
def audit_papers(as_json: bool) -> None:
    """Count every published model, and compare.

    Every cell of parameters and FLOPs is exact, truncated, explained by another model that a
    search finds, or unexplained. Nothing is trained.
    """
    from reports.paper.audit import audit
    from reports.paper.render import audit_record
    from reports.paper.statements import statements

    cells = audit()
    stated = statements()
    if as_json:
        import json

        click.echo(json.dumps(audit_record(cells, stated), indent=1))
    else:
        _show_audit(cells, stated, _console())


@paper.command()
@click.argument("name")
@click.option(
    "--format",
    "form",
    type=click.Choice(["md", "tex", "csv", "html"]),
    default="md",
    show_default=True,
)
@working_folder
@store_option
def table(name: str, form: Any, folder: Path, tracking_uri: str | None) -> None:
    """Print a table of a paper, beside ours.

    Counts are made now; scores are those of finished trials in MLflow, on any data set.
    """
    from reports.paper.audit import audit_table
    from reports.paper.layout import lay_out
    from reports.paper.measured import measured
    from reports.paper.published import TABLES
    from reports.paper.render import render

    published = TABLES[name]
    runs = _finished(folder, tracking_uri)
    layout = lay_out(published, audit_table(published), measured(published, runs))
    click.echo(render(layout, form), nl=False)


@paper.command(name="all")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder to write to; by default reports/paper in the working folder.",
)
@working_folder
@store_option
def all_tables(output: Path | None, folder: Path, tracking_uri: str | None) -> None:
    """Write all tables in all formats, the audit, and a page that shows them."""
    from reports.paper.render import write_all

    target = output or folder / "reports" / "paper"
    for path in write_all(_finished(folder, tracking_uri), target):
        click.echo(path)


@paper.command()
@click.argument("name")
@click.option("--dataset", help="Of a table with several.")
def space(name: str, dataset: str | None) -> None:
    """Print the search space that trains the rows of a table."""
    from reports.paper.published import TABLES
    from reports.paper.space import search_space

    click.echo(search_space(TABLES[name], dataset), nl=False)


@cli.group()
def data() -> None:
    """Data sets."""


@data.command()
@click.argument("name")
@click.option(
    "--root",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder to download into; by default $SWEEP_DATA/NAME or data/NAME.",
)
def fetch(name: str, root: Path | None) -> None:
    """Download a data set, where torchvision can."""
    from sweep.registry import DATASETS

    target = root or Path(os.environ.get("SWEEP_DATA", "data")) / name
    try:
        DATASETS[name].fetch(target)
    except NotImplementedError as error:
        raise UserError(str(error)) from None
    except (OSError, RuntimeError) as error:
        raise click.ClickException(f"{name} could not be downloaded: {error}") from None
    click.echo(f"{name} is ready")


def main() -> None:
    """Run the command line; every error that a user can cause is one clear message."""
    try:
        cli(prog_name="sweep")
    except UserError as error:
        for line in str(error).splitlines():
            click.echo(f"error: {line}", err=True)
        sys.exit(USAGE_ERROR)


def _nothing_to_do(spec: Path, overrides: tuple[str, ...], key: str, folder: Path) -> bool:
    """Say so and return True if every trial is done and delivered; torch is not imported for it."""
    from sweep.ledger import Ledger
    from sweep.plan import plan_path, stored_plan
    from sweep.spec.document import read_document
    from sweep.tracking.delivery import is_delivered
    from sweep.tracking.store import tracking_uri

    document = read_document(spec, overrides).data
    plan = stored_plan(plan_path(folder, str(document.get("study"))), key)
    if plan is None:
        return False
    uri = tracking_uri(folder, (document.get("tracking") or {}).get("uri"))
    ledger = Ledger(folder)
    if not all(is_delivered(ledger, p.trial.trial_id, uri, plan.study) for p in plan.runnable):
        return False
    console = _console()
    _show_refused(plan, console)
    console.print(f"{plan.study}: all {len(plan.runnable)} trials are done, nothing to run")
    return True


def _console() -> Console:
    from rich.console import Console

    return Console(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else 200)


def _store_line(uri: str, folder: Path) -> str:
    """Say where the runs are, and the command that opens MLflow's pages on them."""
    from sweep.tracking.store import tracking_uri

    known = f"--dir {folder}" if tracking_uri(folder) == uri else f"--tracking-uri {uri}"
    return f"MLflow store: {uri}   (browse it: sweep ui {known})"


def _show_refused(plan: Plan, console: Console) -> None:
    """Print the combinations that cannot exist, each once for all its seeds; count the pruned."""
    refused = {(p.trial.backbone.name, p.label): p.reason for p in plan.refused}
    for (backbone, label), reason in refused.items():
        console.print(f"refused: {backbone} {label}: {reason}", style="yellow", markup=False)
    if plan.pruned:
        counts = f"{len(plan.pruned)} of {len(plan.trials)}"
        console.print(f"pruned by constraints: {counts}", style="yellow")


def _finished(folder: Path, tracking_uri: str | None) -> Sequence[RunRecord]:
    """Return the runs of finished trials; a store that was named must be there."""
    from sweep.tracking.reading import check_store, read_finished
    from sweep.tracking.store import tracking_uri as resolve

    if tracking_uri is not None:
        check_store(tracking_uri)
    return read_finished(resolve(folder, tracking_uri))


def _show_audit(
    cells: Sequence[AuditedCell], stated: Sequence[Statement], console: Console
) -> None:
    from rich.markup import escape
    from rich.table import Table

    from reports.paper.render import verdicts

    table = Table("table", "row", "backbone", "count", box=None)
    for heading in ("printed", "here", "unit"):
        table.add_column(heading, justify="left" if heading == "unit" else "right")
    table.add_column("verdict")
    table.add_column("explanation")
    for cell in cells:
        here = "none" if cell.computed is None else f"{cell.computed:.6f}"
        table.add_row(
            f"{cell.paper} {cell.table}",
            *map(escape, (cell.row, cell.backbone, cell.column, cell.printed, here, cell.unit)),
            cell.verdict,
            escape(cell.explanation),
        )
    console.print(table)
    for number, statement in enumerate(stated, start=1):
        failed = "" if statement.holds else "NOT SO: "
        console.print(f"{number:>2}. {failed}{statement.paper}: {statement.text}", markup=False)
    for column in ("params", "gflops"):
        counts = verdicts([cell for cell in cells if cell.column == column])
        _show_verdicts(column, counts, console)
    _show_verdicts("all", verdicts(cells), console)


def _show_verdicts(what: str, counts: Mapping[str, int], console: Console) -> None:
    parts = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    console.print(f"{what}: {sum(counts.values())} cells: {parts}")


def _show_summary(plan: Plan, summary: Summary, folder: Path, console: Console) -> None:
    from rich.markup import escape
    from rich.table import Table

    if summary.failures:
        table = Table("trial", "what failed", "why", "traceback", title="Failed trials")
        for failure in summary.failures:
            cells = (failure.trial_id, failure.label, failure.reason, str(failure.log))
            table.add_row(*map(escape, cells))
        console.print(table)
    console.print(
        f"{plan.study}: {summary.done} of {len(plan.runnable)} trials done"
        + (f", {len(summary.failures)} failed" if summary.failures else "")
        + (f", {len(plan.refused)} refused" if plan.refused else "")
        + (f", {len(plan.pruned)} pruned" if plan.pruned else "")
    )
    console.print(_store_line(summary.uri, folder), markup=False)
    if summary.undelivered:
        console.print(
            f"MLflow does not have everything yet: {summary.undelivered}. Nothing is lost: "
            "the same command delivers the rest.",
            style="yellow",
            markup=False,
        )


def _show_plan(plan: Plan, rows: list[dict[str, Any]], console: Console) -> None:
    from rich.table import Table

    from sweep.plan import SUSTAINED_FLOPS

    table = Table("trial", "backbone", "placement", "sites", "module", "seed", box=None)
    for heading in ("params (M)", "thop (M)", "no norm (M)", "MACs (M)"):
        table.add_column(heading, justify="right")
    table.add_column("status")
    for row, planned in zip(rows, plan.trials, strict=True):
        counts = (row["params_true"], row["params_thop_like"], row["params_no_norm"], row["macs"])
        table.add_row(
            row["trial_id"],
            row["backbone"],
            row["placement"],
            str(len(row["sites"])),
            planned.label,
            str(row["seed"]),
            *(f"{count / 1e6:.3f}" if count is not None else "" for count in counts),
            row["status"] + (f": {row['reason']}" if row["reason"] else ""),
        )
    console.print(table)
    kinds = {status: sum(row["status"] == status for row in rows) for status in STATUSES}
    console.print(
        f"{len(rows)} trials: "
        + ", ".join(f"{count} {status}" for status, count in kinds.items() if count)
        + (f"; {plan.duplicates} points of the grid repeat others" if plan.duplicates else "")
    )
    flops = plan.training_flops()
    if flops is not None:
        hours = ", ".join(
            f"{flops / rate / 3600:,.1f} h on {device} at {rate / 1e12:g} TFLOP/s"
            for device, rate in SUSTAINED_FLOPS.items()
        )
        console.print(f"training all of them takes {flops / 1e15:,.3f} PFLOP: about {hours}")


if __name__ == "__main__":
    main()
