"""Addresses of MLflow's pages; tests/browser opens them."""

from __future__ import annotations

import json
from urllib.parse import parse_qs, urlsplit

import pytest

from sweep.tracking.links import comparison_page, run_page, server_of, sweep_page


@pytest.mark.parametrize(
    ("uri", "server"),
    [
        ("sqlite:////data/mlflow.db", "http://127.0.0.1:5000"),
        ("postgresql://user:secret@host/mlflow", "http://127.0.0.1:5000"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("https://user:secret@host.example:8443/team/", "https://host.example:8443/team"),
    ],
)
def test_the_server_of_a_store(uri: str, server: str) -> None:
    assert server_of(uri) == server


def test_a_comparison_names_runs_and_their_experiments_once() -> None:
    runs = {"a": "1", "b": "2", "c": "1"}
    address = urlsplit(comparison_page("http://host", runs))
    route, _, query = address.fragment.partition("?")
    assert (address.netloc, route) == ("host", "/compare-runs")
    found = {key: json.loads(value) for key, [value] in parse_qs(query).items()}
    assert found == {"runs": ["a", "b", "c"], "experiments": ["1", "2"]}


def test_what_is_odd_in_a_name_is_quoted() -> None:
    allowed = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~:/#?&=%")
    odd = "a b'\"<>`\\{}|^é/?#&="
    addresses = [
        run_page("http://host", odd, odd),
        comparison_page("http://host", {odd: odd}),
        sweep_page("http://host", odd, odd),
    ]
    for address in addresses:
        assert set(address) <= allowed
        assert address.count("#") == 1
    query = urlsplit(addresses[2]).fragment.partition("?")[2]
    assert parse_qs(query)["searchFilter"] == [f"tags.`sweep.member.{odd}` = 'yes'"]
