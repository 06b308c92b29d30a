"""The names that runs carry in MLflow; what writes them and what reads them agree here.

A sweep is a parent run in the experiment of its name, a trial a child run. A trial that two sweeps
share has one run, and one membership tag for each.
"""

from __future__ import annotations

KIND = "sweep.kind"
"""Tag: "sweep" for a parent run, "trial" for a child."""
STUDY = "sweep.study"
"""Tag of a parent run: the sweep's name."""
TRIAL_ID = "sweep.trial_id"
REASON = "sweep.reason"
"""Tag of a failed trial's run: why."""
MEMBER = "sweep.member."
"""Tag of a trial's run, followed by a sweep's name: "yes", or "no" once its grid left the trial."""
METRIC = "sweep.metric"
QUESTION = "sweep.question"
PRESET = "sweep.preset"
PLACEMENT = "sweep.placement"
ADJUSTED = "sweep.adjusted"
DEVICE = "sweep.device"
REFUSED = "sweep.refused"
"""Tag of a parent run: JSON list of [label, reason] of the combinations that cannot exist."""

HYPERPARAMETER = "attention."
"""Parameter of a trial's run, followed by the hyperparameter's name."""

COST_METRICS = ("params_true", "params_thop_like", "params_no_norm", "macs")
FVCORE_MACS = "macs_fvcore"


def member_tag(study: str) -> str:
    """Return the membership tag of a sweep."""
    return MEMBER + study
