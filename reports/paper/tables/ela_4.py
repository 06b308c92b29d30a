"""ELA Table 4: kernel size, groups and norm groups of ELA on ImageNet.

k7-g8-ng16 is kernel size 7, groups in_channels / 8 and 16 norm groups; g is groups in_channels.
"""

from __future__ import annotations

from reports.paper.benchmarks import RESNET18, RESNET50
from reports.paper.published import Architecture, Column, PublishedTable, Row, register


def _row(
    architecture: Architecture, name: str, preset: str, top1: str, params: str, macs: str
) -> Row:
    """Return a row of the setting that ``name`` spells; ``preset`` is what is printed after it."""
    kernel_size, groups, num_groups = name.split("-")
    attention = {
        "name": "ela",
        "kernel_size": int(kernel_size.removeprefix("k")),
        "groups": "in_channels/8" if groups == "g8" else "in_channels",
        "num_groups": int(num_groups.removeprefix("ng")),
    }
    return Row((f"+ELA-{name}{preset}", top1, params, macs), architecture, attention)


ELA_4 = register(
    PublishedTable(
        paper="ELA",
        number=4,
        section="section 3.3",
        title="Hyperparameters of ELA on ImageNet",
        columns=(
            Column("Method", "text"),
            Column("Top-1", "metric", "%", "top1"),
            Column("P(MB)", "params", "M"),
            Column("GFLOPs(G)", "macs", "G"),
        ),
        rows=(
            Row(("ResNet18", "69.86", "11.690", "1.824"), RESNET18),
            _row(RESNET18, "k7-g8-ng16", "(L)", "70.60", "11.851", "1.830"),
            _row(RESNET18, "k7-g-ng16", "(B)", "70.44", "11.710", "1.825"),
            _row(RESNET18, "k7-g8-ng32", "", "70.77", "11.851", "1.830"),
            _row(RESNET18, "k7-g-ng32", "", "70.52", "11.710", "1.825"),
            _row(RESNET18, "k5-g8-ng16", "(S)", "70.79", "11.805", "1.828"),
            _row(RESNET18, "k5-g-ng16", "", "70.51", "11.704", "1.825"),
            _row(RESNET18, "k5-g8-ng32", "(T)", "70.68", "11.805", "1.828"),
            _row(RESNET18, "k5-g-ng32", "", "70.28", "11.704", "1.825"),
            Row(("ResNet50", "75.83", "25.557", "4.134"), RESNET50),
            _row(RESNET50, "k5-g8-ng32", "", "76.37", "25.713", "4.139"),
            _row(RESNET50, "k5-g8-ng16", "(S)", "76.59", "25.713", "4.139"),
            _row(RESNET50, "k7-g8-ng32", "", "76.54", "25.776", "4.141"),
            _row(RESNET50, "k7-g-ng16", "(B)", "76.63", "25.565", "4.135"),
            _row(RESNET50, "k7-g8-ng16", "(L)", "76.56", "25.776", "4.141"),
        ),
        params="thop_like",
        question="Which kernel size, number of convolution groups and number of norm groups should "
        "ELA have on ResNet-18 and ResNet-50?",
    )
)
