"""What the commands print: tables and lines for a terminal."""

from __future__ import annotations

import math
import shutil
import sys
import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sweep.devices import devices_of

if TYPE_CHECKING:
    from reports.paper.audit import AuditedCell
    from reports.paper.statements import Statement
    from sweep.doctor.finding import Finding
    from sweep.lengthen import Beginning
    from sweep.orchestration.cluster import Job
    from sweep.orchestration.run import Summary
    from sweep.plan import Plan
    from sweep.spec.schema import Space
    from sweep.standing import Change, Standing
    from sweep.tracking.measurements import MeasuredModel

STATUSES = ("planned", "adjusted", "done", "refused", "pruned")


def make_console() -> Console:
    """Return a console on standard output; wide where that is no terminal."""
    return Console(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else 200)


def store_line(uri: str, folder: Path) -> str:
    """Say where the runs are, and the command that opens MLflow's pages on them."""
    from sweep.tracking.store import tracking_uri, without_password

    shown = without_password(uri)
    known = f"--dir {folder}" if tracking_uri(folder) == uri else f"--tracking-uri {shown}"
    return f"MLflow store: {shown}   (browse it: sweep ui {known})"


def show_refused(plan: Plan, console: Console) -> None:
    """Print the combinations that cannot exist, each once for all its seeds; count the pruned."""
    refused = {(p.trial.backbone.name, p.label): p.reason for p in plan.refused}
    for (backbone, label), reason in refused.items():
        console.print(f"refused: {backbone} {label}: {reason}", style="yellow", markup=False)
    if plan.pruned:
        counts = f"{len(plan.pruned)} of {len(plan.trials)}"
        console.print(f"pruned by constraints: {counts}", style="yellow")


def show_audit(cells: Sequence[AuditedCell], stated: Sequence[Statement], console: Console) -> None:
    """Print the audit of the papers."""
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


def show_summary(summary: Summary, folder: Path, console: Console) -> None:
    """Print how a run ended."""
    from sweep.tracking.store import without_password

    plan = summary.plan
    if summary.failures:
        table = Table("trial", "what failed", "why", "traceback", title="Failed trials")
        for failure in summary.failures:
            cells = (failure.trial_id, failure.label, failure.reason, str(failure.log))
            table.add_row(*map(escape, cells))
        console.print(table)
    console.print(
        f"{plan.study}: {summary.done} of {len(plan.runnable)} trials done"
        + (f", {summary.stopped} stopped early" if summary.stopped else "")
        + (f", {summary.segments} segments of populations" if summary.segments else "")
        + (f", {len(summary.failures)} failed" if summary.failures else "")
        + (f", {len(plan.refused)} refused" if plan.refused else "")
        + (f", {len(plan.pruned)} pruned" if plan.pruned else "")
    )
    if summary.adopted:
        count = f"{summary.adopted} trial{'s were' if summary.adopted > 1 else ' was'}"
        store = without_password(summary.uri)
        console.print(f"{count} trained elsewhere: taken over from {store}", markup=False)
    for answer in summary.answers:
        console.print(answer, markup=False)
    if summary.uneven:
        console.print(f"{plan.study}: {summary.uneven}", style="yellow", markup=False)
    if summary.failures:
        console.print(f"sweep retry {plan.study} --failed tries these again", markup=False)
    console.print(store_line(summary.uri, folder), markup=False)
    if summary.undelivered:
        console.print(
            f"MLflow does not have everything yet: {summary.undelivered}. Nothing is lost: "
            "the same command delivers the rest.",
            style="yellow",
            markup=False,
        )


def show_measured(
    measured: Sequence[MeasuredModel], failures: Mapping[str, str], console: Console
) -> None:
    """Print what models cost: medians, with the interquartile range behind."""
    table = Table("model", box=None)
    for heading in ("latency (ms)", "IQR", "images/s", "IQR", "peak memory (MiB)"):
        table.add_column(heading, justify="right")
    for model in measured:
        cost = model.cost
        table.add_row(
            escape(model.name),
            f"{cost.latency_ms:.2f}",
            f"{cost.latency_iqr_ms:.2f}",
            f"{cost.images_per_second:.0f}",
            f"{cost.images_per_second_iqr:.0f}",
            f"{1024 * cost.peak_memory_gib:.1f}",
        )
    console.print(table)
    for name, reason in failures.items():
        console.print(f"not measured: {name}: {reason}", style="yellow", markup=False)


