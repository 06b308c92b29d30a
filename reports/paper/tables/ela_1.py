"""ELA Table 1: properties of the modules, in words; no row is a trial."""

from __future__ import annotations

from reports.paper.published import Column, PublishedTable, Row, register

ELA_1 = register(
    PublishedTable(
        paper="ELA",
        number=1,
        section="section 1",
        title="Attention methods: no reduction of channels, long-range dependencies, and fewer "
        "parameters than SE",
        columns=(
            Column("Method", "text"),
            Column("No-DR", "text"),
            Column("Long-range dependencies", "text"),
            Column("Lightweight", "text"),
        ),
        rows=(
            Row(("SE block", "×", "×", "-")),
            Row(("CBAM", "×", "×", "×")),
            Row(("ECA", "✓", "×", "✓")),
            Row(("CA", "×", "✓", "×")),
            Row(("SA", "×", "×", "✓")),
            Row(("ELA(Ours)", "✓", "✓", "✓")),
        ),
    )
)
