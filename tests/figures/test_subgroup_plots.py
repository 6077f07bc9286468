"""Forest plot of subgroups, and loss of C-index by group of features: the frame is drawn, inside the page."""

import numpy as np
import pandas as pd
import pytest
from test_plots import assert_no_text_leaves_the_figure, texts

from analysis_lib.figures.importance import group_name, importance_plot
from analysis_lib.figures.style import figure_without_panels
from analysis_lib.figures.subgroups import subgroup_forest

LABELS = {"internal": "Internal test", "lt": "External LT test"}


def subgroup_frame(long: str = "B") -> pd.DataFrame:
    levels = [("all", "all patients"), ("sex", "men"), ("sex", "women"), ("centre", "A"), ("centre", long)]
    rows = []
    for k, (name, (subgroup, level)) in enumerate((s, lv) for s in LABELS for lv in levels):
        row = {"set": name, "subgroup": subgroup, "level": level, "n": 100 + k, "events": 20 + k, "month": 60.0}
        row |= {"c_index": 0.6 + k / 100, "c_index_low": 0.5, "c_index_high": 0.8}
        row |= {"ratio": 0.9 + k / 10, "ratio_low": 0.0, "ratio_high": 30.0 if k == 3 else 2.0}
        if level == "women":
            row |= {"difference": -0.05, "p": 0.4} if name == "lt" else dict.fromkeys(("c_index", "ratio"), np.nan)
        rows.append(row)
    return pd.DataFrame(rows)


@pytest.mark.parametrize("centre", ["B", "a code of a centre that is longer than its place"])
def test_subgroups_are_drawn_and_printed(centre):
    frame = subgroup_frame(centre)
    fig = subgroup_forest(frame, LABELS, "deaths", 0.9)
    assert_no_text_leaves_the_figure(fig)
    said = texts(fig)
    assert {"Internal test", "External LT test", "All patients", "Men", "Centre A", "100 (20)"} <= {*said}
    assert "O/E at 60 months" in said
    assert "0.60 (0.50–0.80)" in said and "0.90 (0.00–2.00)" in said and said.count("NA") == 2
    assert "−0.05, P=0.40" in said and any("90% bootstrap" in text for text in said)
    assert len(fig.axes) == 4
    points = [line for line in fig.axes[2].lines if line.get_marker() in ("D", "o")]
    drawn = sorted(x for line in points for x in line.get_xdata())
    assert drawn == pytest.approx(sorted(frame.loc[frame["set"] == "lt", "c_index"]))


def test_subgroups_of_no_set_and_of_a_wrong_frame():
    assert texts(subgroup_forest(subgroup_frame().iloc[:0], LABELS)) == texts(figure_without_panels())
    with pytest.raises(ValueError, match="subgroups lacks column"):
        subgroup_forest(subgroup_frame().drop(columns="ratio"), LABELS)


def importance_frame() -> pd.DataFrame:
    groups = [("all", "all features"), ("region", "sm"), ("image type", "log-sigma-2-5-mm-3D"), ("class", "glcm")]
    rows = [
        {"set": name, "kind": kind, "group": group, "n_features": 10, "n": 80, "events": 20, "c_index": 0.7, "note": ""}
        | {"loss": 0.1 / (k + 1), "permutation_sd": 0.02, "network_sd": 0.01}
        for name in LABELS
        for k, (kind, group) in enumerate(groups)
    ]
    frame = pd.DataFrame(rows)
    few = frame["set"] == "lt"
    frame.loc[few, ["c_index", "loss", "permutation_sd", "network_sd"]] = np.nan
    frame.loc[few, "note"] = "fewer than 10 deaths"
    return frame


def test_losses_are_drawn_by_group_and_a_set_that_was_not_asked_says_why():
    frame = importance_frame()
    fig = importance_plot(frame, LABELS)
    assert_no_text_leaves_the_figure(fig)
    first, second = fig.axes
    assert [t.get_text() for t in first.get_yticklabels()] == ["All features", "SM", "LoG 2.5 mm", "GLCM"]
    dots = next(line for line in first.lines if line.get_marker() == "o")
    assert dots.get_xdata() == pytest.approx(frame["loss"][:4]) and list(dots.get_ydata()) == list(first.get_yticks())
    assert [t.get_text() for t in second.texts] == ["NA:\nfewer than 10 deaths"] and "C-index 0.70" in texts(fig)
    one = importance_plot(frame.assign(network_sd=np.nan), {"internal": "Internal test"})  # of a single network
    assert len(one.axes) == 1
    assert texts(importance_plot(frame.iloc[:0], LABELS)) == texts(figure_without_panels())
    with pytest.raises(ValueError, match="importance lacks column"):
        importance_plot(frame.drop(columns="loss"), LABELS)


@pytest.mark.parametrize(
    ("group", "name"),
    [("log-sigma-1-0-mm-3D", "LoG 1 mm"), ("wavelet-LLH", "Wavelet LLH"), ("shape2D", "Shape, 2-D"), ("own", "Own")],
)  # fmt: skip
def test_names_of_groups(group, name):
    assert group_name(group) == name