def show_standings(standings: Sequence[Standing], console: Console) -> None:
    """Print where every trial stands; `sweep logs` tells what happened to one."""
    table = Table("trial", "what", "state", "attempts", "epoch", "why", "log", box=None)
    for one in standings:
        table.add_row(
            one.trial_id,
            escape(one.name),
            one.state,
            str(one.attempts),
            f"{one.epoch}/{one.epochs}",
            escape(one.reason),
            str(one.log or ""),
        )
    console.print(table)
    console.print(_counted([one.state for one in standings]))
    types = [" to ".join(devices_of(one.trained)) for one in standings if one.trained]
    if len(set(types)) > 1:
        mix = "; ".join(f"{types.count(one)} on {one}" for one in dict.fromkeys(types))
        console.print(f"trained on different devices: {mix}", markup=False)


def job_line(job: Job) -> str:
    """Return what there is to say of a job: "job sweep-x-1 of me@here: running since ..."."""
    from sweep.orchestration.cluster import moment

    began = f"since {moment(job.began)}" if job.active else f"began {moment(job.began)}"
    ended = f", ended {moment(job.ended)}" if job.ended else ""
    why = f": {job.ending}" if job.ending else ""
    return f"job {job.job_id} of {job.by}: {job.state}, {began}{ended}{why}"


def job_record(job: Job) -> dict[str, Any]:
    """Return a job as data; times are of UTC."""
    record = {"study": job.study, "job": job.job_id, "state": job.state}
    times = {"began": _utc(job.began), "ended": _utc(job.ended), "seconds": job.seconds}
    who = {"user": job.user, "host": job.host}
    return {**record, **times, **who, "exit_code": job.exit_code, "why": job.ending}


def show_jobs(jobs: Sequence[Job], console: Console) -> None:
    """Print jobs that run sweeps, or did."""
    from sweep.orchestration.cluster import moment

    if not jobs:
        console.print("no sweep was submitted there yet")
        return
    table = Table("study", "job", "state", "since", "duration", "by", "why", box=None)
    for job in jobs:
        took = "" if job.seconds is None else str(timedelta(seconds=round(job.seconds)))
        cells = (job.study, job.job_id, job.state, moment(job.began), took, job.by, job.ending)
        table.add_row(*map(escape, cells))
    console.print(table)


def _utc(seconds: float | None) -> str | None:
    return datetime.fromtimestamp(seconds, UTC).isoformat() if seconds else None


def show_changes(changes: Sequence[Change], console: Console) -> None:
    """Print what the next run does; of what is done already no more than the number."""
    table = Table("trial", "what", "the next run", "why", box=None)
    for change in changes:
        if change.step != "done":
            step = f"{change.step} after epoch {change.epoch}" if change.epoch else change.step
            cells = (change.planned.trial.trial_id, change.planned.name, step, change.reason)
            table.add_row(*map(escape, cells))
    if table.row_count:
        console.print(table)
    console.print(_counted([change.step for change in changes]))


def _counted(words: Sequence[str]) -> str:
    """Return how often each word is there: "4 trials: 3 done, 1 failed"."""
    counts = ", ".join(f"{words.count(word)} {word}" for word in dict.fromkeys(words))
    return _trials(len(words)) + (f": {counts}" if counts else "")


def _trials(count: int) -> str:
    return f"{count} trial{'s' * (count != 1)}"


def show_lengthened(shorter: Iterable[Beginning], console: Console) -> None:
    """Print how many of what runs go on from trials of fewer epochs, and why others cannot."""
    for obstacle, count in Counter(beginning.obstacle for beginning in shorter).items():
        start = f"from the start, although there is a shorter trial: {obstacle}"
        after = "after the last epoch of a shorter trial"
        console.print(f"to run: {count} {start if obstacle else after}", markup=False)


def what_runs(space: Space, plan: Plan | None, count: int) -> str:
    """Return what a command is about to run: of a plan its missing trials, or a search."""
    study = space.general.study
    if plan is None:
        return f"{study}: {_searched(space)}"
    trials = len(plan.runnable)
    return f"{study}: {_trials(trials)}, {trials - count} settled, {count} to run"


def expected_trials(space: Space) -> int:
    """Return how many trials a search comes to at the most; 0 of what is no search."""
    if space.search.method == "grid" or space.scheduler.method == "pbt":
        return 0
    return space.search.trials * len(space.general.seeds)


def _searched(space: Space) -> str:
    search, seeds = space.search, len(space.general.seeds)
    by = f"by {' and '.join(space.objectives)}"
    if space.scheduler.method == "pbt":
        return f"{_generations(space)}, {by}; a population for each model and seed"
    chosen = f"{search.method} chooses {search.trials} configurations"
    return f"{chosen} {by}, each with {seeds} seed{'s' * (seeds > 1)}"


def _generations(space: Space) -> str:
    """Return what a population is in words."""
    interval = space.scheduler.interval
    lengths = {math.ceil(p.recipe.epochs / interval) for p in space.backbones if p.recipe}
    counts = " or ".join(map(str, sorted(lengths)))
    epochs = f"{interval} epoch{'s' * (interval > 1)}"
    return f"{space.search.trials} members train for {counts} generations of {epochs}"


