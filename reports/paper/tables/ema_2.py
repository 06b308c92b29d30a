"""EMA Table 2: EMA in YOLOv5s on COCO, and in YOLOv5x with a head for tiny objects on VisDrone.

Its FLOPs are printed in M and are G; one multiply-accumulate is two of them, and the groups that
EMA folds into the batch are counted once. The rows of YOLOv5x
with attention are of a wider neck than its baseline (see ``sweep.models.yolov5``).
"""

from __future__ import annotations

from reports.paper.benchmarks import CA_OFFICIAL, ECA, YOLOV5S, YOLOV5X, YOLOV5X_WIDE, ca
from reports.paper.published import Attention, Column, PublishedTable, Row, register

CA = ca(32, "official")
CBAM: Attention = {"name": "cbam", "preset": "ela", "reduction": 16}
EMA: Attention = {"name": "ema"}

EMA_2 = register(
    PublishedTable(
        paper="EMA",
        number=2,
        section="section 4.2",
        title="Attention modules in YOLOv5 on COCO and VisDrone",
        columns=(
            Column("Model", "text"),
            Column("Datasets", "text"),
            Column("#.Param.", "params", "M"),
            Column("FLOPs", "macs", "G"),
            Column("mAP (0.5)", "metric", "%", "map50"),
            Column("mAP (0.5:0.95)", "metric", "%", "map"),
        ),
        rows=(
            Row(("Yolov5s", "COCO", "7.23M", "16.5M", "56.0", "37.2"), YOLOV5S),
            Row(
                ("+ CBAM", "COCO", "7.27M", "16.6M", "57.1", "37.7"),
                YOLOV5S,
                CBAM,
                assumed="r = 16, CBAM's own default",
            ),
            Row(
                ("+ SA", "COCO", "7.23M", "16.5M", "56.8", "37.4"),
                YOLOV5S,
                {"name": "sa"},
                assumed="G = 64, SA's own default",
            ),
            Row(
                ("+ ECA", "COCO", "7.23M", "16.5M", "57.1", "37.6"),
                YOLOV5S,
                ECA,
                assumed="kernel_size 3",
            ),
            Row(
                ("+ CA", "COCO", "7.26M", "16.50M", "57.5", "38.1"),
                YOLOV5S,
                CA,
                assumed=f"r = 32, CA's own default; {CA_OFFICIAL}",
            ),
            Row(("+ EMA (ours)", "COCO", "7.24M", "16.53M", "57.8", "38.4"), YOLOV5S, EMA),
            Row(("Yolov5x", "VisDrone", "90.96M", "314.2M", "49.29", "30.0"), YOLOV5X),
            Row(
                ("+ CBAM", "VisDrone", "91.31M", "315.1M", "49.40", "30.1"),
                YOLOV5X_WIDE,
                CBAM,
                assumed="r = 16, CBAM's own default",
            ),
            Row(
                ("+ CA", "VisDrone", "91.28M", "315.2M", "49.30", "30.1"),
                YOLOV5X_WIDE,
                CA,
                assumed=f"r = 32, CA's own default; {CA_OFFICIAL}",
            ),
            Row(
                ("+ EMA (ours)", "VisDrone", "91.18M", "315.0M", "49.70", "30.4"),
                YOLOV5X_WIDE,
                EMA,
            ),
        ),
        macs="thop_early_per_item",
        operations=2,
        question="Which attention module improves YOLOv5 on COCO and VisDrone, at what cost?",
    )
)
