from __future__ import annotations

import platform
from pathlib import Path

import pytest
import torch

from sweep.profiling import environment as module
from sweep.profiling.environment import environment, processor


def test_processor_is_named_as_linux_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "cpuinfo"
    monkeypatch.setattr(module, "CPU_INFO", info)
    assert processor() == f"CPU {platform.machine()}"
    info.write_text("processor\t: 0\nmodel name\t: A: B 3000\nprocessor\t: 1\nmodel name\t: C\n")
    assert processor() == "A: B 3000"


def test_environment_of_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.get_num_threads", lambda: 1)
    around = environment(torch.device("cpu"))
    assert around["device"] == f"CPU {platform.machine()}, 1 thread"
    assert around["cuda"] is None
    assert around["torch"] == torch.__version__
