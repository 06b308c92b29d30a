"""Addresses of MLflow's own pages: a run, several runs compared, all runs of a sweep.

MLflow documents none of them; tests/browser opens them in the version that is installed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from urllib.parse import quote, urlsplit, urlunsplit

from sweep.tracking import names

HOST, PORT = "127.0.0.1", 5000
OWN_SERVER = f"http://{HOST}:{PORT}"
"""Where `sweep ui` serves a store that is no server itself, if it is not told otherwise."""
MOST_COMPARED = 100
"""Runs that a comparison names; an address that named more would be too long to be of use."""


def server_of(uri: str) -> str:
    """Return the address of the server that shows a store, without the password it may have."""
    if not uri.startswith(("http://", "https://")):
        return OWN_SERVER
    parts = urlsplit(uri)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", ""))


def run_page(server: str, experiment_id: str, run_id: str) -> str:
    """Return the address of a run's page."""
    return f"{server}/#/experiments/{quote(experiment_id, safe='')}/runs/{quote(run_id, safe='')}"


def comparison_page(server: str, runs: Mapping[str, str]) -> str:
    """Return the address that compares runs.

    Args:
        server: its address.
        runs: run ids, each with its experiment's id.
    """
    experiments = list(dict.fromkeys(runs.values()))
    return f"{server}/#/compare-runs?runs={_json(list(runs))}&experiments={_json(experiments)}"


def sweep_page(server: str, experiment_id: str, study: str) -> str:
    """Return the address of the table of a sweep's trials, but for those that other sweeps made.

    A table of MLflow's is of one experiment, and each sweep has its own.
    """
    member = f"tags.`{names.per_sweep(names.MEMBER, study)}` = 'yes'"
    experiment = quote(experiment_id, safe="")
    return f"{server}/#/experiments/{experiment}/runs?searchFilter={quote(member, safe='')}"


def _json(values: list[str]) -> str:
    return quote(json.dumps(values, separators=(",", ":")), safe="")
