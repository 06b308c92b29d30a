"""ELA Table 3: CA with batch and with group normalisation, over reductions, on Pascal VOC.

Its "MB" are MiB of float32 weights. Its mAP is read as AP at an IoU of 0.5, VOC's own.
"""

from __future__ import annotations

from reports.paper.benchmarks import YOLOX_NANO, ca, ca_gn
from reports.paper.published import Column, PublishedTable, Row, register

ELA_3 = register(
    PublishedTable(
        paper="ELA",
        number=3,
        section="section 3.1.2",
        title="Coordinate attention and its modification in YOLOX-Nano on Pascal VOC 2007",
        columns=(
            Column("Method", "text"),
            Column("mAP", "metric", "%", "map50"),
            Column("#P(MB)", "params", "MiB"),
            Column("GFLOPs(G)", "macs", "G"),
        ),
        rows=(
            Row(("YOLOX-nano", "73.26", "3.43", "1.285"), YOLOX_NANO),
            Row(("+CA(r=16)", "72.62", "3.61", "1.287"), YOLOX_NANO, ca(16)),
            Row(("+CA(r=24)", "71.57", "3.55", "1.286"), YOLOX_NANO, ca(24)),
            Row(("+CA(r=32)", "72.53", "3.52", "1.286"), YOLOX_NANO, ca(32)),
            Row(("+CA_gn(r=16)", "73.77", "3.62", "1.287"), YOLOX_NANO, ca_gn(16)),
            Row(("+CA_gn(r=24)", "73.30", "3.56", "1.286"), YOLOX_NANO, ca_gn(24)),
            Row(("+CA_gn(r=32)", "73.96", "3.52", "1.286"), YOLOX_NANO, ca_gn(32)),
        ),
        params="thop_like",
        remark="mAP is read as AP at an IoU of 0.5, VOC's own; MB are MiB of float32",
        question="Does group normalisation help coordinate attention in YOLOX-Nano, and which "
        "reduction?",
    )
)
