"""What a working folder keeps of a sweep, and when a stored plan is still the plan."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from plugin.distribution import write_distribution
from spec.spaces import space_of, text_of

import sweep.study
from sweep.errors import UserError
from sweep.plan import Plan, make_plan
from sweep.spec.document import SpecError
from sweep.spec.load import load_space
from sweep.study import StoredStudy, Study, find_study, plan_key, same_images, studies


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def key(*overrides: str, **fields: str | None) -> str:
    Path("space.yaml").write_text(text_of(**fields), encoding="utf-8")
    return plan_key(Path("space.yaml"), overrides)


def test_the_key_follows_the_data_of_a_space_and_not_its_text() -> None:
    before = key()
    assert key() == before
    Path("space.yaml").write_text("# a comment\n" + text_of().replace("[0]", "\n  - 0"))
    assert plan_key(Path("space.yaml"), ()) == before
    assert key("seeds=[0]") == before
    assert len({before, key(seeds="[1]"), key("seeds=[2]"), key("recipe.lr=1")}) == 4


@pytest.mark.parametrize("override", ["nonsense", "study.x=1", "recipe={lr: 1, lr: 2}"])
def test_a_wrong_override_is_never_the_key_of_a_plan(override: str) -> None:
    assert key(override) != key()
    with pytest.raises(SpecError):
        load_space(Path("space.yaml"), (override,))


def test_the_key_follows_the_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "package"
    (package / "deep").mkdir(parents=True)
    code = package / "deep" / "module.py"
    code.write_text("a = 1\n")
    monkeypatch.setattr(sweep.study, "__file__", str(package / "study.py"))
    before = key()
    shutil.copystat(__file__, code)
    touched = key()
    code.write_text("a = 12\n")
    shutil.copystat(__file__, code)  # the same time, another size
    (package / "new.py").write_text("")
    assert len({before, touched, key()}) == 3


def test_the_key_follows_the_plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [key()]
    for version in ("1", "2"):
        site = tmp_path / f"site{version}"
        write_distribution(site, "mine", version, {"sweep.attention mine": "mine"})
        with monkeypatch.context() as patch:
            patch.syspath_prepend(site)
            keys.append(key())
    assert len(set(keys)) == 3
    assert key() == keys[0]


def stored(plan: Plan) -> StoredStudy:
    return StoredStudy(
        key="k", complete=True, kind="grid", space=text_of(), overrides=("a=1",), plan=plan
    )


def test_what_is_stored_is_found_by_its_name(tmp_path: Path) -> None:
    made = stored(make_plan(space_of(tmp_path, attention="[none, {name: sa, groups: [32, 64]}]")))
    study = Study(tmp_path, "small")
    assert study.stored() is None
    assert studies(tmp_path) == []
    study.store(made)
    assert find_study(tmp_path, "small") == (study, made)
    assert studies(tmp_path) == ["small"]
    assert study.space_path.read_text() == text_of()
    with pytest.raises(UserError, match=r"no sweep 'smal' .*mean 'small'\? Known: small"):
        find_study(tmp_path, "smal")
    with pytest.raises(UserError, match="no sweep was run in elsewhere yet; `sweep run SPEC`"):
        find_study(Path("elsewhere"), "small")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"key": "k"}', '{"key": "k", "plan": {}}'])
def test_what_is_no_plan_is_made_anew(tmp_path: Path, text: str) -> None:
    study = Study(tmp_path, "small")
    study.path.mkdir(parents=True)
    (study.path / "plan.json").write_text(text)
    assert study.stored() is None
    with pytest.raises(UserError, match=r"plan\.json is damaged .* `sweep run SPEC` makes it anew"):
        find_study(tmp_path, "small")


def test_other_images_make_another_plan(tmp_path: Path) -> None:
    images = tmp_path / "images"
    for name in ("ant/1.png", "ant/2.png", "bee/1.png", "bee/2.png"):
        for split in ("train", "test"):
            (images / split / name).parent.mkdir(parents=True, exist_ok=True)
            (images / split / name).write_bytes(b"12")
    fields = {"dataset": f"{{name: imagefolder, root: '{images}', val_size: 2}}"}
    made = make_plan(space_of(tmp_path, **fields))
    assert same_images(made)

    (images / "train/ant/2.png").write_bytes(b"123")
    assert not same_images(made)
    changed = make_plan(space_of(tmp_path, **fields))
    assert changed.trials[0].trial.trial_id != made.trials[0].trial.trial_id

    moved = images.rename(tmp_path / "moved")
    again = make_plan(space_of(tmp_path, dataset=fields["dataset"].replace("/images", "/moved")))
    assert again.trials[0].trial.trial_id == changed.trials[0].trial.trial_id
    assert same_images(again)
    shutil.rmtree(moved)
    assert not same_images(again)
