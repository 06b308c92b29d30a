"""Where the papers contradict themselves: each statement is computed when it is asked for.

A statement sets what a paper says, in its text (``claims``) or a table, against its own tables and
against what the models here count. ``holds`` is whether the contradiction is there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal

import torch

from reports.paper import benchmarks, claims
from reports.paper.audit import rounds_to, scaled
from reports.paper.counting import Configuration, count_macs, count_params, placements
from reports.paper.published import (
    BASELINE,
    TABLES,
    Architecture,
    Attention,
    ParamsConvention,
    Row,
    Unit,
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


Check = Callable[[], Statement]


def statements() -> list[Statement]:
    """Return all statements, computed now."""
    return [check() for check in CHECKS]


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


def _two_settings_called_t() -> Statement:
    text = attention_config("ela", "T")
    [row] = [row for row in TABLES["ela-4"].rows if row.label.endswith("(T)")]
    table = attention_config(**row.attention)
    return Statement(
        "ELA",
        "two-settings-called-t",
        f"Section 3.3 defines ELA-T by groups {text.model_dump()['groups']}, Table 4 marks "
        f"{row.label} as T, which has groups {table.model_dump()['groups']}.",
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


def _ela_t_on_resnet18() -> Statement:
    row = _row("ela-5", "+ELA-T(Ours)")
    return _mispaired(
        "ela-t-on-resnet18", "ela-5", row, "top1", "ela-4", "Table 5, ELA-T on ResNet-18,"
    )


def _ela_b_on_resnet18() -> Statement:
    row = _row("ela-5", "+ELA-B(Ours)", "resnet18")
    paired = _mispaired(
        "ela-b-on-resnet18", "ela-5", row, "top1", "ela-4", "Table 5, ELA-B on ResNet-18,"
    )
    baseline = _printed("ela-4", _row("ela-4", "ResNet18"), "top1")
    own = _printed("ela-4", _row("ela-4", "+ELA-k7-g-ng16(B)", "resnet18"), "top1") - baseline
    claimed = claims.GAIN_ON_RESNET18.number
    rests = _printed("ela-5", row, "top1") - baseline == claimed
    return Statement(
        paired.paper,
        paired.name,
        f"{paired.text} The claim of +{claimed} % on ResNet-18 rests on it; Table 4's B has "
        f"+{own}.",
        paired.holds and rests and own != claimed,
    )


def _ca_on_resnet18() -> Statement:
    row = _row("ela-5", "+CA", "resnet18")
    return _mispaired("ca-on-resnet18", "ela-5", row, "top1", "ela-2", "Table 5, CA on ResNet-18,")


def _ca_in_yolox() -> Statement:
    row = _row("ela-7", "+CA")
    return _mispaired("ca-in-yolox", "ela-7", row, "map50", "ela-3", "Table 7, CA,")


def _ela_b_on_resnet50() -> Statement:
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


def _names_on_resnet101() -> Statement:
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


def _default_reduction() -> Statement:
    named, other = 32, 16
    rows = []
    for table in ("ela-5", "ela-7", "ela-8"):
        for row in TABLES[table].rows:
            if row.attention.get("reduction") != named or "r=" in row.label:
                continue
            assert row.architecture is not None
            printed, unit = _printed(table, row, "params"), _unit(table)
            fits = [
                rounds_to(
                    _params(row.architecture, {**row.attention, "reduction": r}), printed, unit
                )
                for r in (named, other)
            ]
            if fits == [False, True]:
                rows.append(f"{_label(table)} {row.label} ({printed})")
    return Statement(
        "ELA",
        "default-reduction",
        f"Tables 5, 7 and 8 say that reductions are {named}; the parameters are those of r = "
        f"{other} in {len(rows)} rows: {', '.join(rows)}.",
        bool(rows),
    )


def _unit(table: str) -> Unit:
    """Return what the parameters of a table are in."""
    [unit] = {column.unit for column in TABLES[table].columns if column.kind == "params"}
    assert unit is not None
    return unit


def _sites_in_deeplabv3() -> Statement:
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
        f'Section 4.4: "{claims.SITES_IN_DEEPLABV3.quotation}"; Table 8 prints {printed} M for '
        f"ELA-S, which the convolutions alone have ({_millions(count)}; with the layers "
        f"{_millions(more)}).",
        rounds_to(count, printed, "M") and not rounds_to(more, printed, "M"),
    )


def _strip_pooling() -> Statement:
    sizes = {"H": 2, "W": 3}
    x = torch.arange(6, dtype=torch.float64).view(sizes["H"], sizes["W"])
    terms, divisor = sizes[claims.STRIP_TERMS], sizes[claims.STRIP_DIVISOR]
    as_printed = x[:, :terms].sum(dim=1) / divisor
    mean = x.mean(dim=1)
    return Statement(
        "ELA",
        "strip-pooling",
        f"Eq. 1 adds x(h, i) over 0 <= i < {claims.STRIP_TERMS} and divides by "
        f"{claims.STRIP_DIVISOR}, where i runs along the width: on a map of {sizes['H']} x "
        f"{sizes['W']} it gives {as_printed.tolist()}, the strip mean of Figure 4's code "
        f"{mean.tolist()}. Eq. 2 has the same form.",
        not torch.equal(as_printed, mean),
    )


def _gains_on_mobilenet_v2() -> Statement:
    def top1(label: str) -> Decimal:
        return _printed("ela-5", _row("ela-5", label, "mobilenet_v2"), "top1")

    claimed = claims.GAIN_ON_MOBILENET_V2.number
    small, large = (top1(f"+ELA-{size}(Ours)") - top1("MobileNetV2-1.0") for size in ("S", "L"))
    return Statement(
        "ELA",
        "gains-on-mobilenet-v2",
        f"Section 4.2 gives ELA-S +{claimed} % on MobileNetV2; by Table 5 that is ELA-L (+{large}),"
        f" and ELA-S has +{small}.",
        large == claimed != small,
    )


def _growth_by_ca() -> Statement:
    def size(label: str) -> Decimal:
        return _printed("ela-5", _row("ela-5", label, "mobilenet_v2"), "params")

    growth = 100 * (size("+CA(r=16)") / size("MobileNetV2-1.0") - 1)
    claimed = claims.GROWTH_BY_CA.number
    return Statement(
        "ELA",
        "growth-by-ca",
        f"Section 4.2 says that CA with r = 16 adds over {claimed} % to MobileNetV2's parameters; "
        f"Table 5 has +{growth:.1f} %.",
        growth < claimed,
    )


def _ela_l_against_ca() -> Statement:
    ela = _printed("ela-4", _row("ela-4", "+ELA-k7-g8-ng16(L)", "resnet18"), "params")
    ca = _printed("ela-2", _row("ela-2", "+CA(r=32)", "resnet18"), "params")
    return Statement(
        "ELA",
        "ela-l-against-ca",
        f'Section 3.3: "{claims.ELA_L_AGAINST_CA.quotation}"; on ResNet-18 it has {ela} M and CA '
        f"{ca} M.",
        ela > ca,
    )


def _lightweight() -> Statement:
    se = _printed("ela-5", _row("ela-5", "+SE", "resnet18"), "params")
    sizes = {
        size: _printed("ela-4", _row("ela-4", label, "resnet18"), "params")
        for size, label in (("S", "+ELA-k5-g8-ng16(S)"), ("L", "+ELA-k7-g8-ng16(L)"))
    }
    claimed = _row("ela-1", "ELA(Ours)").cells[-1] == "✓"
    return Statement(
        "ELA",
        "lightweight",
        f'Table 1 calls ELA lightweight ("{claims.LIGHTWEIGHT.quotation}"); on ResNet-18 SE has '
        f"{se} M, ELA-S {sizes['S']} M and ELA-L {sizes['L']} M.",
        claimed and min(sizes.values()) > se,
    )


def _recipe_of_resnets() -> Statement:
    printed, rates = claims.MOMENTUM.number, claims.LEARNING_RATES.numbers
    cited = Decimal(str(PRESETS["he2016_resnet"]["momentum"]))
    return Statement(
        "ELA",
        "recipe-of-resnets",
        f"Section 4.1 adopts the settings of He et al., whose momentum is {cited}, and prints "
        f"{printed}; it names {len(set(rates))} initial learning rates, "
        f"{' and '.join(map(str, rates))}, and does not say for which rows.",
        printed != cited and len(set(rates)) > 1,
    )


def _drops_in_yolox() -> Statement:
    baseline = _printed("ela-3", _row("ela-3", "YOLOX-nano"), "map50")
    drops = [
        baseline - _printed("ela-3", _row("ela-3", f"+CA(r={r})"), "map50") for r in (16, 24, 32)
    ]
    most, least = claims.YOLOX_DROPS.numbers
    return Statement(
        "ELA",
        "drops-in-yolox",
        f"Section 3.1.2 says that CA costs YOLOX-Nano {most} to {least} points; Table 3 has "
        f"{max(drops)} to {min(drops)}.",
        (max(drops), min(drops)) != (most, least),
    )


def _rises_in_yolox() -> Statement:
    baseline = _printed("ela-3", _row("ela-3", "YOLOX-nano"), "map50")
    rises = [
        _printed("ela-3", _row("ela-3", f"+CA_gn(r={r})"), "map50") - baseline for r in (16, 24, 32)
    ]
    least, most = claims.YOLOX_RISES.numbers
    return Statement(
        "ELA",
        "rises-in-yolox",
        f"Section 3.1.2 says that CA with group norm gains {least} to {most} points in YOLOX-Nano; "
        f"Table 3 has {min(rises)} to {max(rises)}.",
        (min(rises), max(rises)) != (least, most),
    )


def _growth_by_ela() -> Statement:
    baseline = _params(benchmarks.RESNET50, BASELINE)
    count = _params(benchmarks.RESNET50, benchmarks.ela("B"))
    growth = 100 * (Decimal(count) / baseline - 1)
    claimed = claims.GROWTH_BY_ELA.number
    return Statement(
        "ELA",
        "growth-by-ela",
        f"Section 4.2 says that ELA adds {claimed} % to ResNet-50's parameters, by the count of "
        f"ELA-B that no model fits; ELA-B adds {growth:.2f} %, and the others of Tables 4 and 5 "
        "more.",
        round(growth, 2) != claimed,
    )


# EMA ----------------------------------------------------------------------------------------------


def _norms_left_out() -> Statement:
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


def _one_model_two_sizes() -> Statement:
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


def _folded_groups() -> Statement:
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


def _unit_of_flops() -> Statement:
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


def _weight_decay() -> Statement:
    printed, code = claims.WEIGHT_DECAY.number, claims.NAM_WEIGHT_DECAY
    return Statement(
        "EMA",
        "weight-decay",
        f"Section 4.1 has a weight decay of {printed:f} and the settings of NAM, whose code uses "
        f"{code:f}.",
        printed != code,
    )


def _growth_by_ema() -> Statement:
    row = _row("ema-2", "+ EMA (ours)", "yolov5x_p2_wide")
    assert row.architecture is not None
    ema = _params(row.architecture, row.attention, "true")
    neck, baseline = (
        _params(architecture, BASELINE, "true")
        for architecture in (row.architecture, benchmarks.YOLOV5X)
    )
    claimed = claims.GROWTH_BY_EMA.number
    return Statement(
        "EMA",
        "growth-by-ema",
        f"Section 4.2 says that EMA adds {claimed} M to YOLOv5x; {neck - baseline:,} of these "
        f"{ema - baseline:,} parameters are of a wider neck, {ema - neck:,} of EMA.",
        rounds_to(ema - baseline, claimed, "M") and not rounds_to(ema - neck, claimed, "M"),
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
    _drops_in_yolox,
    _rises_in_yolox,
    _growth_by_ela,
    _norms_left_out,
    _one_model_two_sizes,
    _folded_groups,
    _unit_of_flops,
    _weight_decay,
    _growth_by_ema,
)
