"""A kept figure is the figure that would be drawn: of the same values, by the same code, with the same label."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure

from analysis_lib.figures import style
from analysis_lib.figures.drawn import FORMATS, drawn
from analysis_lib.figures.vector import svg_text

DATA = pd.DataFrame({"month": [0, 12, 24], "survival": [1.0, 0.8, 0.7]})
DRAWING = """
from analysis_lib.figures import style

calls = []

@style.styled
def line(frame, colour="black", width=1.0):
    calls.append(colour)
    fig = style.new_figure(60, 40)
    style.axes_mm(fig, 10, 5, 45, 30).plot(frame["month"], frame["survival"], color=colour, lw=width)
    return fig
"""


@pytest.fixture
def drawing(tmp_path, monkeypatch):
    (tmp_path / "a_drawing.py").write_text(DRAWING)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield importlib.import_module("a_drawing")
    sys.modules.pop("a_drawing")


def made(fig: Figure, folder: Path, synthetic: bool) -> dict[str, bytes]:
    """As drawn and saved without anything kept."""
    path = style.save_figure(fig, folder, "figure", DATA, synthetic)
    files = {suffix: path.with_suffix(f".{suffix}").read_bytes() for suffix in FORMATS}
    return files | {"svg": svg_text(fig).encode()}


@pytest.mark.parametrize("synthetic", [True, False])
def test_what_is_kept_is_what_is_drawn(tmp_path, drawing, synthetic):
    expected = made(drawing.line(DATA, "red", width=2.0), tmp_path / "plain", synthetic)
    drawing.calls.clear()
    cache = tmp_path / "cache"
    first = drawn(drawing.line, (DATA, "red"), {"width": 2.0}, DATA, synthetic, cache)
    again = drawn(drawing.line, (DATA, "red"), {"width": 2.0}, DATA, synthetic, cache)
    assert first == again == expected and drawing.calls == ["red"]


def test_another_value_label_data_or_function_is_another_figure(tmp_path, drawing):
    changed = DATA.assign(survival=[1.0, 0.8, 0.7 + 1e-16 + 1e-15])
    asked = [
        (drawing.line, (DATA,), {}, DATA, True),
        (drawing.line, (changed,), {}, DATA, True),
        (drawing.line, (DATA,), {}, changed, True),
        (drawing.line, (DATA,), {}, {"lines": DATA}, True),
        (drawing.line, (DATA,), {}, DATA, False),
        (drawing.line, (DATA, "blue"), {}, DATA, True),
        (drawing.line, (DATA,), {"width": 3.0}, DATA, True),
    ]
    for one in asked * 2:
        drawn(*one, tmp_path)
    assert len(drawing.calls) == len(asked) == len(list((tmp_path / "figures").rglob("*.pickle")))


def test_other_code_draws_again(tmp_path, drawing):
    drawn(drawing.line, (DATA,), {}, DATA, True, tmp_path / "cache")
    (tmp_path / "a_drawing.py").write_text(DRAWING.replace("lw=width", "lw=2 * width"))
    other = importlib.reload(drawing)
    drawn(other.line, (DATA,), {}, DATA, True, tmp_path / "cache")
    assert other.calls == ["black"]  # emptied by the reload


def test_without_a_folder_nothing_is_kept(tmp_path, drawing, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.rglob("*"))
    for _ in range(2):
        drawn(drawing.line, (DATA,), {}, DATA, True, None)
    assert drawing.calls == ["black"] * 2 and {p for p in tmp_path.rglob("*") if "__pycache__" not in str(p)} <= before


def test_a_value_that_has_no_hash_is_refused_and_not_ignored(tmp_path, drawing):
    with pytest.raises(TypeError, match="no result can be kept by a function"):
        drawn(drawing.line, (DATA,), {"colour": lambda: "red"}, DATA, True, tmp_path)
