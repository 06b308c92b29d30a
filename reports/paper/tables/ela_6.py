"""ELA Table 6: ELA and CA in YOLOF on COCO."""

from __future__ import annotations

from reports.paper.benchmarks import YOLOF, ca, ela
from reports.paper.published import Column, PublishedTable, Row, register

ELA_6 = register(
    PublishedTable(
        paper="ELA",
        number=6,
        section="section 4.3",
        title="ELA and CA in YOLOF on COCO val2017",
        columns=(
            Column("Model", "text"),
            Column("AP50:95(%)", "metric", "%", "map"),
            Column("AP50(%)", "metric", "%", "map50"),
            Column("AP75(%)", "metric", "%", "map75"),
            Column("APS(%)", "metric", "%", "map_small"),
            Column("APM(%)", "metric", "%", "map_medium"),
            Column("APL(%)", "metric", "%", "map_large"),
            Column("Params Size(MB)", "params", "M"),
        ),
        rows=(
            Row(("YOLOF", "37.13", "56.7", "39.6", "17.8", "41.8", "51.4", "44.11"), YOLOF),
            Row(("+CA", "37.45", "57.3", "40.1", "18.8", "42.2", "51.8", "44.60"), YOLOF, ca(32)),
            Row(
                ("+ELA-L(Ours)", "37.81", "57.9", "40.2", "18.8", "42.6", "52.4", "44.34"),
                YOLOF,
                ela("L"),
            ),
        ),
        params="thop_like",
        question="Does ELA improve YOLOF on COCO more than coordinate attention does?",
    )
)
