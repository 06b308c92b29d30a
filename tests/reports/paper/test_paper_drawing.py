"""`sweep paper figure`: its files, and what it says where it cannot draw."""

from __future__ import annotations

from pathlib import Path

import pytest
from spec.spaces import call

from reports.paper.drawing import write_figure_1
from sweep.errors import UserError


def test_published_points_need_no_store(tmp_path: Path) -> None:
    paths = [path.name for path in write_figure_1([], f"sqlite:///{tmp_path}/none.db", tmp_path)]
    assert paths == ["figure_1.png", "figure_1.svg", "figure_1.pdf"]
    assert not (tmp_path / "none.db").exists()


def test_a_study_stands_beside_them(store: str, tmp_path: Path) -> None:
    paths = list(write_figure_1(["small"], store, tmp_path))
    assert all(path.stat().st_size > 10_000 for path in paths)


def test_a_wrong_name_is_told_with_the_nearest(store: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no study 'smal' .*mean 'small'"):
        list(write_figure_1(["smal"], store, tmp_path))


def test_a_study_without_a_result_is_told(store: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="empty has no result yet"):
        list(write_figure_1(["empty"], store, tmp_path))


def test_the_command_names_its_files(tmp_path: Path) -> None:
    result = call("paper", "figure", "--dir", str(tmp_path))
    assert result.code == 0
    assert str(tmp_path / "reports" / "paper" / "figure_1.pdf") in result.out


def test_the_command_says_what_is_not_there(tmp_path: Path) -> None:
    result = call("paper", "figure", "a_study", "--dir", str(tmp_path))
    assert result.code == 2
    assert "no MLflow store" in result.err
