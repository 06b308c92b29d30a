from __future__ import annotations

import platform
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from sweep.profiling import environment as module
from sweep.profiling.environment import device_text, environment, processor


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
    assert around["device"] == f"{processor()}, 1 thread"
    assert around["cuda"] is None
    assert around["torch"] == torch.__version__


@pytest.mark.parametrize(
    ("total", "text"),
    [
        (42_297_786_368, "GPU X, 40 GiB"),
        (42_481_549_312, "GPU X, 40 GiB"),
        (8 * 2**30, "GPU X, 8 GiB"),
    ],
)
def test_a_gpu_has_its_memory_whatever_the_driver_keeps(
    monkeypatch: pytest.MonkeyPatch, total: int, text: str
) -> None:
    gpu = SimpleNamespace(name="GPU X", total_memory=total)
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda device: gpu)
    assert device_text(torch.device("cuda")) == text
