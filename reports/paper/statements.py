"""Where the papers contradict themselves: each statement is computed when it is asked for.

A statement sets what a paper says against its own tables and against what the models here count.
``holds`` is whether the contradiction is there; it is no constant. Claims that are in no table
stand in the statement's function, with their section.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal

import torch

from reports.paper import benchmarks
from reports.paper.audit import AuditedCell, rounds_to, scaled
from reports.paper.counting import Configuration, count_macs, count_params, placements
from reports.paper.published import (
    TABLES,
    Architecture,
    Attention,
    ParamsConvention,
    Row,
    printed_number,
)
from sweep.models.build import attention_config, build_model
from sweep.profiling.cost import count_parameters
from sweep.spec.recipes import PRESETS


@dataclass(frozen=True)
class Statement:
    """A contradiction, and the numbers it is seen from."""

    paper: str
    name: str
    """What it is about, in a few words joined by hyphens."""
    text: str
    holds: bool


Check = Callable[[Sequence[AuditedCell]], Statement]


def statements(cells: Sequence[AuditedCell]) -> list[Statement]:
    """Return all statements, given the audited cells of all tables."""
    return [check(cells) for check in CHECKS]


# What the tables print ----------------------------------------------------------------------------


def _row(table: str, label: str, backbone: str = "") -> Row:
    """Return the row of a table with a label, on a backbone where that is needed to tell."""
    [found] = [
        row
        for row in TABLES[table].rows
        if row.label == label
        and (not backbone or (row.architecture and row.architecture.backbone == backbone))
    ]
    return found


def _printed(table: str, row: Row, what: str) -> Decimal:
    """Return the number that a row prints; ``what`` is "params", "macs" or a metric."""
    columns = TABLES[table].columns
    [cell] = [
        cell
        for column, cell in zip(columns, row.cells, strict=True)
        if what in (column.kind, column.metric)
    ]
    return printed_number(cell)


def _with(table: str, like: Row, what: str, number: Decimal) -> list[str]:
    """Return the labels of the rows with attention that print a number, on one row's backbone."""
    assert like.architecture is not None
    return [
        row.label
        for row in TABLES[table].rows
        if row.architecture is not None
        and row.architecture.backbone == like.architecture.backbone
        and row.attention["name"] != "none"
        and _printed(table, row, what) == number
    ]


def _params(
    architecture: Architecture, attention: Attention, convention: ParamsConvention = "thop_like"
) -> int:
    return count_params(Configuration.of(architecture, attention), convention)


def _millions(count: int) -> str:
    return f"{scaled(count, 'M'):.3f} M"


def _listed(labels: Sequence[str]) -> str:
    return " and ".join(labels) or "no row"


# ELA ----------------------------------------------------------------------------------------------


def _two_settings_called_t(_: Sequence[AuditedCell]) -> Statement:
    text = attention_config("ela", "T")
    [row] = [row for row in TABLES["ela-4"].rows if row.label.endswith("(T)")]
    table = attention_config(**row.attention)
    return Statement(
        "ELA",
        "two-settings-called-t",
        f"Section 3.3 defines ELA-T by groups {text.groups}, Table 4 marks {row.label} as T, "  # type: ignore[attr-defined]
        f"which has groups {table.groups}.",  # type: ignore[attr-defined]
        text != table,
    )


def _mispaired(name: str, table: str, row: Row, metric: str, source: str, title: str) -> Statement:
    """State that a row pairs the metric of one row of another table with the size of others."""
    score, size = _printed(table, row, metric), _printed(table, row, "params")
    by_score, by_size = _with(source, row, metric, score), _with(source, row, "params", size)
    return Statement(
        "ELA",
        name,
        f"{title} pairs {score}, which {_label(source)} has for {_listed(by_score)}, with the "
        f"parameters {size}, which it has for {_listed(by_size)}.",
        bool(by_score) and bool(by_size) and not set(by_score) & set(by_size),
    )


def _label(table: str) -> str:
    return f"Table {TABLES[table].number}"


def _ela_t_on_resnet18(_: Sequence[AuditedCell]) -> Statement:
    row = _row("ela-5", "+ELA-T(Ours)")
    return _mispaired(
        "ela-t-on-resnet18", "ela-5", row, "top1", "ela-4", "Table 5, ELA-T on ResNet-18,"
    )


