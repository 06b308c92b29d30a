"""EMA Table 1: EMA among the other modules on CIFAR-100.

Its rows of CA and EMA leave out the affine parameters of every norm, the others do not. Its counter
of FLOPs sees one item of a batch: the groups that EMA folds into the batch are counted once.
"""

from __future__ import annotations

from reports.paper.benchmarks import CA_OFFICIAL, CIFAR_RESNET50, CIFAR_RESNET101, ECA, ca
from reports.paper.published import Column, PublishedTable, Row, register

CA = ca(32, "official")
R50, R101 = CIFAR_RESNET50, CIFAR_RESNET101

EMA_1 = register(
    PublishedTable(
        paper="EMA",
        number=1,
        section="section 4.1",
        title="Attention modules on CIFAR-100",
        columns=(
            Column("Method", "text"),
            Column("Backbone", "text"),
            Column("#.Param.", "params", "M"),
            Column("FLOPs", "macs", "G"),
            Column("Top-1 (%)", "metric", "%", "top1"),
            Column("Top-5 (%)", "metric", "%", "top5"),
        ),
        rows=(
            Row(("Baseline", "ResNet50", "23.71M", "1.30G", "77.26", "93.63"), R50),
            Row(
                ("+ CBAM", "ResNet50", "26.24M", "1.31G", "80.56", "95.34"),
                R50,
                {"name": "cbam", "preset": "nam"},
                assumed="r = 16, biases and a batch norm, as in NAM's code, which is followed",
            ),
            Row(
                ("+ SA", "ResNet50", "23.71M", "1.31G", "79.92", "95.00"),
                R50,
                {"name": "sa"},
                assumed="G = 64, SA's own default",
            ),
            Row(
                ("+ ECA", "ResNet50", "23.71M", "1.31G", "79.68", "95.05"),
                R50,
                ECA,
                assumed="kernel_size 3",
            ),
            Row(("+ NAM", "ResNet50", "23.71M", "1.31G", "80.62", "95.28"), R50, {"name": "nam"}),
            Row(
                ("+ CA", "ResNet50", "25.57M", "1.36G", "80.17", "94.94"),
                R50,
                CA,
                params="no_norm",
                assumed=f"r = 32, CA's own default; {CA_OFFICIAL}",
            ),
            Row(
                ("+ EMA (ours)", "ResNet50", "23.85M", "1.32G", "80.69", "95.59"),
                R50,
                {"name": "ema"},
                params="no_norm",
            ),
            Row(("Baseline", "ResNet101", "42.70M", "2.53G", "77.78", "94.39"), R101),
            Row(
                ("+ CA", "ResNet101", "46.22M", "2.54G", "80.01", "94.78"),
                R101,
                CA,
                params="no_norm",
                assumed=f"r = 32, CA's own default; {CA_OFFICIAL}",
            ),
            Row(
                ("+ EMA (ours)", "ResNet101", "42.96M", "2.53G", "80.86", "95.75"),
                R101,
                {"name": "ema"},
                params="no_norm",
            ),
        ),
        macs="thop_per_item",
        question="Which attention module improves ResNet-50 and -101 on CIFAR-100, at what cost?",
    )
)
