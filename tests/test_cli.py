"""The commands themselves: their help, frozen, and what they cost before they do anything."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import click
import pytest
from spec.spaces import call

from sweep.cli import cli
from sweep.registry import ATTENTION, BACKBONES, DATASETS, TASKS
from sweep.spec.recipes import PRESETS

FROZEN = Path(__file__).with_name("help.txt")
HEAVY = ("torch", "torchvision", "ray", "mlflow", "numpy", "pandas", "matplotlib", "sklearn")


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SWEEP_DIR", raising=False)
    monkeypatch.delenv("SWEEP_DATA", raising=False)


def commands(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Return the path of a group and of everything below it."""
    found = [path]
    for name, command in group.commands.items():
        below = (*path, name)
        found += commands(command, below) if isinstance(command, click.Group) else [below]
    return found


def test_the_help_of_every_command_is_the_frozen_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    texts = []
    for path in commands(cli):
        result = call(*path, "--help")
        assert (result.code, result.err) == (0, "")
        texts.append(f"$ {' '.join(['sweep', *path, '--help'])}\n{result.out}")
    shown = "\n".join(texts)
    if not FROZEN.exists():
        FROZEN.write_text(shown, encoding="utf-8")
        pytest.fail(f"{FROZEN.name} was written anew: read it, and commit it")
    frozen = FROZEN.read_text(encoding="utf-8")
    assert shown == frozen, f"was it meant? Then remove {FROZEN.name} and run this again"


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["run", "--help"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    script = (
        "import json, sys\n"
        "from sweep.cli import main\n"
        f"sys.argv = {['sweep', *arguments]!r}\n"
        "try:\n    main()\n"
        "except SystemExit:\n    sys.stderr.write(json.dumps(list(sys.modules)))\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    modules = {name.partition(".")[0] for name in json.loads(ended.stderr)}
    assert modules.isdisjoint(HEAVY)
    assert "click" in modules


def test_help_answers_in_less_than_a_third_of_a_second() -> None:
    # Of processor time: what else this machine does is no matter.
    command = [Path(sys.executable).with_name("sweep"), "--help"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert ended.stdout.startswith("Usage: sweep ")
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["plam"], "No such command 'plam'"),
        (["plan"], "Missing argument 'SPEC'"),
        (["run", "space.yaml", "--runner", "slurm"], "'slurm' is not one of 'ray', 'inline'"),
        (["plan", "nowhere.yaml"], "error: nowhere.yaml: cannot be read: No such file"),
        (["plan", "."], "error: .: cannot be read: Is a directory"),
        (["data", "fetch", "digit"], "error: unknown data set 'digit'; did you mean 'digits'?"),
        (["data", "fetch", "imagenet"], "error: imagenet cannot be downloaded by a program"),
        (["data", "fetch", "imagefolder"], "error: imagefolder is a folder of your own"),
    ],
)
def test_what_is_asked_wrongly_ends_with_2_and_no_traceback(
    arguments: list[str], message: str
) -> None:
    result = call(*arguments)
    assert (result.code, result.out) == (2, "")
    assert message in result.err
    assert "Traceback" not in result.err


def test_what_comes_with_the_program_is_ready() -> None:
    result = call("data", "fetch", "digits")
    assert (result.code, result.out, result.err) == (0, "digits is ready\n", "")


LISTED = [
    "ca reduction, min_channels, bias, norm, num_groups; official, ela_paper, ela_paper_gn; "
    "no BN, no reduction",
    "eca kernel_size; -; no neighbours",
    "ema factor, cross_spatial, conv3x3; -; no cross-spatial, no 3x3 branch",
    "nam -; -; -",
    "deeplabv3_resnet50 conv2, stage3, stem_stage, block_last_bn, aspp",
    "mobilenet_v2 hidden, stage3, stem_stage, block_last_bn",
    "resnet18 stage3, stem_stage, block_last_bn",
    "resnet50 stem_stage, stage3, block_last_bn, conv2",
]
"""Some lines of ``sweep list``, with single spaces."""


def test_list_names_what_a_space_can_name() -> None:
    result = call("list")
    assert (result.code, result.err) == (0, "")
    sections: dict[str, list[str]] = {}
    for line in result.out.splitlines():
        if line.startswith("  "):
            sections[list(sections)[-1]].append(" ".join(line.split()))
        else:
            sections[line] = []
    heads = [heading.partition(" (")[0] for heading in sections]
    assert heads == ["attention", "backbones", "tasks: backbones; data sets", "recipes"]
    attention, backbones, tasks, recipes = sections.values()
    assert [line.split()[0] for line in attention] == ATTENTION.names()
    assert [line.split()[0] for line in backbones] == BACKBONES.names()
    assert [line.split()[0] for line in tasks] == TASKS.names()
    parts = [line.partition(" ")[2].split("; ") for line in tasks]
    for registry, part in ((BACKBONES, 0), (DATASETS, 1)):
        listed = [name for texts in parts for name in texts[part].split(", ")]
        assert sorted(listed) == registry.names()
    assert "segmentation deeplabv3_resnet50; voc2012_aug" in tasks
    assert recipes == [", ".join(PRESETS)]
    assert set(LISTED) <= {*attention, *backbones}
