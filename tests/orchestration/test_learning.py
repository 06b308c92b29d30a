"""The quickstart's recipe works: ResNet-18 with ELA-L reads handwritten digits, in half of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sweep.ledger import Ledger
from tests.orchestration.conftest import Run

QUICKSTART = Path(__file__).parents[2] / "search_spaces" / "quickstart.yaml"


def test_resnet18_with_ela_l_reads_digits(run: Callable[..., Run], folder: Path) -> None:
    text = QUICKSTART.read_text(encoding="utf-8")
    one = ("attention=[{name: ela, preset: L}]", "seeds=[0]", "recipe.epochs=2")
    done = run(*one, study="quickstart", text=text)
    (planned,) = done.plan.trials
    result = Ledger(folder).result(planned.trial.trial_id)
    assert result is not None
    assert result["metrics"]["test_top1"] > 0.9
