"""How a trial is trained, and the recipes of the papers as presets.

A preset is plain data; a search space names it and changes what it wants.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

Fraction = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[PositiveInt, Field(le=100_000)]
"""More than any sweep has use for is a slip of the finger, or meant to take a cluster."""

Seed = Annotated[NonNegativeInt, Field(lt=2**32)]
"""As the generators of NumPy take it."""
LARGEST_FACTOR = 1e30
"""Of a learning rate or a decay: far above any that trains, far below what overflows."""


class Recipe(BaseModel):
    """Everything about training that determines a result, but the seed.

    Raises:
        pydantic.ValidationError: (a ValueError) an unknown field, a wrong type or value.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )

    epochs: Count = 90
    """Passes over the training split."""
    batch_size: Count = 128
    """Images per optimizer step."""
    accumulate: Count = 1
    """Pieces that a batch is processed in, to fit a smaller GPU; the step sees the whole batch."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    """"sgd" or "adamw"."""
    lr: Annotated[PositiveFloat, Field(le=LARGEST_FACTOR)] = 0.1
    """Highest learning rate."""
    momentum: Fraction = 0.9
    """Of SGD."""
    nesterov: bool = False
    """Nesterov momentum, of SGD."""
    weight_decay: Annotated[NonNegativeFloat, Field(le=LARGEST_FACTOR)] = 5e-4
    """L2 penalty (sgd) or decoupled decay (adamw)."""
    decay_norm_and_bias: bool = True
    """Whether weight decay also acts on biases and the parameters of norms."""
    schedule: Literal["constant", "cosine", "poly", "step", "one_cycle"] = "cosine"
    """Of the learning rate: "constant", "cosine" and "poly" (to zero), "step" or "one_cycle"."""
    milestones: tuple[Count, ...] = ()
    """Epochs after which "step" multiplies the learning rate by ``gamma``; ascending."""
    gamma: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Factor of "step"."""
    warmup_epochs: Annotated[NonNegativeFloat, Field(le=100_000)] = 0.0
    """Epochs of linear warm-up; "one_cycle" takes them as its rising part."""
    label_smoothing: Fraction = 0.0
    """Of the cross-entropy in training; a reported loss is without."""
    augmentation: Literal["standard", "flip", "none"] = "standard"
    """"standard" (the data set's own), "flip" (left and right alone) or "none"."""
    precision: Literal["fp32", "tf32", "bf16", "fp16"] = "fp32"
    """Of the forward pass: "fp32", "tf32" (of NVIDIA GPUs), or autocast to "bf16" or "fp16"."""
    channels_last: bool = False
    """Memory layout (B, H, W, C) of images and convolutions."""
    evaluate: Literal["best", "last"] = "best"
    """Which weights the test split is evaluated with: those of the best validation, or the last."""

    @property
    def open_ended(self) -> bool:
        """Whether training for more epochs leaves the first ones as they are."""
        return self.schedule in ("constant", "step")

    @model_validator(mode="before")
    @classmethod
    def _list_to_tuple(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("milestones"), list):
            return {**data, "milestones": tuple(data["milestones"])}
        return data

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.schedule == "step" and not self.milestones:
            raise ValueError("schedule 'step' needs milestones, such as [30, 60]")
        if self.schedule != "step" and self.milestones:
            raise ValueError(f"milestones belong to schedule 'step', not {self.schedule!r}")
        if list(self.milestones) != sorted(set(self.milestones)):
            raise ValueError(f"milestones (={list(self.milestones)}) must ascend")
        if self.warmup_epochs > self.epochs:
            raise ValueError(
                f"warmup_epochs (={self.warmup_epochs:g}) must not exceed epochs (={self.epochs})"
            )
        if self.optimizer == "sgd" and self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs a momentum above 0")
        if self.accumulate > self.batch_size:
            raise ValueError(
                f"accumulate (={self.accumulate}) must not exceed batch_size (={self.batch_size})"
            )
        return self