def _ela_b_on_resnet18(_: Sequence[AuditedCell]) -> Statement:
    row = _row("ela-5", "+ELA-B(Ours)", "resnet18")
    paired = _mispaired(
        "ela-b-on-resnet18", "ela-5", row, "top1", "ela-4", "Table 5, ELA-B on ResNet-18,"
    )
    baseline = _printed("ela-4", _row("ela-4", "ResNet18"), "top1")
    own = _printed("ela-4", _row("ela-4", "+ELA-k7-g-ng16(B)", "resnet18"), "top1") - baseline
    claimed = Decimal("0.93")  # section 4.2
    rests = _printed("ela-5", row, "top1") - baseline == claimed
    return Statement(
        paired.paper,
        paired.name,
        f"{paired.text} The claim of +{claimed} % on ResNet-18 rests on it; Table 4's B has "
        f"+{own}.",
        paired.holds and rests and own != claimed,
    )


def _ca_on_resnet18(_: Sequence[AuditedCell]) -> Statement:
    row = _row("ela-5", "+CA", "resnet18")
    return _mispaired("ca-on-resnet18", "ela-5", row, "top1", "ela-2", "Table 5, CA on ResNet-18,")


def _ca_in_yolox(_: Sequence[AuditedCell]) -> Statement:
    row = _row("ela-7", "+CA")
    return _mispaired("ca-in-yolox", "ela-7", row, "map50", "ela-3", "Table 7, CA,")


def _ela_b_on_resnet50(_: Sequence[AuditedCell]) -> Statement:
    printed = [
        _printed("ela-4", _row("ela-4", "+ELA-k7-g-ng16(B)", "resnet50"), "params"),
        _printed("ela-5", _row("ela-5", "+ELA-B(Ours)", "resnet50"), "params"),
    ]
    count = _params(benchmarks.RESNET50, benchmarks.ela("B"))
    return Statement(
        "ELA",
        "ela-b-on-resnet50",
        f"Tables 4 and 5 print {printed[0]} M for ELA-B on ResNet-50; at the sites that the other "
        f"rows fit it has {_millions(count)}.",
        not any(rounds_to(count, number, "M") for number in printed),
    )


def _names_on_resnet101(_: Sequence[AuditedCell]) -> Statement:
    architecture = benchmarks.RESNET101
    printed = {
        size: _printed("ela-5", _row("ela-5", f"+ELA-{size}(Ours)", "resnet101"), "params")
        for size in ("B", "S")
    }
    counts = {size: _params(architecture, benchmarks.ela(size)) for size in ("B", "S", "L")}
    ca = {r: _params(architecture, benchmarks.ca(r)) for r in (16, 32)}
    printed_ca = _printed("ela-5", _row("ela-5", "+CA", "resnet101"), "params")
    return Statement(
        "ELA",
        "names-on-resnet101",
        f"Table 5 prints {printed['B']} M for ELA-B on ResNet-101, which is S "
        f"({_millions(counts['S'])}; B has {_millions(counts['B'])}), and {printed['S']} M for "
        f"ELA-S, which is L ({_millions(counts['L'])}); its CA has r = 16 "
        f"({_millions(ca[16])}, r = 32 has {_millions(ca[32])}).",
        rounds_to(counts["S"], printed["B"], "M")
        and rounds_to(counts["L"], printed["S"], "M")
        and rounds_to(ca[16], printed_ca, "M")
        and not rounds_to(ca[32], printed_ca, "M"),
    )


def _default_reduction(cells: Sequence[AuditedCell]) -> Statement:
    rows = [
        f"Table {cell.table} {cell.row} ({cell.printed})"
        for cell in cells
        if cell.paper == "ELA"
        and cell.table in (5, 7, 8)
        and cell.column == "params"
        and cell.verdict == "explained"
        and "reduction 16" in cell.explanation
    ]
    return Statement(
        "ELA",
        "default-reduction",
        "Tables 5, 7 and 8 say that reductions are 32; the parameters are those of r = 16 in "
        f"{len(rows)} rows: {', '.join(rows)}.",
        bool(rows),
    )


def _sites_in_deeplabv3(_: Sequence[AuditedCell]) -> Statement:
    row = _row("ela-8", "+ELA-S(Ours)")
    printed = _printed("ela-8", row, "params")
    architecture = benchmarks.DEEPLABV3
    count = _params(architecture, row.attention)
    stages = [f"backbone.layer{stage}" for stage in (1, 2, 3, 4)]
    with torch.device("meta"):
        also = build_model(
            architecture.backbone,
            row.attention,
            [*placements(architecture)["conv2"], *stages],
            architecture.benchmark.num_classes,
        )
    more = count_parameters(also).thop_like
    return Statement(
        "ELA",
        "sites-in-deeplabv3",
        'Section 4.4 adds attention "after each 3x3 convolution in every Bottleneck and after each '
        f'layer"; Table 8 prints {printed} M for ELA-S, which the convolutions alone have '
        f"({_millions(count)}; with the layers {_millions(more)}).",
        rounds_to(count, printed, "M") and not rounds_to(more, printed, "M"),
    )


