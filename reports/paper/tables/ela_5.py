"""ELA Table 5: ELA among the other modules on ImageNet.

Where a module reduces channels, "its scaling factor is set to 32 by default".
"""

from __future__ import annotations

from reports.paper.benchmarks import (
    CA_ELA,
    CA_OFFICIAL,
    CBAM,
    ECA,
    MOBILENET_V2,
    RESNET18,
    RESNET50,
    RESNET101,
    SA,
    SA_ASSUMED,
    SE,
    ca,
    ela,
)
from reports.paper.published import (
    BASELINE,
    Architecture,
    Attention,
    Column,
    PublishedTable,
    Row,
    register,
)

NAMES = {
    MOBILENET_V2: "MobileNetV2-1.0",
    RESNET18: "ResNet18",
    RESNET50: "ResNet50",
    RESNET101: "ResNet101",
}


def _row(
    architecture: Architecture, label: str, numbers: str, attention: Attention = BASELINE
) -> Row:
    """Return a row; ``numbers`` are top-1, top-5, parameters and GFLOPs."""
    name = NAMES[architecture]
    cells = (label or name, name, *numbers.split())
    return Row(cells, architecture, attention, assumed=_assumed(attention))


def _assumed(attention: Attention) -> str:
    if attention is SA:
        return SA_ASSUMED
    return {"official": CA_OFFICIAL, "ela_paper": CA_ELA}.get(attention.get("preset", ""), "")


ELA_5 = register(
    PublishedTable(
        paper="ELA",
        number=5,
        section="section 4.2",
        title="Attention modules on ImageNet",
        columns=(
            Column("Attention Methods", "text"),
            Column("Bankbones", "text"),  # spelt so
            Column("Top-1(%)", "metric", "%", "top1"),
            Column("Top-5(%)", "metric", "%", "top5"),
            Column("Params(M)", "params", "M"),
            Column("GFLOPs", "macs", None),
        ),
        rows=(
            _row(MOBILENET_V2, "", "69.52 89.21 3.50 327.56M"),
            _row(MOBILENET_V2, "+CA(r=32)", "71.39 90.57 3.95 337.46M", ca(32, "official")),
            _row(MOBILENET_V2, "+CA(r=24)", "71.56 90.54 4.09 339.10M", ca(24, "official")),
            _row(MOBILENET_V2, "+CA(r=16)", "71.90 90.79 4.37 342.63M", ca(16, "official")),
            _row(MOBILENET_V2, "+ECA", "71.04 90.19 3.51 329.49M", ECA),
            _row(MOBILENET_V2, "+SE", "71.11 90.14 3.79 329.74M", SE),
            _row(MOBILENET_V2, "+SA", "70.58 90.09 3.51 328.50M", SA),
            _row(MOBILENET_V2, "+CBAM", "71.24 90.42 3.79 331.02M", CBAM),
            _row(MOBILENET_V2, "+ELA-S(Ours)", "71.52 90.57 3.79 334.97M", ela("S")),
            _row(MOBILENET_V2, "+ELA-L(Ours)", "71.91 90.68 3.90 337.94M", ela("L")),
            _row(RESNET18, "", "69.86 89.08 11.690 1.824G"),
            _row(RESNET18, "+CA", "69.77 88.64 11.886 1.827G", ca(32)),
            _row(RESNET18, "+ECA", "70.15 89.45 11.690 1.826G", ECA),
            _row(RESNET18, "+SE", "70.41 89.65 11.755 1.826G", SE),
            _row(RESNET18, "+CBAM", "70.48 89.62 11.756 1.829G", CBAM),
            _row(RESNET18, "+SA", "70.42 89.52 11.690 1.825G", SA),
            _row(RESNET18, "+ELA-T(Ours)", "70.68 89.68 11.704 1.825G", ela("T")),
            _row(RESNET18, "+ELA-B(Ours)", "70.79 89.75 11.710 1.825G", ela("B")),
            _row(RESNET50, "", "75.83 92.81 25.557 4.134G"),
            _row(RESNET50, "+CA", "76.35 93.06 26.080 4.141G", ca(32)),
            _row(RESNET50, "+ECA", "76.24 93.17 25.557 4.136G", ECA),
            _row(RESNET50, "+SE", "76.01 92.15 25.905 4.136G", SE),
            _row(RESNET50, "+CBAM", "76.09 92.90 25.906 4.138G", CBAM),
            _row(RESNET50, "+SA", "76.30 93.08 25.557 4.135G", SA),
            _row(RESNET50, "+ELA-S(Ours)", "76.59 93.34 25.713 4.139G", ela("S")),
            _row(RESNET50, "+ELA-B(Ours)", "76.63 93.35 25.565 4.135G", ela("B")),
            _row(RESNET101, "", "77.35 93.56 44.549 7.866G"),
            _row(RESNET101, "+CA", "77.42 93.68 45.595 7.880G", ca(32)),
            _row(RESNET101, "+ELA-B(Ours)", "77.41 93.73 44.705 7.871G", ela("B")),
            _row(RESNET101, "+ELA-S(Ours)", "77.56 93.91 44.768 7.874G", ela("S")),
        ),
        params="thop_like",
        question="Which attention module improves MobileNetV2 and ResNet-18, -50 and -101, at what "
        "cost?",
    )
)