YOLOV5: Mapping[str, Any] = MappingProxyType(
    {
        "epochs": 300,
        "momentum": 0.937,
        "nesterov": True,
        "weight_decay": 5e-4 / 64,
        "decay_norm_and_bias": False,
        "schedule": "cosine",
        "warmup_epochs": 3.0,
    }
)

PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        # ELA section 4.1. It prints momentum 0.99 and a learning rate of "either 0.1 and 0.05",
        # and says that it adopts the settings of He et al. (2016), who use 0.9 and 0.1.
        "ela_resnet": {
            "epochs": 90,
            "batch_size": 256,
            "lr": 0.1,
            "momentum": 0.99,
            "weight_decay": 1e-4,
            "schedule": "step",
            "milestones": (30, 60),
            "gamma": 0.1,
        },
        # Deep Residual Learning (2016), section 3.4, with the ELA paper's 90 epochs.
        "he2016_resnet": {
            "epochs": 90,
            "batch_size": 256,
            "lr": 0.1,
            "momentum": 0.9,
            "weight_decay": 1e-4,
            "schedule": "step",
            "milestones": (30, 60),
            "gamma": 0.1,
        },
        # ELA section 4.1.
        "ela_mobilenet_v2": {
            "epochs": 200,
            "batch_size": 256,
            "lr": 0.025,
            "momentum": 0.9,
            "weight_decay": 4e-5,
            "schedule": "cosine",
        },
        # EMA section 4.1: batch, epochs and weight decay as printed; the rest "as NAM", whose code
        # uses lr 0.1 divided by 5 at 60, 120 and 160 after one epoch of warm-up, and Nesterov.
        "ema_cifar": {
            "epochs": 200,
            "batch_size": 128,
            "lr": 0.1,
            "momentum": 0.9,
            "nesterov": True,
            "weight_decay": 4e-5,
            "schedule": "step",
            "milestones": (60, 120, 160),
            "gamma": 0.2,
            "warmup_epochs": 1.0,
        },
        # ELA section 4.3, Pascal VOC; the rest "refer to" YOLOX: Nesterov, five epochs of warm-up,
        # no decay of norms and biases.
        "ela_yolox": {
            "epochs": 72,
            "batch_size": 16,
            "lr": 0.02,
            "momentum": 0.937,
            "nesterov": True,
            "weight_decay": 5e-4,
            "decay_norm_and_bias": False,
            "schedule": "cosine",
            "warmup_epochs": 5.0,
        },
        # ELA section 4.3, COCO; momentum, decay and the flip are YOLOF's. An epoch of the 112,266
        # images that 5,000 held out for validation leave has 7,017 steps, 1,500 are warm-up.
        "ela_yolof": {
            "epochs": 12,
            "batch_size": 16,
            "lr": 0.003,
            "momentum": 0.9,
            "weight_decay": 1e-4,
            "schedule": "step",
            "milestones": (8, 11),
            "gamma": 0.1,
            "warmup_epochs": 0.214,
            "augmentation": "flip",
        },
        # ELA section 4.4: 40,000 steps of 12 images are 48 epochs of the 10,082 that 500 held out
        # for validation leave. Momentum, decay and "poly" are DeepLabV3's; its momentum of batch
        # norm (0.9997) is left out.
        "ela_deeplabv3": {
            "epochs": 48,
            "batch_size": 12,
            "lr": 0.025,
            "momentum": 0.9,
            "weight_decay": 1e-4,
            "schedule": "poly",
        },
        # EMA section 4.2: epochs, and batches of 48 and 5 images; the rest are settings that YOLOv5
        # publishes, whose learning rate falls to a tenth and not to zero. YOLOv5 takes a step
        # for about 64 images (13 batches of 5), and the sum of their losses at lr 0.01 and a decay
        # of 5e-4 for 64: here, where losses are means, lr and decay are that much larger and
        # smaller.
        "ema_yolov5s": {**YOLOV5, "batch_size": 48, "lr": 0.48},
        "ema_yolov5x": {**YOLOV5, "batch_size": 65, "accumulate": 13, "lr": 0.65},
    }
)
