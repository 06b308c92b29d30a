"""Grad-CAM against its two equations written out with hooks, and from a store's weights to maps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from spec.spaces import call, space_of
from torch import Tensor

from sweep.errors import UserError
from sweep.gradcam import Models, _Images, class_maps, explain, explained_layer
from sweep.ledger import Ledger, Share
from sweep.models.build import build_model, model_of
from sweep.models.placement import AttentiveModel, policies_of
from sweep.plan import make_plan
from sweep.registry import BACKBONES, DATASETS, TASKS
from sweep.spec.trial import Trial
from sweep.tracking import names
from sweep.tracking.delivery import Delivery, SweepRecord, TrialRecord
from sweep.tracking.gradcam import FILE, GradCam, Layer, read_gradcam
from sweep.tracking.reading import read_study
from sweep.tracking.store import find_runs, open_client
from sweep.training.checkpoint import Checkpoints
from sweep.training.loading import make_loader
from tests.test_ledger import TRIAL, finish

EXPLAINED = [name for name in BACKBONES.names() if BACKBONES[name].task == "classification"]
STUDY = "small"


def by_hand(model: AttentiveModel, layer: str, images: Tensor, labels: Tensor) -> Tensor:
    """Return equations 1 and 2 of the Grad-CAM paper, (N, H, W)."""
    kept: list[Tensor] = []

    def keep(_module: object, _inputs: object, output: Tensor) -> None:
        output.retain_grad()
        kept.extend([output, output.detach().clone()])  # the copy: nothing can overwrite it

    hook = model.backbone.get_submodule(layer).register_forward_hook(keep)
    logits = model(images)
    hook.remove()
    sum(logits[n, label] for n, label in enumerate(labels)).backward()
    tensor, copy = kept
    assert tensor.grad is not None
    maps = []
    for activation, gradient in zip(copy, tensor.grad, strict=True):
        total = torch.zeros(activation.shape[1:], dtype=activation.dtype)
        for channel in range(len(activation)):
            total += gradient[channel].mean() * activation[channel]
        maps.append(total.clamp(min=0))
    return F.interpolate(torch.stack(maps)[:, None], images.shape[-2:], mode="bilinear")[:, 0]


@pytest.mark.parametrize("at", ["first", "last"])
@pytest.mark.parametrize(
    ("backbone", "placement"),
    [(name, policy) for name in ("resnet18", "mobilenet_v2") for policy in policies_of(name)],
)
def test_maps_are_those_of_the_equations(backbone: str, placement: str, at: str) -> None:
    torch.manual_seed(0)
    ela = {"name": "ela", "preset": "L"}
    model = build_model(backbone, ela, placement, 4, "cifar", "nearest").double().eval()
    ends = BACKBONES[backbone].stage_ends
    assert ends is not None
    layer = ends(model.backbone)[{"first": 0, "last": -1}[at]]
    images, labels = torch.randn(2, 3, 32, 32, dtype=torch.float64), torch.tensor([1, 3])
    expected = by_hand(model, layer, images, labels)
    found = class_maps(model, layer, images, labels)
    assert expected.amax() > 0
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-5 * float(expected.amax()))


def test_attention_on_the_block_itself_is_explained_with_it() -> None:
    torch.manual_seed(0)
    model = build_model("resnet18", "se", ("layer4.1",), 4, "cifar").double().eval()
    images, labels = torch.randn(2, 3, 32, 32, dtype=torch.float64), torch.tensor([0, 2])
    expected = by_hand(model, "layer4.1", images, labels)
    torch.testing.assert_close(class_maps(model, "layer4.1", images, labels), expected)


@pytest.mark.parametrize(
    ("backbone", "stem", "size", "layer", "last"),
    [
        ("resnet50", "imagenet", 224, Layer("layer4.2", 7, 7), Layer("layer4.2", 7, 7)),
        ("resnet18", "cifar", 32, Layer("layer4.1", 4, 4), Layer("layer4.1", 4, 4)),
        ("resnet18", "cifar", 8, Layer("layer2.1", 4, 4), Layer("layer4.1", 1, 1)),
        ("resnet101", "imagenet", 64, Layer("layer3.22", 4, 4), Layer("layer4.2", 2, 2)),
        ("mobilenet_v2", "imagenet", 224, Layer("features.18", 7, 7), Layer("features.18", 7, 7)),
        ("mobilenet_v2", "cifar", 8, Layer("features.6", 4, 4), Layer("features.18", 1, 1)),
    ],
)
def test_the_layer_is_the_paper_s_unless_it_is_too_small(
    backbone: str, stem: str, size: int, layer: Layer, last: Layer
) -> None:
    assert explained_layer(*_unborn(backbone, stem), size) == (layer, last)


def test_every_backbone_of_classification_names_the_ends_of_its_stages() -> None:
    for backbone in EXPLAINED:
        _, last = explained_layer(*_unborn(backbone, "imagenet"), 224)
        assert (last.height, last.width) == (7, 7)


def _unborn(backbone: str, stem: str) -> tuple[Trial, AttentiveModel]:
    choice = TRIAL.backbone.model_copy(update={"name": backbone, "stem": stem})
    trial = TRIAL.model_copy(update={"backbone": choice})
    with torch.device("meta"):
        return trial, model_of(trial)


@pytest.mark.parametrize("size", [32, 96], ids=["resident", "streamed"])
def test_images_are_seen_as_an_evaluation_sees_them(tmp_path: Path, size: int) -> None:
    draw = np.random.default_rng(0)
    for name in ("bee", "ant", "wasp"):
        (tmp_path / name).mkdir()
        for number in range(6):
            pixels = draw.integers(0, 256, (110, 120, 3), dtype=np.uint8)
            PIL.Image.fromarray(pixels).save(tmp_path / name / f"{number}.png")
    settings = {"root": str(tmp_path), "image_size": size, "val_size": 3}
    update = {"dataset": "imagefolder", "dataset_settings": settings, "num_classes": 3}
    seen = _Images(TRIAL.model_copy(update=update), 3)
    loader = make_loader(
        DATASETS["imagefolder"].of(settings),
        "test",
        TASKS["classification"](3),
        batch_size=100,
        train=False,
        augmentation="none",
        seed=0,
        device=torch.device("cpu"),
        workers=0,
    )
    images, targets = next(loader.epoch(0))
    first = [targets.tolist().index(label) for label in range(3)]
    torch.testing.assert_close(seen.seen, images[first])
    assert seen.labels.tolist() == [0, 1, 2]
    assert seen.classes == ("ant", "bee", "wasp")


# From a store's weights to maps -----------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder whose MLflow store has untrained weights of most of its trials.

    ELA has them of the second seed alone, SE of none; those of CA are damaged.
    """
    folder = tmp_path_factory.mktemp("gradcam")
    space = space_of(
        folder,
        dataset="{name: digits, val_size: 32, subset: 32}",
        backbones="[mobilenet_v2]",
        attention="[none, {name: ela, preset: L}, se, ca]",
        seeds="[0, 1]",
    )
    trials = [planned.trial for planned in make_plan(space).runnable]
    ledger = Ledger(folder)
    for trial in trials:
        _finish(ledger, trial)
    records = tuple(TrialRecord(t, f"{t.attention} {t.seed}", {}) for t in trials)
    tags = {names.REFUSED: '{"count": 0, "items": []}'}
    delivery = Delivery(SweepRecord(STUDY, "Why?", "top1", tags, {}, records), ledger, _uri(folder))
    delivery.notify(*(trial.trial_id for trial in trials))
    delivery._deliver_pending(True)
    return folder


