"""The commands. Thin; nothing heavy is imported before a command needs it."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from sweep.errors import UserError
from sweep.tracking.links import HOST, PORT

if TYPE_CHECKING:
    from sweep.measuring import PrecisionName
    from sweep.orchestration.cluster import Cluster
    from sweep.plan import Plan
    from sweep.spec.schema import Space
    from sweep.tracking.reading import RunRecord, StudyRecord

RunnerKind = Literal["ray", "inline"]

FAILED, INTERRUPTED = 1, 130
PREVIEWED = 4
"""Configurations of a search that was not begun that its plan shows."""


def _of_all_nodes(context: click.Context, _parameter: object, folder: Path) -> Path:
    """Return the working folder; that of a job must not be in the one that Ray unpacked it to."""
    from sweep.spec.confined import is_confined

    given = context.get_parameter_source("folder") is click.core.ParameterSource.COMMANDLINE
    if is_confined() and not given and not folder.is_absolute():
        raise UserError(
            "the cluster's nodes do not say where their shared working folder is: start Ray with "
            "SWEEP_DIR set on each of them to one absolute path, such as /sweeps"
        )
    return folder


working_folder = click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    callback=_of_all_nodes,
    envvar="SWEEP_DIR",
    default=Path("sweeps"),
    show_default=True,
    help="Working folder: ledger, checkpoints, MLflow's store, reports. Also $SWEEP_DIR.",
)
store_option = click.option("--tracking-uri", help="MLflow store; by default the working folder's.")
runner_option = click.option(
    "--runner",
    type=click.Choice(["ray", "inline"]),
    default="ray",
    show_default=True,
    help="'inline' trains one trial after the other in this process, for debugging.",
)
wait_option = click.option(
    "--wait", is_flag=True, help="If another command runs the sweep, wait until it ends."
)
address_option = click.option(
    "--address", metavar="URL", help="Ask the cluster whose dashboard is there: http://head:8265."
)
cluster_option = click.option(
    "--address",
    metavar="URL",
    envvar="RAY_API_SERVER_ADDRESS",
    required=True,
    help="The cluster's dashboard: http://head:8265. Also $RAY_API_SERVER_ADDRESS.",
)
spec_argument = click.argument("spec", type=click.Path(path_type=Path))


def _check_attached(_context: object, _option: object, address: str | None) -> str | None:
    """Refuse the address of something else than the head of a Ray cluster."""
    if address is None or address == "auto":
        return address
    if address.startswith(("http://", "https://")):
        raise UserError(
            f"--address {address}: that is of Ray's Jobs API; `sweep submit` takes it. To run on "
            "a node of the cluster: auto, or HOST:PORT of its head"
        )
    host, colon, port = address.rpartition(":")
    if "://" in address or not (host and colon and port.isdigit()):
        raise UserError(f"--address {address}: allowed are auto, or HOST:PORT of a cluster's head")
    return address


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
@runner_option
@wait_option
@click.option(
    "--address",
    callback=_check_attached,
    help="Ray cluster that this machine is a node of: 'auto', or HOST:PORT of its head.",
)
def run(
    spec: Path,
    overrides: tuple[str, ...],
    folder: Path,
    runner: RunnerKind,
    wait: bool,
    address: str | None,
) -> None:
    """Run what a sweep is missing.

    Trials that have a result are never run again; what was cut off goes on from its last
    checkpoint. Fields of SPEC can be changed on the way:
    sweep run SPEC recipe.epochs=1 dataset.name=digits 'seeds=[0,1]'.
    """
    from sweep.study import plan_key

    if address is not None and runner == "inline":
        raise UserError("--address is of a Ray cluster; --runner inline trains in this process")
    key = plan_key(spec, overrides)
    if not _nothing_to_do(spec, overrides, key, folder):
        _run(spec, overrides, key, folder, runner, wait=wait, address=address)


@cli.command()
@spec_argument
@overrides_argument
@cluster_option
def submit(spec: Path, overrides: tuple[str, ...], address: str) -> None:
    """Run what a sweep is missing on a Ray cluster, without waiting for it.

    The space is checked here, then sent with this code; it runs as a Ray job in the cluster's own
    working folder. Submitting a sweep again, after its job died or was stopped, goes on.
    """
    from sweep.orchestration.submit import submit as submit_space
    from sweep.spec.confined import check_confined
    from sweep.spec.document import read_document
    from sweep.spec.load import check_space

    document = read_document(spec, overrides)
    check_confined(document)
    space = check_space(document)
    cluster = _cluster(address)
    job_id = submit_space(cluster, space, click.echo)
    study, where = space.general.study, f"--address {cluster.address}"
    click.echo(f"{job_id}: submitted; it needs this machine no more")
    click.echo(f"  sweep status {study} {where}")
    click.echo(f"  sweep logs {study} {where} --follow")
    click.echo(f"  sweep cancel {study} {where}")


@cli.command()
@click.argument("study")
@cluster_option
def cancel(study: str, address: str) -> None:
    """Stop a sweep that was submitted to a cluster.

    The epochs that run come to their end and are saved; `sweep submit` goes on from there.
    """
    from sweep.orchestration.submit import last_job, stop
    from sweep.printing import job_line

    cluster = _cluster(address)
    job = last_job(cluster, study)
    if not job.active:
        click.echo(f"nothing runs: {job_line(job)}")
        return
    click.echo(f"{job.job_id}: stops once the running epochs are saved; Ctrl-C only stops waiting")
    try:
        click.echo(job_line(stop(cluster, job)))
    except KeyboardInterrupt:
        click.echo(f"{job.job_id} goes on stopping", err=True)
        sys.exit(INTERRUPTED)


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
    from sweep.plan import plan_rows
    from sweep.spec.load import load_space

    space = load_space(spec, overrides)
    made = _plan_of(space, folder)
    rows = plan_rows(made, Ledger(folder))
    if as_json:
        import json

        click.echo(json.dumps(rows, indent=1))
    else:
        from sweep.orchestration.packing import known_fractions
        from sweep.printing import make_console, show_disk, show_plan

        console = make_console()
        fractions = known_fractions(made, folder)
        show_plan(space, made, rows, fractions, console)
        show_disk(space, made, fractions, folder, console)


@cli.command()
@spec_argument
@overrides_argument
@working_folder
def diff(spec: Path, overrides: tuple[str, ...], folder: Path) -> None:
    """Show what `sweep run` would do now.

    Which trials are new, go on (also where a trial of fewer epochs ended), are tried again, failed
    for good, or were left out of the grid.
    """
    from sweep.ledger import Ledger
    from sweep.lengthen import beginnings
    from sweep.printing import make_console, show_changes
    from sweep.spec.load import load_space
    from sweep.standing import changes
    from sweep.study import Study

    ledger = Ledger(folder)
    made = _plan_of(load_space(spec, overrides), folder)
    stored = Study(folder, made.study).stored()
    shorter = beginnings(made.runnable, ledger)
    found = changes(made, stored.plan if stored else None, ledger, shorter)
    show_changes(found, make_console())


@cli.command()
@click.argument("study")
@working_folder
@address_option
@click.option("--json", "as_json", is_flag=True, help="One object per trial.")
def status(study: str, folder: Path, address: str | None, as_json: bool) -> None:
    """Show where every trial of a sweep stands.

    Its state, attempts, last epoch, why it failed or was stopped, and where its log is; of a
    cluster also its job.
    """
    if address is not None:
        _remote_status(study, address, as_json)
        return
    from sweep.ledger import Ledger
    from sweep.printing import make_console, show_standings
    from sweep.standing import standings
    from sweep.study import find_study

    found, stored = find_study(folder, study)
    trials = standings(stored, Ledger(folder))
    if as_json:
        import json
        from dataclasses import asdict

        click.echo(json.dumps([asdict(one) for one in trials], indent=1, default=str))
        return
    show_standings(trials, make_console())
    holder = found.lock().holder()
    click.echo(f"run by {holder}" if holder else "nobody runs it now")


@cli.command()
@click.argument("trial")
@working_folder
@address_option
@click.option("--follow", is_flag=True, help="Of a job, until it ends; the exit code is its own.")
def logs(trial: str, folder: Path, address: str | None, follow: bool) -> None:
    """Print what happened to a trial, or what a job printed.

    Of a trial its attempts, its log, and the traceback of its last failure. TRIAL is an id as
    `sweep status` prints it, or its beginning; with --address also the name of a sweep that was
    submitted there, for the output of its last job.
    """
    if address is not None:
        _remote_logs(trial, address, follow=follow)
        return
    if follow:
        raise UserError("--follow is for the job of a cluster: give its --address")
    from sweep.ledger import Ledger
    from sweep.standing import only_trial, told

    ledger = Ledger(folder)
    trial_id = only_trial(ledger, trial)
    for line in told(trial_id, ledger) or [f"{trial_id}: has not begun"]:
        click.echo(line)
    for path in (ledger.log_path(trial_id), ledger.failure_path(trial_id)):
        if path.exists():
            click.echo(f"\n{path}\n{path.read_text(encoding='utf-8').rstrip()}")


@cli.command()
@click.argument("study")
@working_folder
@click.option("--failed", is_flag=True, help="Only trials that failed.")
@runner_option
@wait_option
def retry(study: str, folder: Path, failed: bool, runner: RunnerKind, wait: bool) -> None:
    """Run the trials of a sweep again that have no full result.

    Those that failed for good, and, without --failed, those that a scheduler stopped early. The
    search space is the one of the last run.
    """
    from sweep.ledger import Ledger
    from sweep.orchestration.run import running
    from sweep.standing import put_back
    from sweep.study import find_study, plan_key

    found, stored = find_study(folder, study)
    with running(found, wait=wait, tell=click.echo):
        found.reopen(stored)
        again = put_back(stored.plan, Ledger(folder), failed_only=failed)
    if not again:
        click.echo(f"{study}: no trial {'failed' if failed else 'failed or was stopped early'}")
        return
    key = plan_key(found.space_path, stored.overrides)
    _run(found.space_path, stored.overrides, key, folder, runner, wait=wait)


@cli.command()
@click.argument("study")
@working_folder
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    default=32,
    show_default=True,
    help="Images of a pass, for throughput and memory; latency is of one image.",
)
@click.option(
    "--precision",
    type=click.Choice(["fp32", "tf32", "bf16", "fp16"]),
    default="fp32",
    show_default=True,
    help="That models compute in, by autocast; tf32 is of NVIDIA GPUs.",
)
@click.option("--again", is_flag=True, help="Also what was measured in the same way before.")
def profile(
    study: str, folder: Path, batch_size: int, precision: PrecisionName, again: bool
) -> None:
    """Measure what every model of a sweep costs, on this device.

    Latency, throughput and peak memory of forward passes, on the GPU if there is one, with fresh
    weights; of detectors without postprocessing. The numbers go to MLflow, and into the report.
    """
    from sweep.measuring import is_channels_last, make_meter, measure, models_of, unmeasured
    from sweep.printing import make_console, show_measured
    from sweep.study import find_study
    from sweep.tracking.measurements import costs_by_model, write_measurements
    from sweep.tracking.reading import read_study

    found, stored = find_study(folder, study)
    models = models_of(stored.plan)
    meter = make_meter(precision, batch_size, channels_last=is_channels_last(stored.plan))
    uri = found.store_uri(stored)
    record = read_study(uri, study)
    known = costs_by_model(record.measurements)
    todo = models if again else unmeasured(models, known, meter.setting)
    click.echo(f"{study}: {len(models)} models, {len(todo)} to measure on {meter.setting.device}")
    if not todo:
        return
    if holder := found.lock().holder():
        click.echo(f"warning: it is run by {holder}, which disturbs what is measured", err=True)
    measured, failures = measure(todo, meter, click.echo)
    show_measured(measured, failures, make_console())
    write_measurements(uri, study, record.parent.run_id, measured)
    if failures:
        sys.exit(FAILED)


@cli.command()
@click.argument("study")
@working_folder
@click.option("--yes", is_flag=True, help="Do not ask.")
def rm(study: str, folder: Path, yes: bool) -> None:
    """Remove a sweep: its trials, and their runs in MLflow.

    Trials that another sweep has too stay. MLflow keeps deleted runs until `mlflow gc`.
    """
    from sweep.removal import own_trials, remove_study
    from sweep.study import find_study

    found, stored = find_study(folder, study)
    own = own_trials(found, stored)
    if not yes:
        click.confirm(f"Remove {study}? Trials that go with it: {len(own)}", abort=True)
    remove_study(found, stored, own)
    click.echo(f"{study} is removed")


@cli.command()
@click.argument("spec", type=click.Path(path_type=Path), required=False)
@overrides_argument
@working_folder
@click.option(
    "--address",
    help="Of a Ray cluster: 'auto' or HOST:PORT on a node of it, http://HOST:8265 from outside.",
)
@click.option("--json", "as_json", is_flag=True, help="One object per finding.")
def doctor(
    spec: Path | None,
    overrides: tuple[str, ...],
    folder: Path,
    address: str | None,
    as_json: bool,
) -> None:
    """Look whether a sweep can run here, or on a cluster, and say what to do.

    Versions, GPUs and drivers, Ray, MLflow, storage, data sets, disk and clocks; of a cluster on
    every node. With SPEC also whether there is room for its trials, and its data set. The exit code
    is 1 if something keeps a sweep from running.

    Nothing is left behind but, on an MLflow server, one run in an experiment sweep-doctor.
    """
    from sweep.doctor.diagnosis import diagnose
    from sweep.printing import make_console, show_diagnosis, show_finding

    if address is not None and address.startswith(("http://", "https://")):
        _check_no_folder()
    console = make_console()
    findings = []
    for finding in diagnose(spec, overrides, folder, address):
        findings.append(finding)
        if not as_json:
            show_finding(finding, console)
    if as_json:
        import json

        click.echo(json.dumps([vars(finding) for finding in findings], indent=1))
    else:
        show_diagnosis(findings, console)
    if any(finding.state == "problem" for finding in findings):
        sys.exit(FAILED)


@cli.command()
def schema() -> None:
    """Print the JSON Schema of a search space.

    With it an editor completes and checks the YAML.
    """
    import json

    from sweep.spec.schema import json_schema

    click.echo(json.dumps(json_schema(), indent=1))


@cli.command(name="list")
@click.option(
    "--address",
    metavar="URL",
    help="List the sweeps that were submitted to this cluster instead: http://head:8265.",
)
@click.option("--json", "as_json", is_flag=True, help="With --address: one object per job.")
def list_parts(address: str | None, as_json: bool) -> None:
    """List what a search space can name, or the sweeps of a cluster.

    Attention modules, backbones with their placements, data sets, recipes; or jobs, the last
    first.
    """
    if address is not None:
        _remote_list(address, as_json)
        return
    if as_json:
        raise UserError("--json is for the jobs of a cluster: give its --address")
    from sweep.models.placement import policies_of
    from sweep.registry import ATTENTION, BACKBONES, DATASETS, TASKS
    from sweep.spec.recipes import PRESETS

    lines = ["attention (hyperparameters; presets; what leave_one_out takes away)"]
    for name in ATTENTION.names():
        config = ATTENTION[name].Config
        columns = [", ".join(names) or "-" for names in (config.model_fields, config.presets)]
        lines.append(f"  {name:20}{'; '.join([*columns, ', '.join(config.parts) or '-'])}")
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
@click.option("--watch", is_flag=True, help="Write the report again whenever there is news.")
@click.option(
    "--every",
    "seconds",
    type=click.IntRange(min=1),
    default=30,
    show_default=True,
    help="Seconds between two looks for news, with --watch.",
)
def report(
    study: str,
    folder: Path,
    tracking_uri: str | None,
    output: Path | None,
    watch: bool,
    seconds: int,
) -> None:
    """Write the tables and figures of a sweep, from MLflow alone.

    STUDY is a sweep's name, or a CSV file that MLflow exported (`mlflow experiments csv`, or
    'Download runs' on its page of runs). From a store, the report also becomes an artifact of the
    sweep's parent run.

    With --watch the report keeps up with a sweep until that has ended, or Ctrl-C; either is a good
    end.
    """
    from reports.render import write_report
    from reports.sources import Source
    from reports.watching import keep_up
    from sweep.printing import store_line
    from sweep.tracking.store import tracking_uri as resolve
    from sweep.tracking.uploading import upload_report

    uri = resolve(folder, tracking_uri)
    store = None if _is_export(study) else uri
    if watch and store is None:
        raise UserError(f"--watch looks for news in a store; {study} is a file")
    record = _read(study, uri)
    target = output or folder / "reports" / record.study
    if watch:
        record = keep_up(
            lambda: _read(study, uri),
            lambda record: list(write_report(Source(record, uri), target, refresh=seconds)),
            seconds,
            click.echo,
        )
    paths = []
    for path in write_report(Source(record, store), target):
        click.echo(path)
        paths.append(path)
    click.echo(f"report: {target / 'index.html'}")
    if store is not None:
        upload_report(store, record.parent.run_id, target, paths)
        click.echo(store_line(uri, folder))


@cli.command()
@click.argument("study")
@working_folder
@store_option
@click.option(
    "--format",
    "form",
    type=click.Choice(["csv", "parquet"]),
    default="csv",
    show_default=True,
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File to write; without it CSV is printed.",
)
def export(
    study: str,
    folder: Path,
    tracking_uri: str | None,
    form: Literal["csv", "parquet"],
    output: Path | None,
) -> None:
    """Write all trials of a sweep as one table, for pandas and the like.

    One row per trial: what it is, hyperparameters, all metrics as they are stored, recipe,
    versions. STUDY is as for `sweep report`.
    """
    from reports.rows import study_rows, trials_frame
    from reports.writing import writing_to
    from sweep.tracking.store import tracking_uri as resolve

    if form == "parquet" and output is None:
        raise UserError("--format parquet needs a file: -o FILE")
    rows = study_rows(_read(study, resolve(folder, tracking_uri)))
    frame = trials_frame(rows.trials)
    if output is None:
        click.echo(frame.to_csv(index=False, lineterminator="\n"), nl=False)
        return
    with writing_to(output):
        output.parent.mkdir(parents=True, exist_ok=True)
        if form == "csv":
            frame.to_csv(output, index=False, lineterminator="\n")
        else:
            frame.to_parquet(output, index=False)
    click.echo(f"{output}: {len(frame)} trials")


@cli.command()
@click.argument("study")
@working_folder
@store_option
@click.option(
    "--images",
    type=click.IntRange(1, 10),
    default=5,
    show_default=True,
    help="How many: the first test image of each of so many classes.",
)
@click.option("--backbone", help="Only this one; by default all of the sweep.")
@click.option(
    "--module",
    "modules",
    multiple=True,
    metavar="LABEL",
    help="Beside the baseline, as tables print it; by default the first of every kind.",
)
def gradcam(
    study: str,
    folder: Path,
    tracking_uri: str | None,
    images: int,
    backbone: str | None,
    modules: tuple[str, ...],
) -> None:
    """Compute what the models of a sweep look at, for its report.

    Grad-CAM of the baseline and of models with attention on the same test images, as in Figure 3
    of the ELA paper; of trials whose weights are in MLflow (`keep_checkpoints: best`). The result
    takes the place of the last one.
    """
    from reports.configs import config_rows
    from reports.explained import explained
    from reports.rows import study_rows
    from sweep.gradcam import explain
    from sweep.tracking.gradcam import log_gradcam
    from sweep.tracking.reading import read_study
    from sweep.tracking.store import tracking_uri as resolve

    uri = resolve(folder, tracking_uri)
    rows = study_rows(read_study(uri, study))
    found = explain(explained(rows, config_rows(rows), backbone, modules), uri, images)
    log_gradcam(uri, rows.parent_id, found)
    for comparison in found.comparisons:
        shown = ", ".join(model.name for model in comparison.models)
        layer, seed = comparison.layer.name, comparison.seed
        click.echo(f"{comparison.group}, {layer}, seed {seed}: {shown}")
    for line in found.left_out:
        click.echo(f"left out: {line}")
    click.echo(f"kept with the sweep in MLflow; `sweep report {study}` shows it")


@cli.command()
@working_folder
@store_option
@click.option("--host", default=HOST, show_default=True)
@click.option("--port", default=PORT, show_default=True)
def ui(folder: Path, tracking_uri: str | None, host: str, port: int) -> None:
    """Browse the runs in MLflow's own pages."""
    import socket

    from sweep.tracking.reading import check_store
    from sweep.tracking.store import artifact_root, without_password
    from sweep.tracking.store import tracking_uri as resolve

    uri = resolve(folder, tracking_uri)
    if not uri.startswith(("sqlite:", "postgresql", "mysql")):
        click.echo(f"the runs are on a server already: open {without_password(uri)}")
        return
    check_store(uri)
    with socket.socket() as probe:
        if probe.connect_ex((host, port)) == 0:
            raise UserError(f"port {port} is in use; choose another one with --port")
    click.echo(f"MLflow on {without_password(uri)}: open http://{host}:{port} (Ctrl-C ends it)")
    arguments = ["-m", "mlflow", "server"]
    os.environ["MLFLOW_BACKEND_STORE_URI"] = uri  # others can read a command line
    arguments += ["--artifacts-destination", artifact_root(folder).as_uri()]
    arguments += ["--host", host, "--port", str(port)]
    arguments += ["--workers", "1"]  # for one reader; each takes seconds to start, and 250 MB
    os.environ.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")  # judges of LLMs
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
        from sweep.printing import make_console, show_audit

        show_audit(cells, stated, make_console())


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
@click.argument("studies", nargs=-1, metavar="[STUDY]...")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder to write to; by default reports/paper in the working folder.",
)
@working_folder
@store_option
def figure(
    studies: tuple[str, ...], output: Path | None, folder: Path, tracking_uri: str | None
) -> None:
    """Draw ELA's Figure 1 from the published scores, and sweeps of yours beside it."""
    from reports.paper.drawing import write_figure_1
    from sweep.tracking.store import tracking_uri as resolve

    target = output or folder / "reports" / "paper"
    for path in write_figure_1(studies, resolve(folder, tracking_uri), target):
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
        sys.exit(cli.main(prog_name="sweep", standalone_mode=False) or 0)
    except UserError as error:
        for line in str(error).splitlines():
            click.echo(f"error: {line}", err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort as abort:
        if isinstance(abort.__cause__, KeyboardInterrupt):  # else a question was answered with no
            click.echo("interrupted: nothing is lost, the same command goes on from here", err=True)
        sys.exit(INTERRUPTED if abort.__cause__ else FAILED)


def _run(
    spec: Path,
    overrides: tuple[str, ...],
    key: str,
    folder: Path,
    runner: RunnerKind,
    *,
    wait: bool,
    address: str | None = None,
) -> None:
    """Run what is missing of a search space, show it, and exit as it ended."""
    import signal

    # Until the sweep listens to it itself, which takes seconds of imports.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    from sweep.display import Display
    from sweep.ledger import Ledger
    from sweep.lengthen import beginnings
    from sweep.orchestration.machine import dataset_root
    from sweep.orchestration.run import Where, missing, run_sweep, running
    from sweep.plan import make_plan
    from sweep.printing import (
        expected_trials,
        make_console,
        show_lengthened,
        show_refused,
        show_summary,
        what_runs,
    )
    from sweep.spec.load import load_space
    from sweep.study import Study

    console = make_console()
    space = load_space(spec, overrides)
    plan = make_plan(space) if space.search.method == "grid" else None
    if plan is not None:
        show_refused(plan, console)
    with running(Study(folder, space.general.study), wait=wait, tell=click.echo):
        scheduled = space.scheduler.method != "none"
        todo = missing(plan, Ledger(folder), scheduled=scheduled) if plan is not None else []
        console.print(what_runs(space, plan, len(todo)))
        show_lengthened(beginnings(todo, Ledger(folder)).values(), console)
        if address is None and (todo or plan is None):
            dataset_root(space)  # a missing data set is told before anything is shown to run
        with Display(todo, space.metric, console, expected_trials(space)) as display:
            where = Where(runner, address)
            summary = run_sweep(space, plan, key, folder, where=where, listener=display)
    show_summary(summary, folder, console)
    if summary.failures:
        sys.exit(FAILED)


def _remote_status(study: str, address: str, as_json: bool) -> None:
    """Print the job of a sweep on a cluster, and where its trials stand."""
    from sweep.orchestration.submit import jobs_of, run_remotely
    from sweep.printing import job_line

    cluster = _cluster(address)
    job = next(iter(jobs_of(cluster.jobs(), study)), None)
    if job is not None and not as_json:
        click.echo(job_line(job))
    output, code = run_remotely(cluster, ["status", study, *(["--json"] if as_json else [])])
    if job is not None and job.active and code:
        click.echo("[]" if as_json else "its trials are not planned yet")
        return
    _tell(output, code)


def _remote_logs(trial: str, address: str, *, follow: bool) -> None:
    """Print the output of a sweep's last job on a cluster, or what happened to a trial there."""
    from sweep.orchestration.submit import jobs_of, last_job, run_remotely
    from sweep.printing import job_line
    from sweep.standing import is_trial_id

    cluster = _cluster(address)
    if not follow and not jobs_of(cluster.jobs(), trial) and is_trial_id(trial):
        _tell(*run_remotely(cluster, ["logs", trial]))
        return
    job = last_job(cluster, trial)
    if not follow:
        click.echo(cluster.output(job.job_id), nl=False)
        return
    try:
        ended = cluster.follow(job.job_id, lambda text: click.echo(text, nl=False))
    except KeyboardInterrupt:
        click.echo(f"{job.job_id} goes on", err=True)
        sys.exit(INTERRUPTED)
    click.echo(job_line(ended), err=True)
    sys.exit(ended.outcome)


def _remote_list(address: str, as_json: bool) -> None:
    """Print the jobs of a cluster that run sweeps, or did."""
    from sweep.printing import job_record, make_console, show_jobs

    jobs = _cluster(address).jobs()
    if as_json:
        import json

        click.echo(json.dumps([job_record(job) for job in jobs], indent=1))
    else:
        show_jobs(jobs, make_console())


def _cluster(address: str) -> Cluster:
    """Return the cluster that a command is to ask, instead of a working folder here."""
    from sweep.orchestration.cluster import Cluster

    _check_no_folder()
    return Cluster(address)


def _check_no_folder() -> None:
    """Raise a UserError if a folder is given to a command that asks a cluster."""
    source = click.get_current_context().get_parameter_source("folder")
    if source is click.core.ParameterSource.COMMANDLINE:
        raise UserError("--dir is a folder of this machine; a cluster has one of its own")


def _tell(output: str, code: int) -> None:
    """Print what a command printed on a cluster, and end as it did."""
    from sweep.orchestration.cluster import errors_of

    if code == UserError.exit_code and (lines := errors_of(output)):
        raise UserError("\n".join(lines))
    click.echo(output, nl=False)
    if code:
        sys.exit(code)


def _plan_of(space: Space, folder: Path) -> Plan:
    """Return the plan of a space; of a search its trials so far, or the first that it would try."""
    from sweep.ledger import Ledger
    from sweep.orchestration.population import Population
    from sweep.orchestration.search import preview
    from sweep.plan import make_plan
    from sweep.study import Study

    if space.scheduler.method == "pbt":
        return Population(space, Ledger(folder)).plan
    if space.search.method == "grid":
        return make_plan(space)
    stored = Study(folder, space.general.study).stored()
    return stored.plan if stored is not None else preview(space, PREVIEWED)


def _nothing_to_do(spec: Path, overrides: tuple[str, ...], key: str, folder: Path) -> bool:
    """Say so and return True if every trial is done and delivered; torch is not imported for it."""
    from sweep.ledger import Ledger
    from sweep.printing import make_console, show_refused
    from sweep.spec.document import read_document
    from sweep.study import Study, same_images, studies
    from sweep.tracking.delivery import is_delivered
    from sweep.tracking.store import tracking_uri

    document = read_document(spec, overrides).data
    name = document.get("study")  # not checked yet: it may be anything, a path of elsewhere too
    stored = Study(folder, name).stored() if name in studies(folder) else None
    if stored is None or stored.key != key or not stored.complete or not same_images(stored.plan):
        return False
    uri = tracking_uri(folder, (document.get("tracking") or {}).get("uri"))
    ledger, plan = Ledger(folder), stored.plan
    ids = [p.trial.trial_id for p in plan.runnable]
    states = [ledger.entry(trial_id).state for trial_id in ids]
    for trial_id, state in zip(ids, states, strict=True):
        unneeded = state == "planned" and stored.kind == "paired"  # it has its answer already
        if not unneeded and not is_delivered(ledger, trial_id, uri, plan.study):
            return False
    console = make_console()
    show_refused(plan, console)
    done = states.count("done")
    console.print(f"{plan.study}: {done} of {len(ids)} trials are done, nothing to run")
    return True


def _is_export(study: str) -> bool:
    """Tell whether a file is meant, and no sweep of a store."""
    return study.endswith(".csv")


def _read(study: str, uri: str) -> StudyRecord:
    """Return a sweep from a store, or from a file that was exported from one."""
    from sweep.tracking.exported import read_exported
    from sweep.tracking.reading import read_study

    return read_exported(Path(study)) if _is_export(study) else read_study(uri, study)


def _finished(folder: Path, tracking_uri: str | None) -> Sequence[RunRecord]:
    """Return the runs of finished trials; a store that was named must be there."""
    from sweep.tracking.reading import check_store, read_finished
    from sweep.tracking.store import tracking_uri as resolve

    if tracking_uri is not None:
        check_store(tracking_uri)
    return read_finished(resolve(folder, tracking_uri))


if __name__ == "__main__":
    main()