def _strip_pooling(_: Sequence[AuditedCell]) -> Statement:
    height, width = 2, 3
    x = torch.arange(height * width, dtype=torch.float64).view(height, width)
    as_printed = x[:, :height].sum(dim=1) / height  # Eq. 1: 1/H times the sum over 0 <= i < H
    mean = x.mean(dim=1)
    return Statement(
        "ELA",
        "strip-pooling",
        "Eq. 1 sums x(h, i) over 0 <= i < H and divides by H, where i runs along the width: on a "
        f"map of {height} x {width} it gives {as_printed.tolist()}, the strip mean of Figure 4's "
        f"code {mean.tolist()}. Eq. 2 has the same form.",
        not torch.equal(as_printed, mean),
    )


def _gains_on_mobilenet_v2(_: Sequence[AuditedCell]) -> Statement:
    def top1(label: str) -> Decimal:
        return _printed("ela-5", _row("ela-5", label, "mobilenet_v2"), "top1")

    claimed = Decimal("2.39")  # sections 1 and 4.2, for ELA-S
    small, large = (top1(f"+ELA-{size}(Ours)") - top1("MobileNetV2-1.0") for size in ("S", "L"))
    return Statement(
        "ELA",
        "gains-on-mobilenet-v2",
        f"Section 4.2 gives ELA-S +{claimed} % on MobileNetV2; by Table 5 that is ELA-L (+{large}),"
        f" and ELA-S has +{small}.",
        large == claimed != small,
    )


def _growth_by_ca(_: Sequence[AuditedCell]) -> Statement:
    def size(label: str) -> Decimal:
        return _printed("ela-5", _row("ela-5", label, "mobilenet_v2"), "params")

    growth = 100 * (size("+CA(r=16)") / size("MobileNetV2-1.0") - 1)
    claimed = 35  # section 4.2: "by over 35%"
    return Statement(
        "ELA",
        "growth-by-ca",
        f"Section 4.2 says that CA with r = 16 adds over {claimed} % to MobileNetV2's parameters; "
        f"Table 5 has +{growth:.1f} %.",
        growth < claimed,
    )


def _ela_l_against_ca(_: Sequence[AuditedCell]) -> Statement:
    ela = _printed("ela-4", _row("ela-4", "+ELA-k7-g8-ng16(L)", "resnet18"), "params")
    ca = _printed("ela-2", _row("ela-2", "+CA(r=32)", "resnet18"), "params")
    return Statement(
        "ELA",
        "ela-l-against-ca",
        f'Section 3.3 says that ELA-L has "fewer parameters than the lightest of the CA methods '
        f'(r=32)"; on ResNet-18 it has {ela} M and CA {ca} M.',
        ela > ca,
    )


def _lightweight(_: Sequence[AuditedCell]) -> Statement:
    se = _printed("ela-5", _row("ela-5", "+SE", "resnet18"), "params")
    sizes = {
        size: _printed("ela-4", _row("ela-4", label, "resnet18"), "params")
        for size, label in (("S", "+ELA-k5-g8-ng16(S)"), ("L", "+ELA-k7-g8-ng16(L)"))
    }
    claimed = _row("ela-1", "ELA(Ours)").cells[-1] == "✓"
    return Statement(
        "ELA",
        "lightweight",
        'Table 1 calls ELA lightweight, "fewer parameters than SE"; on ResNet-18 SE has '
        f"{se} M, ELA-S {sizes['S']} M and ELA-L {sizes['L']} M.",
        claimed and min(sizes.values()) > se,
    )


def _recipe_of_resnets(_: Sequence[AuditedCell]) -> Statement:
    printed, cited = (PRESETS[name]["momentum"] for name in ("ela_resnet", "he2016_resnet"))
    rates = ("0.1", "0.05")  # section 4.1: "set to either 0.1 and 0.05"
    return Statement(
        "ELA",
        "recipe-of-resnets",
        f"Section 4.1 adopts the settings of He et al., whose momentum is {cited}, and prints "
        f"{printed}; it names {len(rates)} learning rates, {' and '.join(rates)}, and does not say "
        "for which rows.",
        printed != cited and len(rates) > 1,
    )


