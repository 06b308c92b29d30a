"""Search spaces that attack: each is refused in a moment, by one clear error, and does nothing.

``malicious`` holds one file for each attack. Its header says what it tries, how it is refused (the
field and the beginning of what is said of it), and whether that is so only where it is submitted.
What would make a large file is made here.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sweep.spec.document import MOST_LINES
from sweep.spec.load import MOST_TRIALS, load_space
from sweep.spec.plain_yaml import MAX_CHARACTERS, MAX_VALUES

from .spaces import Result, call, text_of

CORPUS = sorted((Path(__file__).parent / "malicious").glob("*.yaml"))
SECONDS = 4.0
"""Of processor time that a refusal takes at most."""
BYTES = 512 * 2**20
"""Of address space that a refusal takes at most, beside what the process has."""

WATCHED = ("os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "socket.connect")
_seen: list[str] | None = None


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _seen is not None and (event in WATCHED or (event, *arguments[:1]) == ("import", "malice")):
        _seen.append(event)


sys.addaudithook(_hook)  # for the life of the process; it records within ``harmless``


@pytest.fixture(scope="module", autouse=True)
def _imported(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Import what every command imports: that is no part of a refusal."""
    path = tmp_path_factory.mktemp("warm") / "space.yaml"
    own = "[{name: resnet18, weights: IMAGENET1K_V1, placement: {name: own, sites: [no_site]}}]"
    path.write_text(text_of(backbones=own), encoding="utf-8")
    assert call("plan", path).code == 2


def _files() -> list[Path]:
    """Return the files where a command works, and beside that."""
    return sorted([*Path.cwd().rglob("*"), *Path.cwd().parent.glob("*")])


@contextmanager
def harmless() -> Iterator[None]:
    """Fail if a command is run, a server called, a file made, or much time or memory taken."""
    global _seen
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    files = _files()
    _seen, begun = [], time.process_time()
    resource.setrlimit(resource.RLIMIT_AS, (pages * os.sysconf("SC_PAGESIZE") + BYTES, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        seen, _seen = _seen, None
    assert time.process_time() - begun < SECONDS
    assert seen == []
    assert _files() == files


def headers(path: Path) -> Mapping[str, str]:
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line[:2] == "# "]
    return dict(line[2:].split(": ", 1) for line in lines)


def refused(*arguments: str | Path) -> str:
    """Return the error of a command that takes one or two arguments as ``sweep plan`` does."""
    with harmless():
        result: Result = call(*arguments)
    assert result.code == 2, result
    assert result.out == ""
    assert result.err.startswith("error: ")
    assert "Traceback" not in result.err
    assert result.err.replace("\n", "").isprintable(), "a terminal would obey it"
    return result.err


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
@pytest.mark.parametrize("where", ["local", "submitted"])
def test_an_attack_is_refused(
    path: Path, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    header = headers(path)
    if where == "submitted":
        monkeypatch.setenv("SWEEP_CONFINED", "1")
        monkeypatch.setenv("SWEEP_DATA", str(tmp_path))
        monkeypatch.setenv("SWEEP_DIR", str(tmp_path / "sweeps"))
    elif header.get("When") == "submitted":
        pytest.skip("is what a user may do on their own machine")
    told = refused("plan", path)
    assert f"{path}:{header['Line']}:" in told
    assert header["Refused"] in told


@pytest.mark.parametrize("command", ["run", "plan", "diff"])
def test_every_command_that_takes_a_search_space_refuses_it(command: str) -> None:
    for name in ("study_traversal", "study_nul", "study_long", "tag_python_apply"):
        assert "error: " in refused(command, Path(__file__).parent / f"malicious/{name}.yaml")


# Made here, for their size --------------------------------------------------------------------


def space(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "space.yaml"
    path.write_text(text, encoding="utf-8")
    return path


MADE = {
    "a long text": (text_of(question="a" * MAX_CHARACTERS), ":1:1: holds more than 200,000 char"),
    "brackets": (text_of(seeds="[" * 50_000), ":6:48: is nested too deeply"),
    "braces": (text_of(dataset="{a: " * 10_000), " is nested too deeply"),
    "indented": ("".join(f"{' ' * i}a:\n" for i in range(500)), " is nested too deeply"),
    "as many fields as characters": (
        "".join(f"{i:x}:\n" for i in range(30_000)),
        "space.yaml: 29,9",
    ),
    "the same seed many times": (text_of(seeds=f"[{'0,' * 19_000}]"), "space.yaml: 18,899 more"),
    "many modules": (
        text_of(attention=f"[{'se,' * 9000}]", seeds="[0, 1, 2, 3, 4, 5]"),
        ":5:1: attention: 9,000 models x 6 seeds are 54,000 trials; ",
    ),
    "many ranges": (
        text_of(
            attention=f"[{'{name: se, reduction: {low: 1, high: 2000}},' * 300}]", search="random"
        ),
        ":5:1: attention: has more than 20,000 points; ",
    ),
    "many lists": (
        text_of(attention=f"[{'{name: se, reduction: [1,2,3,4,5,6,7,8,9]},' * 1500}]")
        + "constraints: {max_params_m: -1}",
        "constraints.max_params_m: -1 is not",
    ),
    "tags": (text_of(seeds=f"[{'!a 0,' * 9000}]"), "space.yaml: 8,9"),
}


@pytest.mark.parametrize("name", MADE)
def test_a_large_attack_is_refused(name: str, tmp_path: Path) -> None:
    text, expected = MADE[name]
    path = space(tmp_path, text)
    told = refused("plan", path)
    assert expected in told
    assert len(told.splitlines()) <= MOST_LINES + 1


def test_a_file_without_an_end_is_not_read_to_it() -> None:
    assert refused("plan", "/dev/zero").startswith("error: /dev/zero:1:1: holds more than 200,000")


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("seeds=[0]*10**9", "override 'seeds=[0]*10**9': is not YAML: "),
        ("seeds=!!python/object/apply:os.system [touch escaped]", "seeds: tags such as !name"),
        ("study=../../escape", "override 'study=../../escape': study: '../../escape' is not all"),
        ("__class__.__init__=1", "__class__: unknown field"),
        (".".join("a" * 1000) + "=1", "is nested too deeply"),
        ("a[0]" * 1000 + "=1", "is nested too deeply"),
        ("seeds[99999999999999999999]=1", "there is no seeds.99999999999999999999: "),
        ("recipe.epochs=1e400", "recipe.epochs: .inf is not a whole number"),
        ("recipe=&a {epochs: *a}", "*a refers to what it stands in"),
        ('question="\\e]0;evil\\a"', "holds U+001B, which is not allowed"),
        ("question=" + "a" * (MAX_CHARACTERS - 100_000) + ": b: c", "is not YAML"),
        ("x\x1b[2J=1", "unknown field"),
        ("=1", "write it as field=value"),
        ("--help", "override '--help': write it as field=value"),
    ],
)
def test_an_override_is_refused_too(tmp_path: Path, override: str, expected: str) -> None:
    path = space(tmp_path, text_of())
    assert expected in refused("plan", path, "--", override)


def test_the_largest_search_space_is_not_refused(tmp_path: Path) -> None:
    seeds = ", ".join(map(str, range(MOST_TRIALS // 4)))
    text = text_of(attention="[none, {name: se, reduction: [4, 8, 16]}]", seeds=f"[{seeds}]")
    assert len(load_space(space(tmp_path, text)).general.seeds) * 4 == MOST_TRIALS
    assert MOST_TRIALS < MAX_VALUES
