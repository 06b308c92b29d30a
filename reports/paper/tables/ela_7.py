"""ELA Table 7: ELA among the other modules in YOLOX-Nano on Pascal VOC.

Reductions are "set to the usual 32". Its "MB" are MiB of float32 weights, its mAP is read as AP at
an IoU of 0.5.
"""

from __future__ import annotations

from reports.paper.benchmarks import CBAM, ECA, SA, SA_ASSUMED, SE, YOLOX_NANO, ca, ela
from reports.paper.published import Column, PublishedTable, Row, register

ELA_7 = register(
    PublishedTable(
        paper="ELA",
        number=7,
        section="section 4.3",
        title="Attention modules in YOLOX-Nano on Pascal VOC 2007",
        columns=(
            Column("Method", "text"),
            Column("mAP", "metric", "%", "map50"),
            Column("Inf(FPS)", "metric", "FPS"),
            Column("#P(MB)", "params", "MiB"),
            Column("GFLOPs(G)", "macs", "G"),
        ),
        rows=(
            Row(("YOLOX-Nano", "73.26", "82.87", "3.43", "1.285"), YOLOX_NANO),
            Row(("+CA", "72.62", "70.80", "3.52", "1.286"), YOLOX_NANO, ca(32)),
            Row(("+SE", "73.58", "77.28", "3.55", "1.287"), YOLOX_NANO, SE),
            Row(("+CBAM", "73.80", "69.30", "3.56", "1.289"), YOLOX_NANO, CBAM),
            Row(("+ECA", "73.38", "77.73", "3.44", "1.287"), YOLOX_NANO, ECA),
            Row(("+SA", "73.35", "74.60", "3.44", "1.286"), YOLOX_NANO, SA, assumed=SA_ASSUMED),
            Row(("+ELA-S(Ours)", "74.36", "75.68", "3.50", "1.285"), YOLOX_NANO, ela("S")),
        ),
        params="thop_like",
        remark="mAP is read as AP at an IoU of 0.5, VOC's own; MB are MiB of float32",
        question="Which attention module improves YOLOX-Nano on Pascal VOC, at what cost?",
    )
)
