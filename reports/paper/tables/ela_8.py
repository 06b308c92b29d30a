"""ELA Table 8: ELA among the other modules in DeepLabV3 on Pascal VOC 2012.

Reductions are "set to the usual 32".
"""

from __future__ import annotations

from reports.paper.benchmarks import CBAM, DEEPLABV3, ECA, SA, SA_ASSUMED, SE, ca, ela
from reports.paper.published import Column, PublishedTable, Row, register

ELA_8 = register(
    PublishedTable(
        paper="ELA",
        number=8,
        section="section 4.4",
        title="Attention modules in DeepLabV3 on Pascal VOC 2012, output stride 16",
        columns=(
            Column("Method", "text"),
            Column("BackBones", "text"),
            Column("Mean IoU", "metric", "%", "miou"),
            Column("Params(MB)", "params", "M"),
        ),
        rows=(
            Row(("DeepLabV3", "ResNet50", "70.47", "39.639"), DEEPLABV3),
            Row(("+SE", "ResNet50", "71.13", "39.796"), DEEPLABV3, SE),
            Row(("+CA", "ResNet50", "71.17", "39.875"), DEEPLABV3, ca(32)),
            Row(("+CBAM", "ResNet50", "71.06", "39.719"), DEEPLABV3, CBAM),
            Row(("+ECA", "ResNet50", "70.94", "39.642"), DEEPLABV3, ECA),
            Row(("+SA", "ResNet50", "70.50", "39.642"), DEEPLABV3, SA, assumed=SA_ASSUMED),
            Row(("+ELA-S(Ours)", "ResNet50", "71.55", "39.790"), DEEPLABV3, ela("S")),
        ),
        params="thop_like",
        question="Which attention module improves DeepLabV3 on Pascal VOC 2012, at what cost?",
    )
)
