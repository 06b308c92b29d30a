"""The password that a store's address may hold is neither printed nor kept."""

from __future__ import annotations

import dataclasses
import io
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from mlflow import MlflowClient
from rich.console import Console
from spec.spaces import space_of

from sweep.errors import UserError
from sweep.ledger import Ledger
from sweep.orchestration.run import Summary
from sweep.plan import make_plan
from sweep.printing import show_summary
from sweep.tracking import delivery
from sweep.tracking.delivery import note_adopted, read_cursor, write_cursor
from sweep.tracking.reading import read_study
from sweep.tracking.removal import remove_runs
from sweep.tracking.store import without_password
from sweep.tracking.uploading import UploadError, upload_report
from tests.tracking.conftest import TRIALS, Folder

SECRET = "http://ann:s3cret@mlflow.invalid:1/lab"
ID = TRIALS[0].trial_id


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (SECRET, "http://mlflow.invalid:1/lab"),
        ("postgresql+pg8000://u:p@ss@db/mlflow?a=b@c", "postgresql+pg8000://db/mlflow?a=b@c"),
        ("http://host:5000/a@b", "http://host:5000/a@b"),
        ("sqlite:////home/ann@lab/mlflow.db", "sqlite:////home/ann@lab/mlflow.db"),
        (f"to {SECRET}/api: mail a@b", "to http://mlflow.invalid:1/lab/api: mail a@b"),
    ],
)
def test_a_text_is_shown_without_passwords(text: str, shown: str) -> None:
    assert without_password(text) == shown


def test_the_end_of_a_sweep_names_the_store_without_its_password(tmp_path: Path) -> None:
    plan = make_plan(space_of(tmp_path))
    counts = {"done": 2, "ran": 0, "adopted": 2, "stopped": 0, "segments": 0}
    texts = {"uneven": "", "undelivered": "", "uri": SECRET}
    summary = Summary(plan=plan, failures=(), answers=(), **counts, **texts)
    console = Console(file=io.StringIO(), width=200)
    show_summary(summary, tmp_path, console)
    assert "2 trials were trained elsewhere: taken over from http://mlflow.invalid:1/lab" in (
        said := console.file.getvalue()
    )
    assert "sweep ui --tracking-uri http://mlflow.invalid:1/lab" in said
    assert "s3cret" not in said


def test_a_ledger_does_not_keep_it_and_knows_the_store_by_any_account(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.trial_folder(ID).mkdir(parents=True)
    note_adopted(ledger, ID, SECRET, "run-1")
    path = ledger.trial_folder(ID) / "mlflow.json"
    assert "s3cret" not in path.read_text()
    assert "http://mlflow.invalid:1/lab" in path.read_text()
    for uri in (SECRET, SECRET.replace("s3cret", "new"), without_password(SECRET)):
        cursor = read_cursor(ledger, ID, uri)
        assert cursor is not None
        assert cursor.run_id == "run-1"
    assert read_cursor(ledger, ID, "http://other.invalid") is None


def test_a_cursor_of_an_earlier_version_is_still_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger(tmp_path)
    ledger.trial_folder(ID).mkdir(parents=True)
    with monkeypatch.context() as patch:
        patch.setattr(delivery, "without_password", lambda text: text)
        note_adopted(ledger, ID, SECRET, "run-1")
    path = ledger.trial_folder(ID) / "mlflow.json"
    assert json.loads(path.read_text())["uri"] == SECRET
    cursor = read_cursor(ledger, ID, SECRET)
    assert cursor is not None
    write_cursor(ledger, ID, dataclasses.replace(cursor))
    assert "s3cret" not in path.read_text()


def test_a_store_that_is_down_is_named_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(UserError, match=r"mlflow\.invalid") as removing:
        remove_runs(SECRET, "small", [], "folder")
    with pytest.raises(UploadError, match=r"mlflow\.invalid") as uploading:
        upload_report(SECRET, "run", tmp_path, [tmp_path / "index.html"])
    with pytest.raises(Exception, match="s3cret"):  # else there is nothing to keep back
        MlflowClient(tracking_uri=SECRET).search_experiments()
    folder = Folder(tmp_path / "sweeps", SECRET)
    folder.delivery.start()
    assert not folder.delivery.close(60)
    for text in (str(removing.value), str(uploading.value), folder.delivery.problem):
        assert "mlflow.invalid" in text
        assert "s3cret" not in text


def test_a_store_that_refuses_the_account_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(401)
            self.end_headers()
            self.wfile.write(b"You are not authenticated.")

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    try:
        with pytest.raises(UserError, match=r"\(401\): set MLFLOW_TRACKING_USERNAME and"):
            read_study(f"http://127.0.0.1:{server.server_port}", "any")
    finally:
        server.shutdown()
        server.server_close()
