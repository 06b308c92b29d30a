"""What a plan says of a trial."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from spec.spaces import Result, call, text_of

from sweep.ledger import Ledger, Share
from sweep.plan import make_plan, plan_rows
from sweep.spec.load import load_space
from tests.test_ledger import finish

FIELDS = {
    "trial_id",
    "backbone",
    "placement",
    "attention",
    "hyperparameters",
    "dataset",
    "seed",
    "params_true",
    "params_thop_like",
    "params_no_norm",
    "macs",
    "status",
    "reason",
}
"""What issue 2 demands of every object of ``sweep plan --json``."""

MACS = 64 * 3 * 9 * 64 + 4 * 64 * 64 * 9 * 64 + 3 * (9 * 2 + 3 * 36 + 2) * 64 * 64 * 16 + 5120
"""ResNet-18, CIFAR stem, 8x8: the stem, stage 1, three stages that halve the sides, classifier."""

MIXED = {
    "attention": "[none, {name: sa, groups: [32, 64]}]",
    "seeds": "[0, 1]",
}


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SWEEP_DIR", raising=False)


def written(**fields: str | None) -> Path:
    path = Path("space.yaml")
    path.write_text(text_of(**fields), encoding="utf-8")
    return path


def plan(*arguments: str, **fields: str | None) -> Result:
    return call("plan", written(**fields), *arguments)


def test_json_has_one_object_per_trial_with_what_the_issue_demands() -> None:
    result = plan("--json", **MIXED)
    rows = json.loads(result.out)
    assert (result.code, result.err, len(rows)) == (0, "", 6)
    assert all(set(row) >= FIELDS for row in rows)
    assert len({row["trial_id"] for row in rows}) == 6
    assert [row["status"] for row in rows] == ["planned"] * 4 + ["refused"] * 2
    *_, planned, _, refused = rows
    assert planned | {"trial_id": "", "sites": []} == {
        "trial_id": "",
        "backbone": "resnet18",
        "stem": "cifar",
        "placement": "stage3",
        "sites": [],
        "attention": "sa",
        "preset": None,
        "part": None,
        "hyperparameters": {"groups": 32, "channel": True, "spatial": True},
        "dataset": "digits",
        "image_size": 8,
        "seed": 1,
        # 3 sites a stage with C/2G = 1, 2, 4, 8; four parameters each, and a GroupNorm's two
        "params_true": 11_173_962 + 3 * 15 * 6,
        "params_thop_like": 11_173_962 + 3 * 15 * 4,
        "params_no_norm": 11_173_962 - 9600 + 3 * 15 * 4,
        "macs": MACS,
        "status": "planned",
        "reason": "",
    }
    assert len(planned["sites"]) == 12
    assert refused["reason"] == "groups (=64) must divide 32 (at C=64)"
    assert {refused[name] for name in FIELDS if name.startswith("params")} == {None}


def test_a_trial_with_a_result_is_done() -> None:
    plan(**MIXED)
    made = make_plan(load_space(Path("space.yaml")))
    ledger = Ledger(Path("sweeps"))
    ledger.begin(made.trials[2].trial, Share(1, 0))
    assert [row["status"] for row in plan_rows(made, ledger)][2] == "planned"
    finish(ledger, made.trials[2].trial.trial_id, {})
    assert json.loads(plan("--json", **MIXED).out)[2]["status"] == "done"
    assert json.loads(plan("--json", "--dir", "elsewhere", **MIXED).out)[2]["status"] == "planned"


def test_the_table_says_how_many_what_is_refused_and_what_it_takes() -> None:
    result = plan(attention="[none, none, {name: sa, groups: [32, 64]}]")
    *table, kinds, cost, disk = result.out.splitlines()
    assert len(table) == 1 + 3
    assert "refused: groups (=64) must divide 32 (at C=64)" in table[-1]
    assert kinds == "3 trials: 2 planned, 1 refused; 1 points of the grid repeat others"
    assert cost.startswith("training all of them takes 0.001 PFLOP: about 0.0 h on one A100-class")
    assert disk.startswith("checkpoints take up to 0.")
    assert "(keep_checkpoints: none)" in disk


def test_the_table_shows_what_constraints_prune_and_with_what_it_costs() -> None:
    attention = "[none, {name: eca, kernel_size: [1, 3]}]"
    fields = {"attention": attention, "constraints": "{where: [kernel_size < 3]}"}
    result = plan(**fields)
    *table, kinds, _, _ = result.out.splitlines()
    assert len(table) == 1 + 3
    assert "11.174" in table[-1]
    assert "pruned: where[0]: kernel_size < 3 does not hold for kernel_size 3" in table[-1]
    assert kinds == "3 trials: 2 planned, 1 pruned"
    *_, row = json.loads(plan("--json", **fields).out)
    assert (row["status"], row["params_true"]) == ("pruned", 11_173_962 + 12 * 3)


def test_a_pruned_trial_with_a_result_stays_pruned() -> None:
    made = make_plan(load_space(written(attention="[eca]")))
    ledger = Ledger(Path("sweeps"))
    ledger.begin(made.trials[0].trial, Share(1, 0))
    finish(ledger, made.trials[0].trial.trial_id, {})
    fields = {"attention": "[eca]", "constraints": "{max_params_m: 1}"}
    assert json.loads(plan("--json", **fields).out)[0]["status"] == "pruned"


def test_run_counts_what_is_pruned() -> None:
    fields = {"attention": "[eca, se]", "seeds": "[0, 1]", "constraints": "{max_params_m: 1}"}
    result = call("run", written(**fields))
    assert result.out.splitlines()[:2] == [
        "pruned by constraints: 4 of 4",
        "small: 0 trials, 0 settled, 0 to run",
    ]


def test_nothing_is_written_by_planning() -> None:
    plan(**MIXED)
    assert [path.name for path in Path.cwd().iterdir()] == ["space.yaml"]


def test_a_missing_own_folder_is_one_line() -> None:
    result = plan(dataset="{name: imagefolder, root: nowhere}")
    assert result.code == 2
    assert result.err.count("\n") == 1
    assert "no files in nowhere" in result.err


# A recipe that the task does not know ----------------------------------------------------------

DETECTION = {"task": "detection", "dataset": "{name: voc2007}"}
NOT_KNOWN = "0.1 is not for detection\n"


def test_label_smoothing_of_boxes_is_said_where_it_stands() -> None:
    fields = {"backbones": "[yolox_nano]", "recipe": "{epochs: 2, label_smoothing: 0.1}"}
    result = plan(**DETECTION, **fields)
    expected = f"error: space.yaml:7:21: recipe.label_smoothing: {NOT_KNOWN}"
    assert (result.code, result.out, result.err) == (2, "", expected)


def test_label_smoothing_of_one_backbone_is_said_where_it_stands() -> None:
    backbones = "[yolox_nano, {name: yolov5s, recipe: {label_smoothing: 0.1}}]"
    result = plan(**DETECTION, backbones=backbones)
    assert "backbones: " + backbones == Path("space.yaml").read_text().splitlines()[3]
    place = len("backbones: ") + backbones.index("label_smoothing") + 1
    expected = f"error: space.yaml:4:{place}: backbones[1].recipe.label_smoothing: {NOT_KNOWN}"
    assert (result.code, result.out, result.err) == (2, "", expected)


def test_label_smoothing_of_all_is_said_once_beside_a_backbone_with_its_own_recipe() -> None:
    backbones = "[{name: yolov5s, recipe: {epochs: 3}}, yolox_nano]"
    recipe = "{epochs: 2, label_smoothing: 0.1}"
    result = plan(**DETECTION, backbones=backbones, recipe=recipe)
    # It stands in the recipe of all, whichever backbone is looked at first.
    assert result.err == f"error: space.yaml:7:21: recipe.label_smoothing: {NOT_KNOWN}"


def test_label_smoothing_that_no_backbone_is_left_with() -> None:
    backbones = "[{name: yolox_nano, recipe: {label_smoothing: 0.0}}]"
    result = plan(**DETECTION, backbones=backbones, recipe="{epochs: 2, label_smoothing: 0.1}")
    assert (result.code, result.err) == (0, "")


# A stored plan ---------------------------------------------------------------------------------


@pytest.mark.parametrize("backbone", ["yolox_nano", "yolof_resnet50", "yolov5s", "yolov5x_p2"])
@pytest.mark.parametrize("size", [8, 48, 90, 100])
def test_an_image_that_does_not_suit_a_detector_is_said_where_it_stands(
    backbone: str, size: int
) -> None:
    result = plan(
        task="detection",
        dataset=f"{{name: coco, image_size: {size}}}",
        backbones=f"[{backbone}]",
        attention="[none]",
    )
    assert (result.code, result.out) == (2, "")
    (line,) = result.err.splitlines()
    assert line.startswith("error: space.yaml:")
    assert f"dataset.image_size: {size} is not a multiple of 32, as {backbone} needs" in line
