"""EMA Table 3: EMA without cross-spatial learning, and with 16 or 32 groups, on CIFAR-100.

Counted like the rows of EMA in Table 1. Its "group size" is the number of groups.
"""

from __future__ import annotations

from reports.paper.benchmarks import CIFAR_RESNET50
from reports.paper.published import Column, PublishedTable, Row, register

EMA_3 = register(
    PublishedTable(
        paper="EMA",
        number=3,
        section="section 5",
        title="Cross-spatial learning and groups of EMA in ResNet-50 on CIFAR-100",
        columns=(
            Column("Method", "text"),
            Column("Datasets", "text"),
            Column("#.Param.", "params", "M"),
            Column("FLOPs", "macs", "G"),
            Column("Top-1 (%)", "metric", "%", "top1"),
            Column("Top-5 (%)", "metric", "%", "top5"),
        ),
        rows=(
            Row(
                ("+ EMA_no", "CIFAR 100", "23.84M", "1.32G", "78.24", "94.89"),
                CIFAR_RESNET50,
                {"name": "ema", "factor": 32, "cross_spatial": False},
                assumed="what replaces cross-spatial learning; see sweep.attention.ema",
            ),
            Row(
                ("+ EMA_16", "CIFAR 100", "24.44M", "1.34G", "80.35", "95.44"),
                CIFAR_RESNET50,
                {"name": "ema", "factor": 16},
            ),
            Row(
                ("+ EMA_32", "CIFAR 100", "23.84M", "1.32G", "80.69", "95.59"),
                CIFAR_RESNET50,
                {"name": "ema", "factor": 32},
            ),
        ),
        params="no_norm",
        macs="thop_per_item",
        question="Does cross-spatial learning matter to EMA, and how many groups should it have?",
    )
)
