"""Properties of identity and expansion, over generated spaces in any spelling.

What a field may hold is read off its JSON Schema, so that a field that is added later is covered.
"""

from __future__ import annotations

import copy
import itertools
import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from decimal import Decimal
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter, ValidationError

import sweep.plan
from sweep.data.base import Dataset
from sweep.plan import PlannedTrial, make_plan
from sweep.registry import ATTENTION, BACKBONES, DATASETS
from sweep.spec.document import SpecError
from sweep.spec.load import load_space
from sweep.spec.plain_yaml import parse_yaml, plain_scalar
from sweep.spec.recipes import PRESETS, Recipe
from sweep.spec.schema import General, Resources, Tracking
from sweep.spec.trial import Segment, Trial

from .test_identity import NO_MATTER, TRIAL

MANY = settings(
    max_examples=80,
    phases=[Phase.generate],  # making an example small takes minutes where many are slow
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
FEW = settings(MANY, max_examples=15)


@pytest.fixture(autouse=True)
def _no_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a model costs is part of no identity, and takes long to count."""
    monkeypatch.setattr(sweep.plan, "_cost", lambda trial: None)


# Values, and spaces made of them ---------------------------------------------------------------


def values(schema: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    """What a JSON Schema allows; a kind that it does not know is an error."""
    if "anyOf" in schema:
        return st.one_of([values(part) for part in schema["anyOf"]])
    if "const" in schema or "enum" in schema:
        return st.sampled_from(schema.get("enum", [schema.get("const")]))
    if "pattern" in schema:
        return st.from_regex(re.compile(schema["pattern"], re.ASCII), fullmatch=True)
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    match schema["type"]:
        case "null":
            return st.none()
        case "boolean":
            return st.booleans()
        case "integer":
            least = (low or 0) + ("exclusiveMinimum" in schema)
            return st.integers(least, min(least + 40, high or least + 40))
        case "number":
            return st.floats(
                low,
                high,
                exclude_min="exclusiveMinimum" in schema,
                exclude_max="exclusiveMaximum" in schema,
                allow_nan=False,
                allow_infinity=False,
            )
        case "string":
            return st.text("aZ9 #:-'\"\\é", min_size=schema.get("minLength", 0), max_size=8)
        case "array":
            items = values(schema["items"])
            return st.lists(items, min_size=schema.get("minItems", 0), max_size=3, unique=True)
        case "object" if schema["additionalProperties"] is True:
            return st.dictionaries(st.sampled_from("abc"), st.integers(0, 9))
    raise NotImplementedError(schema)


@cache
def properties(model: type[BaseModel]) -> dict[str, Any]:
    schemas: dict[str, Any] = model.model_json_schema()["properties"]
    return schemas


def fields(model: type[BaseModel]) -> dict[str, st.SearchStrategy[Any]]:
    return {name: values(schema) for name, schema in properties(model).items()}


def hyperparameters(name: str) -> dict[str, st.SearchStrategy[Any]]:
    """The fields of a module, with values that it takes by default or beside a preset."""
    config = ATTENTION[name].Config
    bases = [{}, *config.presets.values()]

    def taken(field: str) -> Any:
        return lambda value: any(is_valid(config, {**base, field: value}) for base in bases)

    return {field: choices.filter(taken(field)) for field, choices in fields(config).items()}


def is_valid(model: type[BaseModel], data: dict[str, Any]) -> bool:
    try:
        model.model_validate(data)
    except ValidationError:
        return False
    return True


def one_or_many(choices: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return choices | st.lists(choices, min_size=1, max_size=2)


def entries(name: str) -> st.SearchStrategy[dict[str, Any]]:
    """Entries of a module; each of their points is valid."""
    config = ATTENTION[name].Config
    optional = {field: one_or_many(choice) for field, choice in hyperparameters(name).items()}
    if config.presets:
        optional["preset"] = one_or_many(st.sampled_from(list(config.presets)))
    entry = st.fixed_dictionaries({"name": st.just(name)}, optional=optional)
    return entry.filter(
        lambda entry: all(is_valid(config, settings_of(name, point)) for point in points(entry))
    )


def points(entry: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The points of an entry's grid, its last field the fastest."""
    axes = [value if isinstance(value, list) else [value] for value in entry.values()]
    for chosen in itertools.product(*axes):
        yield dict(zip(entry, chosen, strict=True))


def settings_of(name: str, point: dict[str, Any]) -> dict[str, Any]:
    """The hyperparameters that a point of a module's grid names, its preset's included."""
    own = {key: value for key, value in point.items() if key not in ("name", "preset")}
    return {**ATTENTION[name].Config.presets.get(point.get("preset", ""), {}), **own}


MODULES = ("none", "ela", "ema", "ca", "eca")
PLACEMENTS = ["stage3", "stem_stage", {"name": "mine", "sites": ["layer3.0", "layer1"]}]
RECIPE = {**fields(Recipe), "preset": st.sampled_from(list(PRESETS))}
GENERAL = {name: fields(General)[name] for name in ("seeds", "on_indivisible", "metric")}


def few(choices: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """Up to three of the fields; more would seldom agree with each other."""
    names = st.lists(st.sampled_from(sorted(choices)), max_size=3, unique=True)
    return names.flatmap(lambda names: st.fixed_dictionaries({n: choices[n] for n in names}))


BACKBONE = st.fixed_dictionaries(
    {"name": st.just("resnet18")},
    optional={
        "stem": one_or_many(st.sampled_from(["auto", "cifar", "imagenet"])),
        "placement": one_or_many(st.sampled_from(PLACEMENTS)),
    },
) | st.just({"name": "mobilenet_v2"})

SPACES = st.fixed_dictionaries(
    {
        "study": st.just("small"),
        "question": st.just("Is it small?"),
        "dataset": st.fixed_dictionaries(
            {"name": st.just("digits")},
            optional={"image_size": st.integers(8, 64), "split_seed": st.integers(0, 9)},
        ),
        "backbones": st.lists(BACKBONE, min_size=1, max_size=2),
        "attention": st.lists(
            st.one_of([entries(name) for name in MODULES]), min_size=1, max_size=3
        ),
        "recipe": few(RECIPE),
    },
    optional={"seeds": st.lists(st.integers(0, 99), min_size=1, max_size=2, unique=True)},
)


# Spelling --------------------------------------------------------------------------------------


def spelt(value: Any, by: Random) -> str:
    """A value in flow YAML: keys in any order, any quotes, any spelling of a number."""
    gap = by.choice(["", " ", "\n ", " # 'no: field'\n "])
    match value:
        case dict():
            items = by.sample(list(value.items()), len(value))
            inner = ", ".join(f"{spelt(key, by)}: {spelt(item, by)}" for key, item in items)
            return f"{{{gap}{inner}{gap}}}"
        case list() | tuple():
            return f"[{gap}{', '.join(spelt(item, by) for item in value)}{gap}]"
        case str():
            is_plain = re.fullmatch("[A-Za-z_][A-Za-z0-9_/]*", value) and plain_scalar(value)
            single = "'" + value.replace("'", "''") + "'"
            quoted = [single, json.dumps(value)]
            return by.choice([*quoted, value] if is_plain == value else quoted)
        case None:
            return by.choice(["null", "~", "Null"])
        case bool():
            text = str(value)
            return by.choice([text, text.lower(), text.upper()])
        case _:
            return by.choice(number_spellings(value))


def number_spellings(number: float) -> list[str]:
    if isinstance(number, int):
        return [str(number), f"+{number}", f"00{number}", hex(number), oct(number)]
    exact = Decimal(repr(number))
    spellings = [repr(number), f"{exact:f}", f"{exact:e}", f"{exact:E}", f"{exact:.30e}"]
    if number.is_integer() and number < 2**53:
        spellings += [str(int(number)), f"{int(number)}."]
    if number == 0:
        spellings += ["-0", "-0.0", ".0", "0e5"]
    return spellings


def shuffled(value: Any, by: Random) -> Any:
    """A space with all of its lists in any order."""
    if isinstance(value, dict):
        return {key: shuffled(item, by) for key, item in value.items()}
    if isinstance(value, list):
        return by.sample([shuffled(item, by) for item in value], len(value))
    return value


def written(space: dict[str, Any], by: Random | None = None) -> str:
    if by is None:
        return json.dumps(space)
    lines = [f"{name}: {spelt(value, by)}\n" for name, value in space.items()]
    return "# a space\n" + "".join(by.sample(lines, len(lines)))


def planned(text: str, *overrides: str) -> list[PlannedTrial]:
    """The trials of a space; an example that cannot be is passed over."""
    trials = tried(text, *overrides)
    assume(trials is not None)
    assert trials is not None
    return trials


def tried(text: str, *overrides: str) -> list[PlannedTrial] | None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "space.yaml"
        path.write_text(text, encoding="utf-8")
        try:
            return list(make_plan(load_space(path, overrides)).trials)
        except SpecError:
            return None


def ids(trials: list[PlannedTrial]) -> set[str]:
    return {planned.trial.trial_id for planned in trials}


# Identity --------------------------------------------------------------------------------------


@MANY
@given(value=st.floats(allow_nan=False, allow_infinity=False) | st.integers(0))
def test_every_spelling_of_a_number_is_that_number(value: float) -> None:
    for spelling in number_spellings(value):
        read = parse_yaml(spelling).value
        assert repr(float(read)) == repr(float(value) + 0.0)  # -0.0 too is 0.0


@MANY
@given(space=SPACES, by=st.randoms(use_true_random=False))
def test_a_trial_does_not_depend_on_how_its_space_is_written(
    space: dict[str, Any], by: Random
) -> None:
    plain = planned(written(space))
    assert ids(planned(written(shuffled(space, by), by))) == ids(plain)


@MANY
@given(
    space=SPACES,
    sections=st.fixed_dictionaries(
        {
            "study": fields(General)["study"],
            "question": fields(General)["question"],
            "keep_checkpoints": fields(General)["keep_checkpoints"],
            "resources": st.fixed_dictionaries({}, optional=fields(Resources)),
            "tracking": st.fixed_dictionaries({}, optional=fields(Tracking)),
        }
    ),
    root=st.sampled_from([None, "/here", "there"]),
)
def test_a_trial_does_not_depend_on_where_and_on_what_it_runs(
    space: dict[str, Any], sections: dict[str, Any], root: str | None
) -> None:
    plain = planned(written(space))
    elsewhere = {**space, **sections, "dataset": {**space["dataset"], "root": root}}
    assert ids(planned(written(elsewhere))) == ids(plain)


def paths(model: type[BaseModel]) -> Iterator[tuple[str, ...]]:
    """The fields of a model, and those of the models in it."""
    for name, field in model.model_fields.items():
        kinds = [k for k in (field.annotation, *get_args(field.annotation)) if isinstance(k, type)]
        models = [kind for kind in kinds if issubclass(kind, BaseModel)]
        inner = [path for inside in models for path in paths(inside)]
        yield from ((name, *path) for path in inner or [()])


def changed(data: st.DataObject, model: Any, path: tuple[str, ...]) -> Any:
    """Return a copy of a model with another value of one field."""
    name, *inner = path
    now = getattr(model, name)
    if inner:
        return model.model_copy(update={name: changed(data, now, tuple(inner))})
    kind: Any = TypeAdapter(type(model).model_fields[name].annotation)
    choices = values(properties(type(model))[name]).map(kind.validate_python)
    return model.model_copy(update={name: data.draw(choices.filter(lambda other: other != now))})


@FEW
@pytest.mark.parametrize(
    "path", [p for p in paths(Trial) if p[0] not in {*NO_MATTER, "hyperparameters", "nondefault"}]
)
@given(data=st.data())
def test_a_field_that_could_change_the_result_changes_the_trial(
    path: tuple[str, ...], data: st.DataObject
) -> None:
    trial = TRIAL.model_copy(update={"segment": Segment(until=1, parent=None)})
    assert changed(data, trial, path).trial_id != trial.trial_id


@FEW
@pytest.mark.parametrize("name", ATTENTION.names())
@given(data=st.data())
def test_trials_are_the_same_if_and_only_if_their_hyperparameters_are(
    name: str, data: st.DataObject
) -> None:
    config = ATTENTION[name].Config
    choices = st.fixed_dictionaries({}, optional=hyperparameters(name))
    given_two = [data.draw(choices.filter(lambda c: is_valid(config, c))) for _ in range(2)]
    configs = [config.model_validate(given) for given in given_two]
    one, other = (
        TRIAL.model_copy(
            update={
                "attention": name,
                "hyperparameters": config.model_dump(mode="json"),
                "nondefault": tuple(sorted(config.model_dump(exclude_defaults=True))),
            }
        )
        for config in configs
    )
    assert (one.trial_id == other.trial_id) == (configs[0] == configs[1])


@FEW
@pytest.mark.parametrize("name", DATASETS.names())
@given(data=st.data())
def test_every_setting_of_a_data_set_but_its_place_is_part_of_its_content(
    name: str, data: st.DataObject
) -> None:
    config = DATASETS[name].Config
    choices = st.fixed_dictionaries(fields(config)).filter(lambda given: is_valid(config, given))
    start = config.model_validate(data.draw(choices))
    moved = changed(data, start, ("root",))
    assert content(name, moved) == content(name, start)
    for path in paths(config):
        if path != ("root",):
            assert content(name, changed(data, start, path)) != content(name, start), path


def content(name: str, config: Any) -> dict[str, Any]:
    """What the settings say; what the files of a folder of one's own say comes to it."""
    return Dataset.content(DATASETS[name](config))


# Expansion -------------------------------------------------------------------------------------


@MANY
@given(space=SPACES)
def test_a_space_is_the_product_of_its_lists_each_trial_once(space: dict[str, Any]) -> None:
    trials = [planned.trial for planned in planned(written(space))]
    keys = [
        (
            (t.backbone.name, t.backbone.stem, t.placement),
            (t.attention, json.dumps(t.hyperparameters, sort_keys=True)),
            t.seed,
        )
        for t in trials
    ]
    assert keys == list(dict.fromkeys(product(space)))
    assert len({trial.trial_id for trial in trials}) == len(trials)


def product(space: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    small = space["dataset"].get("image_size", 8) <= 64
    for backbone in (point for entry in space["backbones"] for point in points(entry)):
        stem = backbone.get("stem", "auto")
        if stem == "auto":
            stem = "cifar" if small else "imagenet"
        where = backbone.get("placement", BACKBONES[backbone["name"]].default_placement)
        where = where["name"] if isinstance(where, dict) else where
        for point in (point for entry in space["attention"] for point in points(entry)):
            name = point["name"]
            config = ATTENTION[name].Config
            defaults = {key: field.default for key, field in config.model_fields.items()}
            chosen = json.dumps({**defaults, **settings_of(name, point)}, sort_keys=True)
            for seed in space.get("seeds", [0]):
                placement = "none" if name == "none" else where
                yield (backbone["name"], stem, placement), (name, chosen), seed


@MANY
@given(space=SPACES, by=st.randoms(use_true_random=False), data=st.data())
def test_an_override_is_the_field_in_the_file(
    space: dict[str, Any], by: Random, data: st.DataObject
) -> None:
    sections = {"recipe": RECIPE, "dataset": fields(DATASETS["digits"].Config), "": GENERAL}
    section = data.draw(st.sampled_from(sorted(sections)))
    field = data.draw(st.sampled_from(sorted(sections[section])))
    value = data.draw(sections[section][field])
    changed = copy.deepcopy(space)
    (changed.setdefault(section, {}) if section else changed)[field] = value
    override = f"{section}.{field}={spelt(value, by)}".removeprefix(".")
    assert tried(written(space), override) == tried(written(changed))
