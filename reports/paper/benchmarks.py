"""What the papers train on, and the architectures they train, each with its placement.

Sources are the sections on experiments: ELA 4.1 to 4.4, EMA 4.1 and 4.2.
"""

from __future__ import annotations

from reports.paper.published import Architecture, Attention, Benchmark

IMAGENET = Benchmark(
    "classification",
    "imagenet",
    "he2016_resnet",
    1000,
    224,
    deviation="momentum 0.9 and learning rate 0.1, as in the recipe that it cites; it prints 0.99, "
    "and 0.1 or 0.05",
)
IMAGENET_MOBILE = Benchmark("classification", "imagenet", "ela_mobilenet_v2", 1000, 224)
CIFAR100 = Benchmark("classification", "cifar100", "ema_cifar", 100, 32)
VOC2007 = Benchmark(
    "detection",
    "voc2007",
    "ela_yolox",
    20,
    640,
    deviation="from random weights, where the paper starts from weights for COCO; without YOLOX's "
    "average of the weights over the steps, and with its mosaics to the last epoch",
)
COCO_YOLOF = Benchmark(
    "detection",
    "coco",
    "ela_yolof",
    80,
    800,
    deviation="images are fitted into 800 x 800, where the paper's have a shorter side of 800 and "
    "a longer one of up to 1333; without YOLOF's shifts, lower learning rate and frozen first "
    "stages of the backbone",
)
YOLOV5_DEVIATION = (
    "without YOLOv5's average of the weights over the steps and its own warm-up of biases and "
    "momentum; with milder changes of colour, fewer mosaics, and a learning rate that falls to zero"
)
COCO_YOLOV5 = Benchmark("detection", "coco", "ema_yolov5s", 80, 640, deviation=YOLOV5_DEVIATION)
VISDRONE = Benchmark(
    "detection",
    "visdrone",
    "ema_yolov5x",
    10,
    640,
    deviation="from random weights, where the paper starts from a part of YOLOv5x's; "
    + YOLOV5_DEVIATION,
)
VOC2012 = Benchmark(
    "segmentation",
    "voc2012_aug",
    "ela_deeplabv3",
    21,
    513,
    deviation="batch norm has torch's momentum, where the paper prints a decay of 0.9997; the "
    "backbone learns as fast as the head",
)

RESNET18 = Architecture(
    "resnet18",
    "stage3",
    IMAGENET,
    assumed="attention in every block and after every stage, which fits the counts",
)
STEM_AND_STAGES = (
    "attention after the stem and the four stages, which fits the counts; section 4.2 says in the "
    "blocks"
)
RESNET50 = Architecture("resnet50", "stem_stage", IMAGENET, assumed=STEM_AND_STAGES)
RESNET101 = Architecture("resnet101", "stem_stage", IMAGENET, assumed=STEM_AND_STAGES)
MOBILENET_V2 = Architecture("mobilenet_v2", "hidden", IMAGENET_MOBILE)
YOLOX_NANO = Architecture("yolox_nano", "yolox7", VOC2007)
YOLOF = Architecture("yolof_resnet50", "yolof5", COCO_YOLOF, weights="IMAGENET1K_V1")
DEEPLABV3 = Architecture(
    "deeplabv3_resnet50",
    "conv2",
    VOC2012,
    weights="IMAGENET1K_V1",
    assumed="attention after the 3x3 convolutions alone, which fits the counts; section 4.4 adds "
    '"and after each layer"',
)

CIFAR_RESNET50 = Architecture("resnet50", "block_last_bn", CIFAR100, stem="cifar")
CIFAR_RESNET101 = Architecture("resnet101", "block_last_bn", CIFAR100, stem="cifar")
YOLOV5S = Architecture("yolov5s", "yolov5_backbone", COCO_YOLOV5)
YOLOV5X = Architecture("yolov5x_p2", "yolov5_neck", VISDRONE)
YOLOV5X_WIDE = Architecture(
    "yolov5x_p2_wide",
    "yolov5_neck",
    VISDRONE,
    assumed="a wider neck than the baseline's, as in the published configuration with attention; "
    "the paper does not say so",
)


def ca(reduction: int, preset: str = "ela_paper") -> Attention:
    """Return coordinate attention with a reduction r."""
    return {"name": "ca", "preset": preset, "reduction": reduction}


def ca_gn(reduction: int) -> Attention:
    """Return coordinate attention with a group norm, ELA's "CA_gn"."""
    return ca(reduction, "ela_paper_gn")


def ela(preset: str) -> Attention:
    """Return ELA in a size of section 3.3."""
    return {"name": "ela", "preset": preset}


CA_OFFICIAL = (
    "biases, and at least 8 channels inside, as in its authors' code, which fits the counts"
)
CA_ELA = "no biases, which fits the counts"

ECA: Attention = {"name": "eca"}
"""Kernel size 3: ELA 4.2 says so, EMA does not say."""
SE: Attention = {"name": "se", "reduction": 32}
CBAM: Attention = {"name": "cbam", "preset": "ela", "reduction": 32}
SA: Attention = {"name": "sa", "groups": 32}
SA_ASSUMED = "G = 32: not printed, and 64, SA's own default, does not fit 64 channels"