# EMA ----------------------------------------------------------------------------------------------


def _norms_left_out(_: Sequence[AuditedCell]) -> Statement:
    fitting: dict[str, list[str]] = {"true": [], "no_norm": []}
    for row in TABLES["ema-1"].rows:
        assert row.architecture is not None
        printed = _printed("ema-1", row, "params")
        fits = [
            convention
            for convention in ("true", "no_norm")
            if rounds_to(_params(row.architecture, row.attention, convention), printed, "M")
        ]
        if len(fits) == 1:
            fitting[fits[0]].append(f"{row.label} {row.cells[1]}")
    return Statement(
        "EMA",
        "norms-left-out",
        f"Table 1 counts the parameters of norms in {', '.join(fitting['true'])}, and leaves them "
        f"out in {', '.join(fitting['no_norm'])}.",
        all(fitting.values()),
    )


def _one_model_two_sizes(_: Sequence[AuditedCell]) -> Statement:
    first, third = _row("ema-1", "+ EMA (ours)", "resnet50"), _row("ema-3", "+ EMA_32")
    sizes = _printed("ema-1", first, "params"), _printed("ema-3", third, "params")
    assert first.architecture is not None
    assert third.architecture is not None
    same = Configuration.of(first.architecture, first.attention) == Configuration.of(
        third.architecture, third.attention
    )
    count = _params(first.architecture, first.attention, "no_norm")
    return Statement(
        "EMA",
        "one-model-two-sizes",
        f"One model, EMA with 32 groups in ResNet-50, has {sizes[0]} M in Table 1 and {sizes[1]} M "
        f"in Table 3; without norms it is {_millions(count)}.",
        same and sizes[0] != sizes[1],
    )


def _folded_groups(_: Sequence[AuditedCell]) -> Statement:
    parts, understated = [], []
    for table, label, backbone in (
        ("ema-1", "+ EMA (ours)", "resnet50"),
        ("ema-1", "+ EMA (ours)", "resnet101"),
        ("ema-3", "+ EMA_16", "resnet50"),
    ):
        row = _row(table, label, backbone)
        assert row.architecture is not None
        configuration = Configuration.of(row.architecture, row.attention)
        printed = _printed(table, row, "macs")
        true, once = (count_macs(configuration, c) for c in ("thop", "products_per_item"))
        parts.append(f"{label} in {backbone} {printed} G for {scaled(true, 'G'):.4f}")
        understated.append(scaled(true, "G") > printed * Decimal("1.1") > scaled(once, "G"))
    return Statement(
        "EMA",
        "folded-groups",
        "FLOPs of EMA are understated, since the groups that it folds into the batch are counted "
        f"once: {', '.join(parts)}.",
        all(understated),
    )


def _unit_of_flops(_: Sequence[AuditedCell]) -> Statement:
    row = _row("ema-2", "Yolov5s")
    assert row.architecture is not None
    printed = _printed("ema-2", row, "macs")
    macs = count_macs(Configuration.of(row.architecture, row.attention), "thop_early")
    return Statement(
        "EMA",
        "unit-of-flops",
        f"Table 2 prints {row.cells[3]} FLOPs for YOLOv5s; two for each of its "
        f"multiply-accumulates are {scaled(2 * macs, 'G'):.1f} G.",
        row.cells[3].endswith("M") and rounds_to(2 * macs, printed, "G"),
    )


def _weight_decay(_: Sequence[AuditedCell]) -> Statement:
    printed = PRESETS["ema_cifar"]["weight_decay"]
    code = 5e-4  # of NAM's repository, with lr 0.1 and milestones 60, 120, 160
    return Statement(
        "EMA",
        "weight-decay",
        f"Section 4.1 has a weight decay of {printed:g} and the settings of NAM, whose code uses "
        f"{code:g}.",
        printed != code,
    )


CHECKS: tuple[Check, ...] = (
    _two_settings_called_t,
    _ela_t_on_resnet18,
    _ela_b_on_resnet18,
    _ca_on_resnet18,
    _ca_in_yolox,
    _ela_b_on_resnet50,
    _names_on_resnet101,
    _default_reduction,
    _sites_in_deeplabv3,
    _strip_pooling,
    _gains_on_mobilenet_v2,
    _growth_by_ca,
    _ela_l_against_ca,
    _lightweight,
    _recipe_of_resnets,
    _norms_left_out,
    _one_model_two_sizes,
    _folded_groups,
    _unit_of_flops,
    _weight_decay,
)