def show_plan(
    space: Space,
    plan: Plan,
    rows: list[dict[str, Any]],
    fractions: Mapping[str, float],
    console: Console,
) -> None:
    """Print every trial of a plan and what it costs.

    Args:
        space: that was planned.
        plan: its plan.
        rows: of ``plan_rows``.
        fractions: of a GPU, by trial, where ``gpus: auto`` has measured them.
        console: where to print.
    """
    from sweep.plan import SUSTAINED_FLOPS

    table = Table("trial", "backbone", "placement", "sites", "module", "seed", box=None)
    for heading in ("params (M)", "thop (M)", "no norm (M)", "MACs (M)"):
        table.add_column(heading, justify="right")
    packed = space.resources.gpus == "auto" and bool(fractions)
    if packed:
        table.add_column("GPU", justify="right")
    table.add_column("status")
    for row, planned in zip(rows, plan.trials, strict=True):
        part = fractions.get(row["trial_id"])
        counts = (row["params_true"], row["params_thop_like"], row["params_no_norm"], row["macs"])
        table.add_row(
            row["trial_id"],
            row["backbone"],
            row["placement"],
            str(len(row["sites"])),
            planned.label,
            str(row["seed"]),
            *(f"{count / 1e6:.3f}" if count is not None else "" for count in counts),
            *(["not measured" if part is None else f"{part:.2g}"] if packed else []),
            row["status"] + (f": {row['reason']}" if row["reason"] else ""),
        )
    console.print(table)
    kinds = {status: sum(row["status"] == status for row in rows) for status in STATUSES}
    console.print(
        f"{len(rows)} trials: "
        + ", ".join(f"{count} {status}" for status, count in kinds.items() if count)
        + (f"; {plan.duplicates} points of the grid repeat others" if plan.duplicates else "")
    )
    if space.resources.gpus == "auto" and not packed and "gpus" in space.resources.model_fields_set:
        console.print("gpus: auto: the part of a GPU that each needs is measured where one is")
    if space.paired is not None:
        seeds = f"{space.paired.min_seeds} to {len(space.general.seeds)} seeds"
        console.print(f"paired: {seeds} for each comparison, no more than its answer needs")
    if space.search.method != "grid":
        console.print(f"{_searched(space)}; these are the ones so far, or the first ones")
        return
    flops = plan.training_flops()
    if flops is not None:
        hours = ", ".join(
            f"{flops / rate / 3600:,.1f} h on {device} at {rate / 1e12:g} TFLOP/s"
            for device, rate in SUSTAINED_FLOPS.items()
        )
        console.print(f"training all of them takes {flops / 1e15:,.3f} PFLOP: about {hours}")


def show_disk(
    space: Space, plan: Plan, fractions: Mapping[str, float], folder: Path, console: Console
) -> None:
    """Print how much room the checkpoints of a plan take on the disk, and how much there is."""
    from sweep.orchestration.machine import this_machine
    from sweep.orchestration.resources import checkpoint_room

    packed = fractions.values() if space.resources.gpus == "auto" else ()
    most, at_once = checkpoint_room(space, plan, packed, [this_machine()])
    needed, keep = most / 2**30, space.general.keep_checkpoints
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free / 2**30
    scarce = needed > free
    console.print(
        f"checkpoints take up to {needed:,.1f} GiB, {at_once} trial{'s' * (at_once > 1)} at once "
        f"(keep_checkpoints: {keep}); {free:,.1f} GiB are free{': too little' * scarce}",
        style="yellow" if scarce else None,
    )


FINDING_STYLES = {"ok": "green", "warning": "yellow", "problem": "red"}
"""By the state of a finding of the doctor."""
FINDING_INDENT = 26
"""Characters before the text of a finding."""


def show_finding(finding: Finding, console: Console) -> None:
    """Print one thing that the doctor found, and below it what is to be done."""
    width = max(console.width - FINDING_INDENT, 20)
    lines = textwrap.wrap(str(finding), width) or [""]
    if finding.remedy:
        lines += textwrap.wrap(f"-> {finding.remedy}", width, subsequent_indent="   ")
    head = f"[{FINDING_STYLES[finding.state]}]{finding.state:8}[/]{escape(finding.check):18}"
    for number, line in enumerate(lines):
        start = " " * FINDING_INDENT if number else head
        console.print(start + escape(line), soft_wrap=True)


def show_diagnosis(findings: Sequence[Finding], console: Console) -> None:
    """Print how many things are wrong."""
    counts = Counter(finding.state for finding in findings)
    said = [
        f"{counts[state]} {state}{'s' * (counts[state] > 1)}"
        for state in ("problem", "warning")
        if counts[state]
    ]
    console.print(", ".join(said) or "nothing is wrong")
