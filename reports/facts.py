"""What the trials of a study share, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from reports.rows import StudyRows


def common(rows: StudyRows, setting: str) -> str:
    """Return a setting that all trials share, or all its values."""
    values = dict.fromkeys(trial.settings.get(setting, "unknown") for trial in rows.trials)
    return ", ".join(values) or "unknown"


def chosen(rows: StudyRows) -> str:
    """Return what a search chose of the recipe ("lr, weight_decay"); empty if nothing."""
    fields = dict.fromkeys(field for trial in rows.trials for field in trial.chosen)
    return ", ".join(field.removeprefix("recipe.") for field in fields)


def seeds(rows: StudyRows) -> str:
    """Return the seeds of a study."""
    return ", ".join(map(str, sorted({trial.seed for trial in rows.trials}))) or "none"


def devices(rows: StudyRows) -> str:
    """Return the devices that a study's trials were trained on.

    Of several types how many trials each has: "54 trials on A100; 3 on V100; 1 moved from A100 to
    V100".
    """
    if not is_mixed(rows):
        found = dict.fromkeys(t.device for t in rows.trials if t.device)
        return "; ".join(found or types(rows)) or "unknown"
    return mix(trial.device_types for trial in rows.trials)


def types(rows: StudyRows) -> tuple[str, ...]:
    """Return the types of devices that a study's trials were trained on, each once."""
    return tuple(dict.fromkeys(kind for trial in rows.trials for kind in trial.device_types))


def is_mixed(rows: StudyRows) -> bool:
    """Tell whether a study's trials were trained on more than one type of device."""
    return len(types(rows)) > 1


def mix(trained: Iterable[tuple[str, ...]]) -> str:
    """Return how many trials had which types of devices; those of none that is known are left out.

    Of at least one trial the types must be known.
    """
    counts = Counter(found for found in trained if found)
    words = [
        f"{count} {'on ' + found[0] if len(found) == 1 else 'moved from ' + ' to '.join(found)}"
        for found, count in sorted(counts.items(), key=lambda item: len(item[0]))
    ]
    first, *others = words
    number, _, rest = first.partition(" ")
    return "; ".join([f"{number} trial{'s' * (number != '1')} {rest}", *others])


def recipes(rows: StudyRows) -> str:
    """Return whether all rows have one recipe, in words."""
    settings = [
        sorted(item for item in trial.settings.items() if item[0].startswith("recipe."))
        for trial in rows.trials
    ]
    same = all(recipe == settings[0] for recipe in settings)
    text = "one recipe for all rows" if same else "recipes that differ between groups of rows"
    return text + (f", but for {chosen(rows)}, which a search chose" if chosen(rows) else "")


def provenance(rows: StudyRows) -> list[tuple[str, str]]:
    """Return where the numbers come from: (what, value), in the order that they are read."""
    versions: dict[str, dict[str, None]] = {}
    for trial in rows.trials:
        for key, value in trial.versions.items():
            if key != "device" and value not in ("None", ""):
                versions.setdefault(key, {})[value] = None
    return [
        ("data set", settings_text(rows, "dataset")),
        ("recipe", settings_text(rows, "recipe.")),
        ("seeds", seeds(rows)),
        ("device", devices(rows)),
        *((key, ", ".join(values)) for key, values in versions.items()),
        ("sweep", rows.version),
        ("commit", rows.commit),
    ]


def settings_text(rows: StudyRows, prefix: str) -> str:
    """Return the settings with a prefix: "epochs 5, lr 0.05"; of different trials all values."""
    values: dict[str, dict[str, None]] = {}
    for trial in rows.trials:
        for key, value in trial.settings.items():
            if key.startswith(prefix):
                values.setdefault(key.removeprefix(prefix).removeprefix("."), {})[value] = None
    return ", ".join(f"{key} {' | '.join(found)}".strip() for key, found in values.items())