def _finish(ledger: Ledger, trial: Trial) -> None:
    """Leave in a ledger what an attempt at a trial leaves, but for the training."""
    ledger.begin(trial, Share(cpus=1, gpus=0.0))
    ledger.record(trial.trial_id, 1, {"val_top1": 0.5})
    if trial.attention != "se" and (trial.attention, trial.seed) != ("ela", 0):
        torch.manual_seed(trial.seed)
        checkpoints = Checkpoints(ledger.checkpoint_folder(trial.trial_id))
        checkpoints.save_best(1, model_of(trial).state_dict())
        if trial.attention == "ca":
            checkpoints.best_path(1).write_bytes(b"PK damaged")
    finish(
        ledger,
        trial.trial_id,
        {
            "metrics": {"test_top1": 0.5},
            "epochs": 1,
            "best_epoch": 1,
            "fvcore": {"macs": None, "unsupported": []},
            "environment": {"device": "CPU"},
        },
    )


def _uri(folder: Path) -> str:
    return f"sqlite:///{folder / 'mlflow.db'}"


def _run_ids(folder: Path) -> dict[str, dict[int, str]]:
    """Return the runs by attention and seed."""
    found: dict[str, dict[int, str]] = {}
    for run in find_runs(open_client(_uri(folder)), f"tags.`{names.KIND}` = 'trial'"):
        by_seed = found.setdefault(run.data.params["attention"], {})
        by_seed[int(run.data.params["seed"])] = run.info.run_id
    return found


def shown(folder: Path, count: int = 5, **models: dict[int, str]) -> GradCam:
    groups: dict[str, Models] = {"MobileNetV2": models}
    return explain(groups, _uri(folder), count)


@pytest.fixture
def kept(folder: Path) -> GradCam:
    """What the command keeps in MLflow."""
    result = call("gradcam", STUDY, "--dir", folder, "--images", "3")
    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines() == [
        "MobileNetV2, features.6, seed 1: baseline, ELA-L",
        "left out: MobileNetV2, SE: its weights were not kept; `keep_checkpoints: best` does",
        "left out: MobileNetV2, CA: its weights in MLflow are damaged, or of another model",
        f"kept with the sweep in MLflow; `sweep report {STUDY}` shows it",
    ]
    found = read_gradcam(_uri(folder), read_study(_uri(folder), STUDY).parent.run_id)
    assert found is not None
    return found


