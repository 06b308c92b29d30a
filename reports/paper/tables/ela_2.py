"""ELA Table 2: CA with batch and with group normalisation, over reductions, on ImageNet."""

from __future__ import annotations

from reports.paper.benchmarks import RESNET18, RESNET50, ca, ca_gn
from reports.paper.published import Column, PublishedTable, Row, register

ELA_2 = register(
    PublishedTable(
        paper="ELA",
        number=2,
        section="section 3.1.2",
        title="Coordinate attention and its modification on ImageNet",
        columns=(
            Column("Model", "text"),
            Column("top-1", "metric", "%", "top1"),
            Column("Params(MB)", "params", "M"),
            Column("GFLOPs(G)", "macs", "G"),
        ),
        rows=(
            Row(("ResNet18", "69.86", "11.690", "1.824"), RESNET18),
            Row(("+CA(r=32)", "69.77", "11.788", "1.825"), RESNET18, ca(32)),
            Row(("+CA(r=24)", "68.74", "11.816", "1.826"), RESNET18, ca(24)),
            Row(("+CA(r=16)", "69.00", "11.886", "1.827"), RESNET18, ca(16)),
            Row(("+CA_gn(r=32)", "70.18", "11.795", "1.826"), RESNET18, ca_gn(32)),
            Row(("+CA_gn(r=24)", "70.21", "11.826", "1.826"), RESNET18, ca_gn(24)),
            Row(("+CA_gn(r=16)", "70.30", "11.888", "1.827"), RESNET18, ca_gn(16)),
            Row(("ResNet50", "75.83", "25.557", "4.134"), RESNET50),
            Row(("+CA(r=32)", "76.35", "26.080", "4.141"), RESNET50, ca(32)),
            Row(("+CA(r=24)", "76.42", "26.249", "4.143"), RESNET50, ca(24)),
            Row(("+CA(r=16)", "76.64", "26.603", "4.148"), RESNET50, ca(16)),
        ),
        params="thop_like",
        question="Does group normalisation help coordinate attention on ResNet-18, and which "
        "reduction?",
    )
)
