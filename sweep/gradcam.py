"""Grad-CAM: which places of an image speak for its class, in each model of a sweep.

R. R. Selvaraju, M. Cogswell, A. Das, R. Vedantam, D. Parikh, D. Batra. Grad-CAM: Visual
Explanations from Deep Networks via Gradient-based Localization. ICCV 2017, arXiv:1610.02391. As in
Figure 3 of the ELA paper (section 3.4): the same images in the baseline and in models with
attention, five of them, "layer4.2 (the final bottleneck of the last stage)". By Captum:

    a_c = mean over places of d(logit of the class) / d(A_c)        eq. 1, channel c
    map = ReLU(sum over c of a_c A_c)                               eq. 2, (N, h, w)

A (N, C, h, w) is what leaves the last block of the last stage. Attention inside the block is part
of it; attention that a placement puts after the stage (``stage3``, ``stem_stage``) is not, but the
gradients have come through it: so is the paper's layer4.2, and so one and the same tensor is
explained in every model. The explained class is the true one, also where another was predicted.

Deviation: on small images the last map has too few places to show one (8x8 digits end in 1x1). Then
the end of the last stage that has at least 4x4 is explained; figures say which it is.

Nothing is chosen by looking: the images are the first of each class in the test split, in the order
of the classes, and the seed is the lowest that all models have. All is computed on the CPU in fp32.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor

from sweep.data.labelled import LabelledDataset, Pool, Samples
from sweep.errors import UserError
from sweep.models.build import model_of
from sweep.models.placement import AttentiveModel, site_shapes
from sweep.registry import BACKBONES, DATASETS, TASKS
from sweep.spec.trial import Trial
from sweep.tracking.gradcam import Comparison, GradCam, Layer, ModelMaps
from sweep.tracking.weights import BestWeights, WeightStore
from sweep.training.checkpoint import Checkpoints

FEWEST = 4
"""Places of a map, each way, below which it shows none: the last map of a ResNet with the CIFAR
stem at 32x32 pixels, the smallest of the papers, has so many."""


class UnexplainedError(Exception):
    """A model that is left out; the text says why."""


Models = Mapping[str, Mapping[int, str]]
"""Name of a model to the MLflow runs of its finished trials, by seed; the baseline first."""


def explain(groups: Mapping[str, Models], uri: str, count: int) -> GradCam:
    """Return what models look at, side by side.

    Args:
        groups: models of one backbone under one recipe, by the title of the group.
        uri: of the MLflow store that keeps their weights.
        count: of images.

    Raises:
        MissingDatasetError: the files of the data set are not here.
        UserError: no model can be explained, or there are fewer classes than images; the text says
            why.
    """
    work = _Explanations(WeightStore(uri), count)
    comparisons = tuple(
        found for title, models in groups.items() if (found := work.compare(title, models))
    )
    if work.images is None or not comparisons:
        raise UserError("\n".join([*work.left_out, "there is no model that could be explained"]))
    return GradCam(
        images=work.images.pixels,
        labels=work.images.labels.numpy(),
        classes=work.images.classes,
        comparisons=comparisons,
        left_out=tuple(work.left_out),
    )


def class_maps(model: AttentiveModel, layer: str, images: Tensor, labels: Tensor) -> Tensor:
    """Return Grad-CAM of one class for each image.

    Args:
        model: in evaluation mode.
        layer: dotted name of the module of the backbone whose output (N, C, h, w) is explained.
        images: (N, 3, H, W), normalised.
        labels: (N,) the classes.

    Returns:
        (N, H, W), not negative, in units of the logit; from h x w by bilinear interpolation.
    """
    from captum.attr import LayerAttribution, LayerGradCam

    explainer = LayerGradCam(model, model.backbone.get_submodule(layer))
    maps = explainer.attribute(images, target=labels, relu_attributions=True)  # (N, 1, h, w)
    full = LayerAttribution.interpolate(maps, images.shape[-2:], "bilinear")
    return torch.as_tensor(full).detach()[:, 0]


def explained_layer(trial: Trial, model: AttentiveModel, image_size: int) -> tuple[Layer, Layer]:
    """Return the layer that is explained, and the one at the end of the last stage.

    Raises:
        UnexplainedError: the backbone does not name such layers, or the maps of all are too small.
    """
    backbone = trial.backbone
    ends = BACKBONES[backbone.name].stage_ends
    if ends is None:
        raise UnexplainedError(f"backbone {backbone.name} does not name the ends of its stages")
    shapes = site_shapes(backbone.name, backbone.stem, ends(model.backbone), image_size)
    layers = [Layer(shape.name, shape.height, shape.width) for shape in shapes]
    large = [layer for layer in layers if min(layer.height, layer.width) >= FEWEST]
    if not large:
        raise UnexplainedError(
            f"no stage of {backbone.name} (stem {backbone.stem}) has {FEWEST}x{FEWEST} places at "
            f"{image_size}x{image_size} pixels"
        )
    return large[-1], layers[-1]


class _Images:
    """Test images: the first of each of the first ``count`` classes.

    Args:
        trial: whose data set they are of.
        count: of images.

    Raises:
        MissingDatasetError: the files are not here.
        UserError: there are not as many classes, or the data set cannot be asked for images.
    """

    def __init__(self, trial: Trial, count: int) -> None:
        dataset = DATASETS[trial.dataset].of(trial.dataset_settings)
        if not isinstance(dataset, LabelledDataset):
            raise UserError(f"data set {trial.dataset} is no LabelledDataset, which has its images")
        test = dataset.pools["test"]
        labels, first = np.unique(test.targets, return_index=True)  # in the order of the classes
        if count > len(labels):
            raise UserError(
                f"--images (={count}): the test split of {trial.dataset} has {len(labels)} classes,"
                " and one image of each is shown"
            )
        first = first[:count]
        pool = Pool(test.source, test.numbers[first], test.targets[first])
        self.seen = _normalised(dataset, pool, trial)
        """float (N, 3, H, W), as evaluation has them."""
        self.labels = torch.from_numpy(pool.targets)
        self.classes = dataset.class_names
        light = self.seen * _channels(dataset.std) + _channels(dataset.mean)  # in [0, 1]
        pixels = (255 * light).round().clamp(0, 255).byte()
        self.pixels = pixels.permute(0, 2, 3, 1).numpy()  # (N, 3, H, W) -> (N, H, W, 3)


def _normalised(dataset: LabelledDataset, pool: Pool, trial: Trial) -> Tensor:
    """Return images as ``sweep.training.loading`` gives them to an evaluation."""
    size, mean, std = dataset.config.image_size, dataset.mean, dataset.std
    if dataset.resident:
        return (pool.tensor(size).float() / 255 - _channels(mean)) / _channels(std)
    task = TASKS[trial.task](trial.num_classes)
    transform = task.transform(size, mean, std, None, dataset.eval_crop)
    samples = Samples(pool)
    images, _ = task.collate([transform(*samples[place]) for place in range(len(pool))])
    return images


def _channels(values: tuple[float, float, float]) -> Tensor:
    return torch.tensor(values).view(3, 1, 1)


class _Explanations:
    """Comparisons in the making: the images, once a trial has said of which data set."""

    def __init__(self, store: WeightStore, count: int) -> None:
        self.store, self.count = store, count
        self.images: _Images | None = None
        self.left_out: list[str] = []

    def compare(self, title: str, models: Models) -> Comparison | None:
        """Return the models of a group side by side; None if none is left."""
        kept = {name: self._kept(f"{title}, {name}", runs) for name, runs in models.items()}
        kept = {name: runs for name, runs in kept.items() if runs}
        if not kept:
            return None
        seeds = set.intersection(*map(set, kept.values()))
        if not seeds:
            self.left_out.append(f"{title}: there is no seed whose weights all models have kept")
            return None
        explained = []
        for name, runs in kept.items():
            try:
                explained.append(self._explain(name, runs[min(seeds)]))
            except UnexplainedError as error:
                self.left_out.append(f"{title}, {name}: {error}")
        if not explained:
            return None
        (layer, last), _ = explained[0]  # one backbone: the same for all
        return Comparison(title, min(seeds), layer, last, tuple(maps for _, maps in explained))

    def _kept(self, what: str, runs: Mapping[int, str]) -> dict[int, str]:
        """Return the runs whose weights are kept; say so if there are none."""
        kept = self.store.kept(runs)
        if not runs:
            self.left_out.append(f"{what}: no trial has finished")
        elif not kept:
            self.left_out.append(
                f"{what}: its weights were not kept; `keep_checkpoints: best` does"
            )
        return kept

    def _explain(self, name: str, run_id: str) -> tuple[tuple[Layer, Layer], ModelMaps]:
        """Return the layers of a model, and what it looks at.

        Raises:
            UnexplainedError: its weights cannot be read, or its maps are too small.
        """
        with TemporaryDirectory() as folder:
            best = self.store.fetch(run_id, Path(folder))
            if best is None:
                raise UnexplainedError("the record of its trial is missing in MLflow, or damaged")
            model = _restored(best)
        self.images = self.images or _Images(best.trial, self.count)
        seen = self.images.seen
        layers = explained_layer(best.trial, model, seen.shape[-1])
        maps = class_maps(model, layers[0].name, seen, self.images.labels)
        peaks = maps.amax(dim=(1, 2), keepdim=True)
        with torch.no_grad():
            probabilities, predictions = model(seen).softmax(dim=1).max(dim=1)
        return layers, ModelMaps(
            name=name,
            run_id=run_id,
            epoch=best.epoch,
            maps=torch.where(peaks > 0, maps / peaks, 0).numpy().astype(np.float16),
            predictions=predictions.numpy(),
            probabilities=probabilities.numpy(),
        )


def _restored(best: BestWeights) -> AttentiveModel:
    """Return the model of a trial with its best weights, for evaluation.

    Raises:
        UnexplainedError: the file of its weights is missing or damaged.
    """
    model = model_of(best.trial)
    try:
        model.load_state_dict(Checkpoints(best.folder).load_best(best.epoch, torch.device("cpu")))
    except Exception:  # whatever a damaged file makes torch raise; its text advises to trust it
        raise UnexplainedError("its weights in MLflow are damaged, or of another model") from None
    return model.eval()
