"""Grad-CAM of a sweep, as its parent run keeps it: one artifact, which is all that a report needs.

    gradcam.npz
        about              JSON: names, layers, seeds, epochs, what was left out
        images, labels     uint8 (N, H, W, 3), int64 (N,)
        maps.0             float16 (M, N, H, W) of the M models of the first comparison
        predictions.0      int64 (M, N)
        probabilities.0    float32 (M, N); and so on for every comparison

NumPy's format without pickles: reading it runs nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sweep.errors import UserError, first_line
from sweep.tracking.store import answering, check_artifacts, fetching, open_client

FILE = "gradcam.npz"
VERSION = 1
"""Of what the file holds; another one is not read."""


@dataclass(frozen=True)
class Layer:
    """A module of a backbone, and the places of its output."""

    name: str
    height: int
    width: int


@dataclass(frozen=True)
class ModelMaps:
    """What one model looks at, in N images."""

    name: str
    """As tables print it."""
    run_id: str
    epoch: int
    """That its weights are of."""
    maps: NDArray[np.float16]
    """(N, H, W) at the resolution of the images, each divided by its largest value; all 0 where
    nothing in the image speaks for its class."""
    predictions: NDArray[np.int64]
    """(N,) classes."""
    probabilities: NDArray[np.float32]
    """(N,) that the model gives them."""


@dataclass(frozen=True)
class Comparison:
    """Models that stand side by side: one backbone under one recipe, one seed."""

    group: str
    """Title of it, as tables print it."""
    seed: int
    layer: Layer
    """That is explained."""
    last: Layer
    """That the papers explain, the end of the last stage; the same one, unless it is too small."""
    models: tuple[ModelMaps, ...]


@dataclass(frozen=True)
class GradCam:
    """What the models of a sweep look at, in the same images."""

    images: NDArray[np.uint8]
    """(N, H, W, 3) as the models see them, before normalisation."""
    labels: NDArray[np.int64]
    """(N,) true classes, which are the explained ones."""
    classes: tuple[str, ...]
    """Names, by number."""
    comparisons: tuple[Comparison, ...]
    left_out: tuple[str, ...]
    """What is missing, and why: one line each."""


def log_gradcam(uri: str, parent_id: str, found: GradCam) -> None:
    """Keep Grad-CAM of a sweep on its parent run, in the place of what was there.

    Args:
        uri: of the MLflow store.
        parent_id: of the sweep's run.
        found: what to keep.

    Raises:
        UserError: the store does not answer.
    """
    with TemporaryDirectory() as folder:
        path = Path(folder) / FILE
        np.savez_compressed(path, allow_pickle=False, **_arrays(found))
        with answering(uri):
            client = open_client(uri)
            check_artifacts(client, uri, parent_id)
            client.log_artifact(parent_id, str(path))


def read_gradcam(uri: str, parent_id: str) -> GradCam | None:
    """Return what ``log_gradcam`` kept; None if there is nothing.

    Raises:
        UserError: it cannot be fetched, or is damaged or of another version.
    """
    with TemporaryDirectory() as folder:
        with fetching(parent_id):
            client = open_client(uri)
            if FILE not in [artifact.path for artifact in client.list_artifacts(parent_id)]:
                return None
            path = client.download_artifacts(parent_id, FILE, folder)
        try:
            with Path(path).open("rb") as raw, np.load(raw, allow_pickle=False) as file:
                return _found(file)
        except Exception as error:  # a damaged file may fail in any way
            raise UserError(
                f"{FILE} of run {parent_id} cannot be read ({first_line(error)}); "
                "`sweep gradcam STUDY` makes it anew"
            ) from None


def _arrays(found: GradCam) -> dict[str, NDArray[Any]]:
    """Return a file's arrays by name."""
    about = {
        "version": VERSION,
        "classes": found.classes,
        "left_out": found.left_out,
        "comparisons": [_about(comparison) for comparison in found.comparisons],
    }
    arrays = {"about": np.array(json.dumps(about)), "images": found.images, "labels": found.labels}
    for place, comparison in enumerate(found.comparisons):
        for name in ("maps", "predictions", "probabilities"):
            stacked = np.stack([getattr(model, name) for model in comparison.models])
            arrays[f"{name}.{place}"] = stacked
    return arrays


def _about(comparison: Comparison) -> dict[str, Any]:
    return {
        "group": comparison.group,
        "seed": comparison.seed,
        "layer": asdict(comparison.layer),
        "last": asdict(comparison.last),
        "models": [
            {"name": model.name, "run_id": model.run_id, "epoch": model.epoch}
            for model in comparison.models
        ],
    }


def _found(file: Mapping[str, NDArray[Any]]) -> GradCam:
    """Return what a file's arrays say.

    Raises:
        ValueError: they are of another version; others: they are no such file.
    """
    about = json.loads(str(file["about"]))
    if about["version"] != VERSION:
        raise ValueError(f"it is of version {about['version']}, this is version {VERSION}")
    return GradCam(
        images=file["images"],
        labels=file["labels"],
        classes=tuple(about["classes"]),
        comparisons=tuple(
            _comparison(place, comparison, file)
            for place, comparison in enumerate(about["comparisons"])
        ),
        left_out=tuple(about["left_out"]),
    )


def _comparison(
    place: int, about: Mapping[str, Any], file: Mapping[str, NDArray[Any]]
) -> Comparison:
    arrays = (file[f"{name}.{place}"] for name in ("maps", "predictions", "probabilities"))
    return Comparison(
        group=about["group"],
        seed=about["seed"],
        layer=Layer(**about["layer"]),
        last=Layer(**about["last"]),
        models=tuple(
            ModelMaps(**model, maps=maps, predictions=predictions, probabilities=probabilities)
            for model, maps, predictions, probabilities in zip(
                about["models"], *arrays, strict=True
            )
        ),
    )
