"""The names that runs carry in MLflow; what writes them and what reads them agree here.

A sweep is a parent run in the experiment of its name, a trial a child run. A trial that two sweeps
share has one run, and one set of tags for each: whether it is a member, where, and its names. What
was measured of a model's cost is a child run of its own.
"""

from __future__ import annotations

from collections.abc import Iterable

KIND = "sweep.kind"
"""Tag: "sweep" for a parent run, "trial" or "cost" for a child."""
STUDY = "sweep.study"
"""Tag of a parent run, and of a measurement's: the sweep's name."""
TRIAL_ID = "sweep.trial_id"
STATE = "sweep.state"
"""Tag of a trial's run, once it ended: "done", "failed", "interrupted", or "stopped" by a scheduler
before its last epoch, as the segments of a population are."""
REASON = "sweep.reason"
"""Tag of a failed or stopped trial's run: why."""
ATTEMPTS = "sweep.attempts"
"""Tag of a trial's run: how often its training was begun, or gone on with."""
FOLDER = "sweep.folder"
"""Tag of a trial's run: the id of the working folder that writes it."""
HOST = "sweep.host"
"""Tag of a trial's run: the machine that made it."""
HEARTBEAT = "sweep.heartbeat"
"""Tag of a trial's run: when its trial was last seen in training (seconds since the epoch); of a
parent run: when a command was last seen to run the sweep."""
PROMOTED = "sweep.promoted"
"""Tag of a trial's run: the epochs after which a scheduler let it go on where others ended."""
SHARE = "sweep.share."
"""Tags of a trial's run: the CPU cores and GPUs that the last attempt had, and the pieces that its
batches were cut into to fit."""
MEMBER = "sweep.member"
"""Per sweep: "yes", or "no" once its grid left the trial."""
ORDER = "sweep.order"
"""Per sweep: place of the trial in its grid, from 0."""
PRESET = "sweep.preset"
"""Per sweep: name of the preset that its search space uses, or empty."""
PART = "sweep.part"
"""Per sweep: what its search space has the module without, or empty."""
PLACEMENT = "sweep.placement"
"""Per sweep: name of the placement in its search space."""
PER_SWEEP = tuple(f"{tag}." for tag in (MEMBER, ORDER, PRESET, PART, PLACEMENT))
"""What the tags of a trial's run begin with that hold what it is in one sweep."""
MODULE = "module"
"""Tag of a trial's run, to group by: its module's label in the sweep that made the run."""
MODEL = "model"
"""Tag of a trial's run, to group by: all that its seeds share, the same in every sweep."""
METRIC = "sweep.metric"
QUESTION = "sweep.question"
ADJUSTED = "sweep.adjusted"
PLUGINS = "sweep.plugins"
"""Distributions and versions of the plug-ins that a trial is made of."""
DEVICE = "sweep.device"
"""Tag of a finished trial's run, and of a measurement's: the device of its last attempt, or that
measured; of a GPU with its memory, of a CPU with its threads."""
DEVICES = "sweep.devices"
"""Tag of a trial's run, once it ended, JSON: a list of [type of device, first epoch, last epoch],
in the order of training. A type is a GPU and its memory, or a processor; empty where it was not
recorded, and of the last item where the tag has no room for all."""
NODES = "sweep.nodes"
"""Tag of a trial's run, once it ended: the nodes that it was begun on, in the order of attempts."""
CORES = "sweep.cores"
LOAD = "sweep.load"
"""Tags of a measurement's run: cores of the host, and the processes that wanted one meanwhile."""
MEASURED = "sweep.measured"
"""Tag of a measurement's run: when; the same for models that were measured side by side."""
REFUSED = "sweep.refused"
"""Tag of a parent run, JSON: count, and items of [label, backbone, reason], of what cannot exist;
the first ones where the tag has no room for all."""
SEARCHED = "sweep.searched"
"""Tag of a parent run, JSON: the parameters of its trials' recipes that a search chose."""
ANSWERS = "sweep.answers"
"""Tag of a parent run, JSON: what a paired study found, a sentence for each comparison."""
ENVIRONMENT = "sweep.env."
"""Tag of a trial's run, followed by the name of what it says of hardware and versions."""

SEGMENT = "segment."
"""Parameters of a run in a population begin with it."""
UNTIL = f"{SEGMENT}until"
"""Parameter of a run in a population: the epoch that it ends with."""
PARENT = f"{SEGMENT}parent"
"""Parameter of a run in a population: the trial that it goes on from, or "none"."""

PRECISION = "measured.precision"
BATCH_SIZE = "measured.batch_size"
CHANNELS_LAST = "measured.channels_last"
"""Parameters of a measurement's run."""

HYPERPARAMETER = "attention."
"""Parameter of a trial's run, followed by the hyperparameter's name."""

VERSION = "sweep.version"
"""Tag of a parent run: of this package."""
COMMIT = "mlflow.source.git.commit"
"""Tag of a parent run: of the code, where it runs from its repository."""
SOURCE = "mlflow.source.name"
"""Tag of a parent run: the command; MLflow shows it, and the commit beside it."""
NOTE = "mlflow.note.content"
"""Tag of a run or an experiment: its description, in Markdown."""
NAME = "mlflow.runName"
"""Tag of a run that MLflow keeps the run's name in."""

CHECKPOINTS = "checkpoints"
"""Folder of artifacts of a finished trial's run: its best weights, where they are kept."""
FINISHED_RECORD = "ledger.json"
"""Artifact of a finished trial's run: what another folder's ledger needs of the trial."""

SPACE, RESOLVED = "search_space.yaml", "resolved.json"
"""Artifacts of a parent run: the search space as written, and with overrides."""

COST_METRICS = ("params_true", "params_thop_like", "params_no_norm", "macs")
FVCORE_MACS = "macs_fvcore"


PARAM_LENGTH = 500
"""Characters of a parameter that every MLflow store takes; plan.json has all sites."""


def sites_param(sites: Iterable[str]) -> str:
    """Return the parameter of a trial's run that holds its sites, in the order of the model."""
    return ", ".join(sites)[:PARAM_LENGTH] or "none"


def per_sweep(tag: str, study: str) -> str:
    """Return the tag of a trial's run that holds what ``tag`` is in one sweep."""
    return f"{tag}.{study}"
