"""Copies, pickles, saved weights and compilation of a model with attention at its sites."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor

from sweep import build_model
from sweep.models.placement import AttentiveModel

SITES = ["layer1.0.bn2", "layer2"]


def model(seed: int = 0) -> AttentiveModel:
    torch.manual_seed(seed)
    return build_model("resnet18", "ela", SITES, num_classes=5, stem="cifar").eval()


def images() -> Tensor:
    return torch.randn((2, 3, 16, 16), generator=torch.Generator().manual_seed(1))


def by_pickle(original: AttentiveModel) -> Any:
    return pickle.loads(pickle.dumps(original))


@pytest.mark.parametrize("duplicate", [copy.deepcopy, by_pickle])
def test_a_copy_attends_with_its_own_modules(duplicate: Any) -> None:
    original = model()
    before = original(images())
    other = duplicate(original)
    assert torch.equal(other(images()), before)
    with torch.no_grad():
        for parameter in other.attention.parameters():
            parameter.mul_(-3)
    assert not torch.equal(other(images()), before)
    assert torch.equal(original(images()), before)


def test_gradients_of_a_copy_reach_its_own_attention() -> None:
    original = model()
    other = copy.deepcopy(original)
    other(images()).sum().backward()
    assert all(parameter.grad is not None for parameter in other.parameters())
    assert all(parameter.grad is None for parameter in original.parameters())


def test_state_dict_round_trip() -> None:
    one, other = model(0), model(1)
    assert not torch.equal(one(images()), other(images()))
    other.load_state_dict(one.state_dict())
    assert torch.equal(one(images()), other(images()))


def test_names_tell_the_site_and_the_backbone_keeps_its_own() -> None:
    built = model()
    names = {name.rpartition(".")[0] for name in built.attention.state_dict()}
    assert names == {f"{site}.encoders.0.{i}" for site in ("layer1_0_bn2", "layer2") for i in "01"}
    plain = build_model("resnet18", num_classes=5, stem="cifar")
    assert list(built.backbone.state_dict()) == list(plain.backbone.state_dict())
    # Each parameter is there once.
    assert len(built.state_dict()) == len(plain.state_dict()) + 2 * 3


def test_attention_is_trained_and_moved_with_the_model() -> None:
    built = model()
    built.train()
    assert all(module.training for module in built.attention.modules())
    assert {p.dtype for p in built.double().parameters()} == {torch.float64}
    assert built(images().double()).dtype == torch.float64
    own = {id(parameter) for parameter in built.attention.parameters()}
    assert own
    assert own <= {id(parameter) for parameter in built.parameters()}


def test_the_baseline_has_neither_sites_nor_hooks() -> None:
    baseline = build_model("resnet18", "none", "stage3", num_classes=5)
    assert baseline.sites == ()
    assert len(baseline.attention) == 0
    assert not any(module._forward_hooks for module in baseline.modules())


def test_compiles_as_one_graph() -> None:
    built = model()
    torch.compiler.reset()
    compiled = torch.compile(built, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(images()), built(images()), rtol=1e-5, atol=1e-6)
    without = build_model("resnet18", num_classes=5, stem="cifar").eval()
    without.load_backbone(built.backbone.state_dict())
    assert not torch.allclose(compiled(images()), without(images()), rtol=1e-3)