def test_the_command_keeps_maps_of_the_first_seed_that_all_have(
    kept: GradCam, folder: Path
) -> None:
    (comparison,) = kept.comparisons
    assert (comparison.group, comparison.seed) == ("MobileNetV2", 1)
    assert [(m.name, m.epoch) for m in comparison.models] == [("baseline", 1), ("ELA-L", 1)]
    runs = _run_ids(folder)
    assert [m.run_id for m in comparison.models] == [runs["none"][1], runs["ela"][1]]
    for model in comparison.models:
        assert model.maps.shape == (3, 8, 8)
        assert set(model.maps.max(axis=(1, 2))) <= {0.0, 1.0}
        assert model.maps.min() >= 0


def test_images_are_the_first_of_each_class_in_the_test_split(kept: GradCam) -> None:
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    _, test = train_test_split(
        np.arange(1797), test_size=0.2, stratify=digits.target, random_state=0
    )
    test = sorted(test)
    first = [next(n for n in test if digits.target[n] == label) for label in range(3)]
    grey = np.rint(digits.images[first] * (255 / 16))
    assert kept.labels.tolist() == [0, 1, 2]
    assert kept.classes == tuple("0123456789")
    assert np.array_equal(kept.images, np.repeat(grey[..., None], 3, axis=3).astype(np.uint8))


def test_predictions_and_maps_are_of_the_kept_weights(kept: GradCam, folder: Path) -> None:
    mean, std = 0.3054, 0.3760  # of digits, as its module states them
    images = torch.from_numpy(kept.images).permute(0, 3, 1, 2) / 255
    labels = torch.from_numpy(kept.labels)
    ledger = Ledger(folder)
    trials = [ledger.trial(trial_id) for trial_id in ledger.trial_ids()]
    for attention, shown in zip(("none", "ela"), kept.comparisons[0].models, strict=True):
        trial = next(t for t in trials if t and (t.attention, t.seed) == (attention, 1))
        torch.manual_seed(1)
        model = model_of(trial).eval()
        probabilities = model((images - mean) / std).softmax(1)
        assert np.array_equal(shown.predictions, probabilities.argmax(1).numpy())
        assert np.allclose(shown.probabilities, probabilities.amax(1).detach(), atol=1e-5)
        expected = by_hand(model, "features.6", (images - mean) / std, labels)
        expected = expected / expected.amax(dim=(1, 2), keepdim=True).clamp(min=1e-30)
        assert np.allclose(shown.maps, expected, atol=2e-3)  # float16


def test_it_is_the_same_every_time(folder: Path) -> None:
    def made() -> bytes:
        assert call("gradcam", STUDY, "--dir", folder).code == 0
        (path,) = (folder / "mlartifacts").rglob(FILE)
        return path.read_bytes()

    assert made() == made()


def test_a_seed_that_not_all_have_is_not_mixed_in(folder: Path) -> None:
    runs = _run_ids(folder)
    first = {0: runs["none"][0]}
    with pytest.raises(UserError, match="there is no seed whose weights all models have kept"):
        shown(folder, baseline=first, ELA=runs["ela"])
    assert shown(folder, baseline=first).comparisons[0].seed == 0


def test_without_any_weights_it_is_said_how_to_keep_them(folder: Path) -> None:
    runs = _run_ids(folder)
    with pytest.raises(UserError) as told:
        shown(folder, SE=runs["se"], ECA={})
    assert str(told.value).splitlines() == [
        "MobileNetV2, SE: its weights were not kept; `keep_checkpoints: best` does",
        "MobileNetV2, ECA: no trial has finished",
        "there is no model that could be explained",
    ]


def test_a_trial_without_its_record_is_left_out(folder: Path) -> None:
    runs = _run_ids(folder)
    client = open_client(_uri(folder))
    record = Path(client.get_run(runs["none"][0]).info.artifact_uri.removeprefix("file://"))
    record = record / names.FINISHED_RECORD
    content = record.read_bytes()
    record.unlink()
    try:
        with pytest.raises(UserError, match="the record of its trial is missing in MLflow"):
            shown(folder, baseline={0: runs["none"][0]})
    finally:
        record.write_bytes(content)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["smal"], "no study 'smal' in"),
        ([STUDY, "--backbone", "resnet18"], "--backbone 'resnet18' is not in small. It has: mob"),
        ([STUDY, "--module", "ELA"], "--module 'ELA' is not in small; did you mean 'ELA-L'?"),
        ([STUDY, "--images", "11"], "11 is not in the range 1<=x<=10"),
        ([STUDY, "--images", "0"], "0 is not in the range 1<=x<=10"),
    ],
)
def test_what_is_asked_wrongly_is_told(folder: Path, arguments: list[str], message: str) -> None:
    result = call("gradcam", *arguments, "--dir", folder)
    assert (result.code, result.out) == (2, "")
    assert message in result.err


def test_more_images_than_classes_are_refused(folder: Path) -> None:
    runs = _run_ids(folder)
    with pytest.raises(UserError, match=r"--images \(=11\): the test split of digits has 10 class"):
        shown(folder, 11, baseline=runs["none"])
