from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from plugin.distribution import write_distribution
from spec.spaces import text_of

from sweep.registry import PluginError, Registry, UnknownNameError, nearest

TESTS = Path(__file__).parent
PARTS = "from sweep.registry import Registry\nTABLE = Registry('thing', 'parts')\n"
PART = "from parts import TABLE\nTABLE.register({name!r})({value})\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on sys.path, with a package of parts that has its own table."""
    package = tmp_path / "parts"
    package.mkdir()
    (package / "__init__.py").write_text(PARTS)
    (package / "first.py").write_text(PART.format(name="b", value=1))
    (package / "second.py").write_text(PART.format(name="a", value=2))
    monkeypatch.syspath_prepend(tmp_path)
    for module in [name for name in sys.modules if name.split(".")[0] in ("parts", "extra")]:
        monkeypatch.delitem(sys.modules, module)
    return tmp_path


def table() -> Registry[int]:
    import parts  # type: ignore[import-not-found]

    registry: Registry[int] = parts.TABLE
    return registry


def test_a_table_fills_itself_on_the_first_look_up(folder: Path) -> None:
    registry = table()
    assert "parts.first" not in sys.modules
    assert (registry["b"], registry["a"]) == (1, 2)
    assert registry.names() == ["a", "b"]
    assert "a" in registry
    assert "c" not in registry
    assert 3 not in registry
    assert registry.origin("a") == "sweep"


def test_a_name_is_given_once() -> None:
    registry: Registry[int] = Registry("thing", "no.such.package")
    registry.register("a")(1)
    with pytest.raises(ValueError, match=r"^thing 'a' is registered twice$"):
        registry.register("a")(2)


def test_a_failed_look_up_lists_the_known_names_and_the_nearest(folder: Path) -> None:
    with pytest.raises(UnknownNameError) as caught:
        table()["B "]
    assert str(caught.value) == "unknown thing 'B '; did you mean 'b'? Known: a, b"
    with pytest.raises(UnknownNameError, match=r"^unknown thing 'zzz'\. Known: a, b$"):
        table()["zzz"]


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("resnet81", "resnet18"),
        ("RESNET50", "resnet50"),
        ("resnet-50", "resnet50"),
        ("vit", None),
        ("", None),
    ],
)
def test_the_nearest_name(name: str, near: str | None) -> None:
    assert nearest(name, ["resnet18", "resnet50", "mobilenet_v2"]) == near


def test_a_part_of_another_distribution_has_its_origin(folder: Path) -> None:
    write_distribution(
        folder, "extra", "1.2", {"parts c": "extra"}, extra=PART.format(name="c", value=3)
    )
    registry = table()
    assert registry.names() == ["a", "b", "c"]
    assert (registry["c"], registry.origin("c"), registry.origin("a")) == (3, "extra==1.2", "sweep")


@pytest.mark.parametrize(
    ("target", "source", "reason"),
    [
        ("nowhere", "", "ModuleNotFoundError: No module named 'nowhere'"),
        ("extra:Missing", "", "AttributeError: module 'extra' has no attribute 'Missing'"),
        ("extra", "1 / 0\n", "ZeroDivisionError: division by zero"),
        ("extra", "raise ValueError('two\\nlines')\n", "ValueError: two lines"),
        ("extra", PART.format(name="a", value=3), "ValueError: thing 'a' is registered twice"),
    ],
)
def test_a_broken_plugin_is_one_line_that_names_it(
    folder: Path, target: str, source: str, reason: str
) -> None:
    write_distribution(folder, "extra", "1.2", {"parts c": target}, extra=source)
    with pytest.raises(PluginError) as caught:
        table().names()
    assert str(caught.value) == (
        f"the plug-in extra==1.2 cannot be imported (entry point 'c' of parts): {reason}"
    )


# Through the command line, in a process of its own ----------------------------------------------


def run(folder: Path, script: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(folder), str(TESTS)])
    return subprocess.run(
        [sys.executable, "-c", "import json\nfrom spec.spaces import call\n" + script],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        check=False,
    )


def test_a_users_own_module_works_in_every_command(tmp_path: Path) -> None:
    gate = (TESTS / "plugin" / "gate.py").read_text(encoding="utf-8")
    write_distribution(tmp_path, "gate-plugin", "0.3", {"sweep.attention gate": "gate"}, gate=gate)
    good = text_of(attention="[{name: gate, scale: [1.0, 2.0]}]", backbones="[resnet18]")
    bad = text_of(attention="[{name: gat}, {name: gate, scal: 1}, {name: gate, scale: 0}]")
    (tmp_path / "good.yaml").write_text(good)
    (tmp_path / "bad.yaml").write_text(bad)
    ended = run(
        tmp_path,
        "results = [call('list'), call('schema'), call('plan', 'good.yaml', '--json'),"
        " call('plan', 'bad.yaml')]\n"
        "print(json.dumps([vars(result) for result in results]))",
    )
    assert ended.returncode == 0, ended.stderr
    listed, schema, plan, refused = json.loads(ended.stdout)
    assert "  gate                scale; -; -\n" in listed["out"]
    assert '"const": "gate"' in schema["out"]
    rows = json.loads(plan["out"])
    assert [row["hyperparameters"] for row in rows] == [{"scale": 1.0}, {"scale": 2.0}]
    assert {row["status"] for row in rows} == {"planned"}
    baseline, sites = 11_173_962, 3 * (64 + 128 + 256 + 512)  # resnet18, CIFAR stem, 10 classes
    assert {row["params_true"] for row in rows} == {baseline + sites}
    assert refused["code"] == 2
    assert refused["err"].splitlines() == [
        "error: bad.yaml:5:14: attention[0].name: 'gat' is not known; did you mean 'gate'? "
        "Allowed: ca, cbam, eca, ela, ema, gate, nam, none, sa, se",
        "error: bad.yaml:5:39: attention[1].scal: unknown field; did you mean 'scale'? "
        "Allowed: name, backbones, scale",
        "error: bad.yaml:5:62: attention[2].scale: 0 is not a finite number above 0",
    ]


def test_a_broken_plugin_is_one_clear_line(tmp_path: Path) -> None:
    write_distribution(tmp_path, "broken", "9", {"sweep.attention b": "broken"}, broken="import no")
    ended = run(tmp_path, "print(json.dumps(vars(call('list'))))")
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout) == {
        "code": 2,
        "out": "",
        "err": "error: the plug-in broken==9 cannot be imported (entry point 'b' of "
        "sweep.attention): ModuleNotFoundError: No module named 'no'\n",
    }
