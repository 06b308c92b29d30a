from __future__ import annotations

from pathlib import Path

from sweep.spec.labels import Module, display_name, module_key, module_labels

from .spaces import space_of


def labels(folder: Path, attention: str, kind: str = "grid") -> list[str]:
    points = space_of(folder, attention=attention, kind=kind).attention
    modules = [(p.name, p.preset, p.part, p.hyperparameters) for p in points]
    named = module_labels(modules)
    return [named[module_key(*module)] for module in modules]


def test_the_form_of_the_papers(tmp_path: Path) -> None:
    grid = "{name: ela, kernel_size: [5, 7], groups: [in_channels, in_channels/8], num_groups: 32}"
    assert labels(tmp_path, f"[none, {grid}, {{name: ela, preset: B}}]") == [
        "baseline",
        "ELA-k5-g-ng32",
        "ELA-k5-g8-ng32",
        "ELA-k7-g-ng32",
        "ELA-k7-g8-ng32",
        "ELA-B",
    ]


def test_only_what_varies_is_named(tmp_path: Path) -> None:
    assert labels(tmp_path, "[ela, eca, {name: ema, factor: [16, 32]}, {name: se}]") == [
        "ELA",
        "ECA",
        "EMA-G16",
        "EMA-G32",
        "SE",
    ]


def test_settings_of_one_preset_are_told_apart(tmp_path: Path) -> None:
    grid = "{name: ca, preset: [ela_paper, ela_paper_gn], reduction: [16, 32]}"
    assert labels(tmp_path, f"[{grid}, {{name: ca, preset: official}}]") == [
        "CA-ela_paper-r16",
        "CA-ela_paper-r32",
        "CA-ela_paper_gn-r16",
        "CA-ela_paper_gn-r32",
        "CA-official",
    ]


def test_a_number_of_groups_is_not_taken_for_a_share_of_the_channels(tmp_path: Path) -> None:
    grid = "[{name: ela, groups: [8, in_channels/8], shared: [true, false]}]"
    assert labels(tmp_path, grid) == [
        "ELA-groups8-shared",
        "ELA-groups8-no_shared",
        "ELA-g8-shared",
        "ELA-g8-no_shared",
    ]


def test_a_module_without_a_part_is_named_after_it(tmp_path: Path) -> None:
    ela = "{name: ela, preset: B, parts: [no GN, width only]}"
    apart = f"[none, {ela}, {{name: ema, parts: [no 3x3 branch]}}]"
    assert labels(tmp_path, apart, "leave_one_out") == [
        "baseline",
        "ELA-B",
        "ELA-B no GN",
        "ELA-B width only",
        "EMA",
        "EMA no 3x3 branch",
    ]


def test_what_tells_whole_modules_apart_tells_them_without_a_part(tmp_path: Path) -> None:
    one = "{name: ela, kernel_size: 5, parts: [no GN, no conv]}"
    other = "{name: ela, groups: 1, num_groups: 8, parts: [no GN]}"
    apart = f"[{{name: se, reduction: 4}}, {one}, {other}]"
    assert labels(tmp_path, apart, "leave_one_out") == [
        "SE",
        "SE no reduction",
        "ELA-k5-g-ng16",
        "ELA-k5-g no GN",  # which has no norm groups
        "ELA no conv",  # which has no kernel
        "ELA-k7-groups1-ng8",
        "ELA-k7-groups1 no GN",
    ]


def test_no_two_settings_have_one_label() -> None:
    settings: list[Module] = [
        ("mine", preset, part, {"a": a, "b": b, "groups": g})
        for preset in (None, "P", "Q")
        for part in (None, "no a", "no b")
        for a in (1, 2.5)
        for b in (True, False)
        for g in (4, "in_channels", "in_channels/4")
    ]
    assert len(set(module_labels(settings).values())) == len(settings)


def test_the_baseline_is_called_so() -> None:
    assert [display_name(name) for name in ("none", "ela")] == ["baseline", "ELA"]
