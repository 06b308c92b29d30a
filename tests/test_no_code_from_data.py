"""No file that is read, and no name in one, is ever run; what could do so is listed, and why.

The code is read, not run, so that a new use is found wherever it stands.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted(path for name in ("sweep", "reports") for path in (ROOT / name).rglob("*.py"))

BUILT_IN = {"eval", "exec", "compile", "__import__"}
MODULES = {
    *("pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "jsonpickle"),
    *("subprocess", "importlib", "runpy", "code", "pty", "yaml", "xml", "lxml", "ctypes"),
}
CALLS = {
    *("os.system", "os.popen", "torch.hub", "pandas.read_pickle", "pd.read_pickle"),
    *(
        f"os.{kind}{how}"
        for kind in ("exec", "spawn")
        for how in ("l", "le", "lp", "v", "ve", "vp")
    ),
}
SAFE = {
    "torch.load": ("weights_only", True),
    "np.load": ("allow_pickle", False),
    "np.savez_compressed": ("allow_pickle", False),
    "numpy.load": ("allow_pickle", False),
}
"""Calls that are safe with one argument, which must be there."""

ALLOWED = {
    ("sweep/registry.py", "importlib"): "imports the modules of its own packages, by no name of a "
    "search space; plug-ins are installed by who runs it",
    ("sweep/data/cifar.py", "pickle"): "CIFAR's own format: an unpickler that builds arrays alone",
    ("sweep/training/checkpoint.py", "pickle"): "only the name of the error that torch raises",
    ("sweep/orchestration/record.py", "subprocess"): "asks git for the commit; fixed arguments",
    (
        "sweep/doctor/checks/gpus.py",
        "subprocess",
    ): "nvidia-smi and sweep/doctor/kernel.py, which can hang; fixed arguments",
    (
        "sweep/doctor/checks/disk.py",
        "subprocess",
    ): "a lock is looked at by another process: a fixed program, whose argument is a path",
    ("sweep/data/voc_detection.py", "xml"): "annotations; expat limits what entities become, and "
    "tests/data/test_hostile_files.py holds it",
    ("sweep/cli.py", "os.execv"): "`sweep ui` becomes MLflow's server; the user's own arguments",
}


def dotted(node: ast.expr) -> str:
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=value, attr=name):
            return f"{dotted(value)}.{name}"
    return ""


def risks(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield the line and the name of everything that could run what was read."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                found = [alias.name for alias in names]
            case ast.ImportFrom(module=module, names=names):
                found = [f"{module}.{alias.name}" for alias in names]
            case ast.Call(func=ast.Name(id=name)):
                found = [name] if name in BUILT_IN else []
            case ast.Attribute():
                found = [name for name in [dotted(node)] if name in CALLS]
            case _:
                continue
        for name in found:
            package, _, rest = name.partition(".")
            if package in MODULES and (package, rest) not in HARMLESS:
                yield node.lineno, package
            elif name in BUILT_IN | CALLS:
                yield node.lineno, name
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and (name := dotted(node.func)) in SAFE:
            argument, value = SAFE[name]
            given = [k.value for k in node.keywords if k.arg == argument]
            if [g.value for g in given if isinstance(g, ast.Constant)] != [value]:
                yield node.lineno, f"{name} without {argument}={value}"
        elif isinstance(node, ast.keyword) and node.arg == "shell":
            yield node.value.lineno, "shell"


HARMLESS = {("importlib", "metadata"), ("importlib", "resources")}
"""They read what is installed, and import nothing."""


def test_nothing_that_is_read_can_be_run() -> None:
    found = {
        (path.relative_to(ROOT).as_posix(), name): f"{path.relative_to(ROOT)}:{line}: {name}"
        for path in FILES
        for line, name in risks(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert [found[key] for key in found if key not in ALLOWED] == []
    assert [key for key in ALLOWED if key not in found] == [], "a reason without a use"


@pytest.mark.parametrize(
    "code",
    [
        "eval(text)",
        "import pickle",
        "from pickle import loads",
        "from importlib import import_module",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.load(path, weights_only=trusted)",
        "np.load(path, allow_pickle=True)",
        "os.system(text)",
        "run = os.popen",
        "torch.hub.load(text)",
        "call(text, shell=True)",
        "import yaml",
    ],
)
def test_a_new_use_would_be_found(code: str) -> None:
    assert list(risks(ast.parse(code)))


@pytest.mark.parametrize(
    "code",
    ["torch.load(path, weights_only=True)", "from importlib import metadata", "model.eval()"],
)
def test_what_is_safe_is_not(code: str) -> None:
    assert not list(risks(ast.parse(code)))
