"""Figures: they draw what the frames say, texts stay in their places, files are the same every time."""

import hashlib
import itertools
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from scipy.stats import chi2

from analysis_lib.core.parameters import load_params
from analysis_lib.figures import style
from analysis_lib.figures.comparison import comparison_frame, paper_comparison
from analysis_lib.figures.components import pca_frame, pca_grid
from analysis_lib.figures.discrimination import auc_and_c_index
from analysis_lib.figures.flowchart import flowchart
from analysis_lib.figures.kaplan_meier import km_grid
from analysis_lib.figures.masks import masks_picture
from analysis_lib.figures.training import training_curves
from analysis_lib.results import added_value
from analysis_lib.results.incidence import CAUSES
from analysis_lib.results.risk_groups import RISK_GROUPS
from analysis_lib.results.separation import ellipses
from analysis_lib.results.table2 import GROUPS as SARCOPENIA_GROUPS

DEFINITIONS = ["PMA", "PMI", "PD", "SMI", "MA"]
GROUPS = ["No sarcopenia", "Sarcopenia"]


def km_frames(panels, empty=()):
    curves, at_risk, notes = [], [], []
    for p, panel in enumerate(panels):
        for g, group in enumerate(GROUPS):
            gone = panel in empty and g == 1
            label, n = f"{group}, events: 40 of {200 + p}", 0 if gone else 200 + p
            at_risk += [(panel, group, label, m, max(n - 3 * m, 0), min(2 * m, n), min(m, n)) for m in range(0, 61, 12)]
            if not gone:
                curves += [
                    (panel, group, float(m), 1 - 0.004 * m * (1 + g), 0.9 - 0.005 * m, 1.0, m % 3 == 0)
                    for m in range(61)
                ]
        notes.append((panel, f"{panel} of some author 2017", "HR 1.58 (1.07–2.35), log-rank P<0.001"))
    return (
        pd.DataFrame(curves, columns=["panel", "group", "month", "survival", "low", "high", "censored"]),
        pd.DataFrame(at_risk, columns=["panel", "group", "label", "month", "n", "n_censored", "n_events"]),
        pd.DataFrame(notes, columns=["panel", "title", "text"]),
    )


def flow_frame(sets):
    rows = []
    for k, label in enumerate(sets):
        rows += [
            (f"s{k}", "patients", f"{label}: eligible", 100 + k, None),
            (f"x{k}", "excluded", "Excluded", 3, f"s{k}"),
            (f"r{k}", "reason", "segment PM is missing in the mask file", 2, f"x{k}"),
            (f"q{k}", "reason", "CT unreadable", 1, f"x{k}"),
            (f"a{k}", "patients", "Analysed", 97 + k, f"s{k}"),
        ]
    rows += [("tr", "patients", "Training", 68, "a0"), ("in", "patients", "Internal test", 29, "a0")]
    rows += [("ct", "process", "Plain CT at L3, DICOM", None, None)]
    rows += [("mask", "process", "Masks of SM and PM", None, "ct")]
    rows += [("index", "process", "Five indices and definitions of sarcopenia", None, "mask")]
    rows += [("feature", "process", "Radiomics features", 1343, "mask")]
    rows += [("net", "process", "TFDeepSurv", None, "feature")]
    return pd.DataFrame(rows, columns=["node", "kind", "label", "n", "parent"])


def discrimination_frames():
    c_index, auc = [], []
    for s in ("train", "internal", "lt"):
        for m, model in enumerate(["TFDeepSurv", *DEFINITIONS]):
            value = np.nan if (s, model) == ("lt", "PD") else 0.7 - 0.03 * m
            c_index.append((s, model, value, value - 0.1, value + 0.1, 147, 30))
            auc += [(s, model, t, value, value - 0.1, value + 0.1) for t in range(6, 61, 6)]
    return (
        pd.DataFrame(auc, columns=["set", "model", "month", "auc", "low", "high"]),
        pd.DataFrame(c_index, columns=["set", "model", "c_index", "low", "high", "n", "events"]),
    )


def texts(fig: Figure) -> list[str]:
    found = [t.get_text() for t in fig.texts]
    for ax in fig.axes:
        found += [t.get_text() for t in ax.texts]
    for legend in fig.legends:
        found += [t.get_text() for t in legend.get_texts()]
    return found


def assert_no_text_leaves_the_figure(fig: Figure) -> None:
    fig.set_dpi(300)  # as it is saved; hinting makes text wider at fewer dots
    fig.canvas.draw()
    renderer = fig.canvas.get_renderer()
    frame = fig.bbox
    everything = list(fig.texts)
    for ax in fig.axes:
        everything += [t for t in ax.texts if t.get_visible()] + [ax.xaxis.label, ax.yaxis.label]
        for axis in (ax.xaxis, ax.yaxis) if ax.axison else ():
            low, high = sorted(axis.get_view_interval())
            shown = [t for t in axis.get_major_ticks() if low <= t.get_loc() <= high]
            everything += [t.label1 for t in shown if t.label1.get_visible()]
    for text in everything:
        if not text.get_text():
            continue
        box = text.get_window_extent(renderer)
        inside = box.x0 >= -0.5 and box.x1 <= frame.x1 + 0.5 and box.y0 >= -0.5 and box.y1 <= frame.y1 + 0.5
        assert inside, f"{text.get_text()!r} leaves the figure: {box}"


@pytest.mark.slow
def test_same_bytes_twice_and_in_another_process(tmp_path):
    """The hash seed orders sets, which the names of embedded font subsets once depended on."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[2])\n"
        "from test_plots import flow_frame\n"
        "from pathlib import Path\n"
        "from analysis_lib.figures import style, flowchart\n"
        "f = flow_frame(['Discovery', 'External']); fig = flowchart.flowchart(f)\n"
        "style.save_figure(fig, Path(sys.argv[1]), 'fig1', f, True)\n"
    )
    here = str(Path(__file__).parent)
    for folder, seed in (("a", "1"), ("b", "2")):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        subprocess.run([sys.executable, "-c", code, str(tmp_path / folder), here], check=True, env=environment)
    for suffix in ("png", "pdf", "csv"):
        one, other = (hashlib.sha256((tmp_path / x / f"fig1.{suffix}").read_bytes()).hexdigest() for x in "ab")
        assert one == other, suffix


def test_saving_twice_labels_once_and_closes(tmp_path):
    fig = style.new_figure(85, 40)
    frame = pd.DataFrame({"x": [0.1, 1 / 3], "name": ["a", "b"]})
    first = style.save_figure(fig, tmp_path, "one", frame, synthetic=True).read_bytes()
    assert texts(fig) == [style.SYNTHETIC_LABEL]
    assert style.save_figure(fig, tmp_path, "one", frame, synthetic=True).read_bytes() == first
    assert texts(fig) == [style.SYNTHETIC_LABEL]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one.csv", "one.pdf", "one.png"]
    style.save_figure(fig, tmp_path, "one", frame, synthetic=False)
    assert texts(fig) == []


def test_csv_is_the_frame_and_says_synthetic_only_when_it_is(tmp_path):
    frame = pd.DataFrame({"x": [0.1, 1 / 3, 1e-12], "n": [1, 2, 3], "name": ["a", "b, c", "ü"]})
    style.save_figure(style.new_figure(85, 40), tmp_path, "real", frame, synthetic=False)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "real.csv", float_precision="round_trip"), frame)
    style.save_figure(style.new_figure(85, 40), tmp_path, "made", frame, synthetic=True)
    again = pd.read_csv(tmp_path / "made.csv", float_precision="round_trip")
    assert list(again.columns) == [*frame.columns, "synthetic"]
    assert again["synthetic"].all()
    assert "synthetic" not in frame.columns


def test_several_frames_go_into_one_csv_by_part(tmp_path):
    curves, at_risk, notes = km_frames(["PMA"])
    parts = {"curves": curves, "at_risk": at_risk, "annotations": notes}
    style.save_figure(style.new_figure(85, 40), tmp_path, "km", parts, synthetic=False)
    again = pd.read_csv(tmp_path / "km.csv", dtype=str, keep_default_na=False)
    for name, part in parts.items():
        mine = again[again["part"] == name].reset_index(drop=True)
        for column in part.columns:
            assert list(mine[column]) == [str(v) for v in part[column].tolist()]


def test_pdf_embeds_truetype_and_png_has_300_dpi(tmp_path):
    from saved_pdf import sizes_and_images  # not above: another process imports this file too

    fig = flowchart(flow_frame(["Discovery"]))
    style.save_figure(fig, tmp_path, "f", pd.DataFrame({"x": [1]}), synthetic=True)
    pdf = (tmp_path / "f.pdf").read_bytes()
    assert b"/FontFile2" in pdf
    assert sizes_and_images(tmp_path / "f.pdf") == ({7.0, 7.5}, False)
    small = style.new_figure(40, 20)
    style.text_mm(small, 5, 5, "small", fontsize=5.0)
    style.axes_mm(small, 10, 5, 20, 10).plot([0, 1], [0, 1], rasterized=True)
    style.save_figure(small, tmp_path, "small", pd.DataFrame({"x": [1]}), synthetic=False)
    sizes, image = sizes_and_images(tmp_path / "small.pdf")
    assert min(sizes) == 5 and image  # which is how a fault would be seen
    assert b"/Type3" not in pdf and b"/CreationDate" not in pdf
    from PIL import Image

    with Image.open(tmp_path / "f.png") as image:
        assert round(image.info["dpi"][0]) == 300
        assert image.size[0] == int(style.TWO_COLUMNS_MM / 25.4 * 300)


@pytest.mark.parametrize(
    "sets",
    [
        ["Discovery"],
        ["Discovery, hepatectomy", "External test, hepatectomy", "External LT test, liver transplantation"],
        [f"Hospital {k} with an Unreasonablylongcompoundnamewithoutasingleblank" for k in range(7)],
    ],
)
def test_flowchart_texts_stay_in_their_boxes(sets):
    counts = flow_frame(sets)
    fig = flowchart(counts)
    fig.set_dpi(300)
    fig.canvas.draw()
    renderer = fig.canvas.get_renderer()
    (ax,) = fig.axes
    boxes = {p.get_gid()[4:]: p.get_window_extent(renderer) for p in ax.patches if p.get_gid()}
    labels = {t.get_gid()[5:]: t for t in ax.texts if t.get_gid()}
    assert set(boxes) == set(labels) == set(counts.loc[counts["kind"] != "reason", "node"])
    for node, label in labels.items():
        text, box = label.get_window_extent(renderer), boxes[node]
        assert box.x0 <= text.x0 and text.x1 <= box.x1, node
        assert box.y0 <= text.y0 and text.y1 <= box.y1, node
    for a in boxes:
        for b in boxes:
            if a < b:
                assert not boxes[a].overlaps(boxes[b]), (a, b)
        assert boxes[a].y0 > 0 and boxes[a].y1 < fig.bbox.y1
    printed = "".join("".join(texts(fig)).split()).replace("-", "")
    for row in counts.dropna(subset="n").itertuples():
        assert "".join(row.label.split()).replace("-", "") + f"(n={int(row.n)})" in printed


def test_flowchart_names_what_is_wrong():
    counts = flow_frame(["Discovery"])
    with pytest.raises(ValueError, match="lacks column"):
        flowchart(counts.drop(columns="kind"))
    with pytest.raises(ValueError, match="unknown kind"):
        flowchart(counts.replace("process", "proces"))
    with pytest.raises(ValueError, match="parent 'nobody'"):
        flowchart(counts.assign(parent=counts["parent"].replace("ct", "nobody")))
    with pytest.raises(ValueError, match="twice"):
        flowchart(pd.concat([counts, counts.iloc[:1]]))


@pytest.mark.parametrize(("panels", "columns"), [(DEFINITIONS, 3), (["Training", "Internal"], 2)])
def test_km_numbers_at_risk_stand_under_their_ticks(panels, columns):
    curves, at_risk, notes = km_frames(panels)
    fig = km_grid(curves, at_risk, notes, columns=columns)
    assert_no_text_leaves_the_figure(fig)
    assert len(fig.axes) == len(panels)
    for column in ("n", "n_censored", "n_events"):
        numbers = [t for t in fig.texts if t.get_gid() == column]
        assert [int(t.get_text()) for t in numbers] == at_risk[column].tolist()
    assert [t for t in texts(fig) if ", events: " in t] == at_risk["label"].iloc[::6].tolist()
    renderer = fig.canvas.get_renderer()
    ax = fig.axes[0]
    for tick, number in zip(ax.get_xticks(), numbers, strict=False):
        box = number.get_window_extent(renderer)
        assert ax.transData.transform((tick, 0))[0] == pytest.approx((box.x0 + box.x1) / 2, abs=1.5)
    for row in notes.itertuples():
        assert row.title in texts(fig) and row.text in texts(fig)


def test_km_lines_below_the_numbers_stand_clear_of_them_and_of_the_next_panels():
    curves, at_risk, notes = km_frames(DEFINITIONS)
    lines = [f"Near the cut-off in {name}" for name in DEFINITIONS]
    fig = km_grid(curves, at_risk, notes.assign(below=lines), columns=2)
    assert_no_text_leaves_the_figure(fig)
    renderer = fig.canvas.get_renderer()
    boxes = [t.get_window_extent(renderer) for t in fig.texts if t.get_text()]
    mine = [t.get_window_extent(renderer) for t in fig.texts if t.get_text() in lines]
    assert len(mine) == len(lines)
    assert not [1 for a in mine for b in boxes if a.bounds != b.bounds and a.overlaps(b)]
    without = km_grid(curves, at_risk, notes.assign(below=""), columns=2)
    plain = km_grid(curves, at_risk, notes, columns=2)
    assert without.get_figheight() == plain.get_figheight() < fig.get_figheight()


def test_km_draws_the_steps_of_the_frame():
    curves, at_risk, notes = km_frames(["PMA"])
    fig = km_grid(curves, at_risk, notes)
    lines = {line.get_label(): line for line in fig.axes[0].get_lines() if line.get_label() in GROUPS}
    assert lines["Sarcopenia"].get_color() == style.LOOKS["PMA"].colour
    for group in GROUPS:
        mine = curves[curves["group"] == group]
        np.testing.assert_array_equal(lines[group].get_xdata(), mine["month"])
        np.testing.assert_array_equal(lines[group].get_ydata(), mine["survival"])
        assert lines[group].get_drawstyle() == "steps-post"
    assert lines[GROUPS[0]].get_linestyle() != lines[GROUPS[1]].get_linestyle()
    ticks = [line for line in fig.axes[0].get_lines() if line.get_marker() == "|"]
    assert [len(t.get_xdata()) for t in ticks] == [int(curves["censored"].sum() / 2)] * 2


def test_km_names_the_level_of_its_intervals():
    for panels in (["PMA"], DEFINITIONS):  # the note stands above the panels, or in the free cell
        fig = km_grid(*km_frames(panels), confidence=0.9)
        assert "90% confidence interval" in " ".join(" ".join(texts(fig)).split())
        assert_no_text_leaves_the_figure(fig)


@pytest.mark.parametrize(("lowest", "start"), [(0.55, 0.5), (0.4, 0.4), (0.19, 0.0), (0.0, 0.0), (0.97, 0.9)])
def test_km_axis_is_broken_where_it_does_not_begin_at_0(lowest, start):
    """A curve that stays high takes the height, the break is marked and named, and no band is cut."""
    curves, at_risk, notes = km_frames(["PMA", "SMI"])
    curves = curves.assign(survival=1 - (1 - lowest) * curves["month"] / 60)
    fig = km_grid(curves.assign(low=curves["survival"]), at_risk, notes)
    for ax in fig.axes:
        bottom, top = ax.get_ylim()
        assert bottom == pytest.approx(start) and 1 <= top < 1.03
        assert len([line for line in ax.get_lines() if str(line.get_gid()).startswith("break")]) == (2 if start else 0)
    assert (f"Broken axis: it begins at {start:g}." in " ".join(" ".join(texts(fig)).split())) == bool(start)


def test_km_panel_without_patients_says_so_and_nothing_lies_on_the_bands():
    curves, at_risk, notes = km_frames(DEFINITIONS, empty=["PD"])
    notes["text"] = notes["text"].where(notes["panel"] != "PD", None)
    fig = km_grid(curves, at_risk, notes)
    said = [t.get_text() for t in fig.texts if t.get_text().startswith(("HR", "No patient"))]
    assert [("No patient in group ‘Sarcopenia’: NA" in text) for text in said] == [d == "PD" for d in DEFINITIONS]
    assert not [t for ax in fig.axes for t in ax.texts]


def test_pca_grid_shows_every_patient_and_the_separation():
    rng = np.random.default_rng(0)
    scores = pd.DataFrame(rng.normal(size=(40, 3)), columns=["PC1", "PC2", "PC3"])
    for name in DEFINITIONS:
        scores[name] = (scores["PC1"] > 0).astype(float)
    scores.loc[0, "PMA"] = np.nan
    separations = pd.DataFrame(
        {
            "definition": DEFINITIONS,
            "title": [f"{d} (Somebody et al. 2017)" for d in DEFINITIONS],
            "auc": [0.9, 0.8, np.nan, 0.7, 0.6],
            "low": 0.5,
            "high": 0.95,
        }
    )
    explained = pd.DataFrame({"component": ["PC1", "PC2", "PC3"], "fraction": [0.3, 0.2, 0.1]})
    fig = pca_grid(scores, separations, explained)
    assert_no_text_leaves_the_figure(fig)
    assert len(fig.axes) == 10
    assert [len(ax.collections) for ax in fig.axes] == [1] * 10  # no group lies on the other
    shown = [len(ax.collections[0].get_offsets()) for ax in fig.axes]
    assert shown == [39, 39] + [40] * 8
    drawn = fig.axes[2].collections[0].get_offsets()[:, 0]
    order = {tuple(pca_grid(scores, separations, seed=k).axes[2].collections[0].get_offsets()[:, 0]) for k in (0, 1, 1)}
    assert len(order) == 2 and tuple(drawn) in order
    assert sorted(drawn) == sorted(scores["PC1"]) and list(drawn) != scores["PC1"].tolist()
    shapes = ellipses(scores[["PC1", "PC2", "PC3"]], scores[DEFINITIONS].astype("boolean"))
    fig = pca_grid(scores, separations.assign(words="hardly apart"), explained, shapes)
    assert_no_text_leaves_the_figure(fig)
    row = shapes[(shapes["definition"] == "PMI") & (shapes["component"] == "PC2") & (shapes["sarcopenic"] == 1)].iloc[0]
    part = scores.loc[scores["PMI"] == 1, ["PC1", "PC2"]]
    curve = np.array(fig.axes[2].get_lines()[-1].get_data()).T - part.mean().to_numpy()
    distance = np.einsum("ij,jk,ik->i", curve, np.linalg.inv(part.cov()), curve)  # Mahalanobis' of every point
    np.testing.assert_allclose(distance, row["radius"] ** 2, rtol=1e-9)
    assert chi2.cdf(row["radius"] ** 2, 2) == pytest.approx(0.5)
    assert "hardly apart" in texts(fig)
    assert "AUC 0.90 (0.50–0.95)" in texts(fig) and "separation: NA" in texts(fig)
    assert fig.axes[1].get_xlabel() == "PC1 (30% of variance)"
    fig = pca_grid(scores, separations.assign(p_permutation=[0.0001, 0.02, np.nan, 0.5, 0.5]))
    assert_no_text_leaves_the_figure(fig)
    assert {"permutation P<0.001", "permutation P=0.02", "permutation NA"} <= set(texts(fig))
    twice = [separations.assign(patients=name, p_permutation=0.5) for name in ("all sets", "Discovery")]
    fig = pca_grid(scores, pd.concat(twice), explained)
    assert_no_text_leaves_the_figure(fig)
    assert {"AUC 0.90 (0.50–0.95)", "P=0.50 in all sets", "P=0.50 in Discovery", "separation: NA"} <= set(texts(fig))


def test_training_curves_draw_members_thin_and_mean_thick():
    step = np.arange(1, 30)
    autoencoder = pd.DataFrame({"step": step, "train_loss": 1 / step, "val_loss": 1.1 / step})
    members = [
        pd.DataFrame(
            {
                "network": name,
                "step": step,
                "train_loss": 4.0 - step / 100,
                "val_loss": 4.0,
                "train_c_index": np.where(step % 5 == 0, 0.6, np.nan),
                "val_c_index": np.nan,
            }
        )
        for name in (0, 1)
    ]
    members[1] = members[1].iloc[:20].assign(train_loss=3.0)
    members.append(members[0].assign(network="mean", train_loss=9.0))  # is no network
    fig = training_curves(autoencoder, pd.concat(members))
    assert_no_text_leaves_the_figure(fig)
    lines = [[line for line in ax.get_lines() if line.get_marker() == "None"] for ax in fig.axes]
    assert [len(found) for found in lines] == [2, 6, 4]
    widths = sorted(line.get_linewidth() for line in lines[1])
    assert widths[0] == widths[3] < widths[4] == widths[5]
    stops = [line.get_xdata()[0] for line in fig.axes[1].get_lines() if line.get_markersize() == 2.0]
    assert stops == [29, 20, 29, 20]
    rings = [line.get_xdata()[0] for line in fig.axes[1].get_lines() if line.get_markerfacecolor() == "white"]
    assert len(rings) == 2
    mean = lines[1][2]
    np.testing.assert_array_equal(mean.get_xdata(), step[:20])
    np.testing.assert_allclose(mean.get_ydata(), (4.0 - step[:20] / 100 + 3.0) / 2)
    assert len(lines[2][0].get_xdata()) == int((step % 5 == 0).sum())


def test_auc_and_c_index_rows_and_na():
    auc, c_index = discrimination_frames()
    fig = auc_and_c_index(auc, c_index, ["internal", "lt"], {"internal": "Internal test"})
    assert_no_text_leaves_the_figure(fig)
    assert len(fig.axes) == 4
    assert [t for t in texts(fig) if t in "abcdef"] == ["a", "b", "c", "d"]
    assert not fig.legends  # each line is named at its end instead
    ends = fig.axes[2].texts
    assert {t.get_text() for t in ends} == {"TFDeepSurv", *DEFINITIONS} - {"PD"}
    heights = sorted(t.get_window_extent().y0 for t in ends)
    assert min(np.diff(heights)) > 0.9 * ends[0].get_window_extent().height
    right = [t.get_text() for t in fig.axes[3].texts]
    assert right[0] == "0.700 (0.600–0.800)" and right[3] == "NA"
    assert "Internal test (n = 147, 30 deaths)" in texts(fig)
    with pytest.raises(ValueError, match="no C-index for set"):
        auc_and_c_index(auc, c_index, ["extrenal"], {})


def test_paper_comparison_marks_what_lies_outside_and_survives_endless_intervals():
    frame = pd.DataFrame(
        [
            ("Hazard ratio, OS", "Discovery", "PMA", "i1", 1.58, 1.07, 2.35, 1.5, 1.0, 2.2, True),
            ("Hazard ratio, OS", "Discovery", "PD", "i2", 5.47, 1.25, 23.92, 1e7, 0.0, np.inf, True),
            ("Hazard ratio, OS", "External", "PD", "i3", np.nan, np.nan, np.nan, np.nan, np.nan, np.nan, None),
            ("Prevalence, %", "External", "PD", "i4", 0.0, np.nan, np.nan, 1.0, 0.0, 2.0, True),
            ("C-index", "Internal", "TFDeepSurv", "i5", 0.73, 0.707, 0.753, 0.6, 0.5, 0.7, False),
        ],
        columns=[
            "group",
            "set",
            "label",
            "item",
            "published",
            "published_low",
            "published_high",
            "ours",
            "low",
            "high",
            "inside",
        ],
    )
    fig = paper_comparison(frame)
    assert_no_text_leaves_the_figure(fig)
    hr, prevalence, c_index = fig.axes
    assert hr.get_xscale() == "log" and hr.get_xlim()[1] <= 50
    assert [t.get_text() for t in hr.texts] == ["NA"]
    assert prevalence.get_xlabel() == "Prevalence, %"
    assert [t.get_text() for t in hr.get_yticklabels()] == ["Discovery", "PMA", "PD", "External", "PD"]
    assert [t.get_text() for t in c_index.get_yticklabels()] == ["Internal"]  # the only row of its set
    assert [line.get_marker() for line in c_index.get_lines()] == ["o", "s"]
    ends = [tuple(c.get_segments()[0][:, 0]) for c in c_index.collections if len(c.get_segments())]
    assert ends == [(0.5, 0.7), (0.707, 0.753)]  # ours, and the letter's own below it
    beyond = [line for line in hr.get_lines() if line.get_marker() in "<>" and len(line.get_xdata())]
    assert [(line.get_marker(), *line.get_xdata()) for line in beyond] == [("<", 0.05), (">", 50.0)]


def test_comparison_frame_takes_the_items_with_an_interval():
    rows = [
        ("discovery", "", "", "age", "mean", "i1"),
        ("discovery", "PMA", "", "sarcopenic", "n", "i2"),
        ("discovery", "PMA", "", "sarcopenic", "%", "i3"),
        ("discovery", "PMA", "OS", "HR", "estimate", "i4"),
        ("discovery", "PMA", "RFS", "HR", "estimate", "i8"),
        ("discovery", "PMA", "OS", "HR", "low", "i5"),
        ("discovery", "PMA", "OS", "HR", "high", "i9"),
        ("internal", "TFDeepSurv", "", "C-index", "estimate", "i6"),
        ("internal", "TFDeepSurv", "", "C-index", "high", "i7"),
    ]
    comparison = pd.DataFrame(rows, columns=["set", "marker", "outcome", "quantity", "statistic", "item"])
    comparison = comparison.assign(published=np.arange(len(rows)), ours=1.0, low=0.5, high=2.0, difference=0.0)
    comparison["inside"] = True
    frame = comparison_frame(comparison, {"discovery": "Discovery"})
    assert frame["item"].tolist() == ["i4", "i8", "i3", "i6"]  # OS first
    assert frame["set"].tolist() == ["Discovery"] * 3 + ["internal"]
    assert frame.loc[0, ["published", "published_low", "published_high"]].tolist() == [3, 5, 6]
    assert frame["published_low"].notna().tolist() == [True, False, False, False]
    assert len(paper_comparison(frame).axes) == 4


def test_pca_frame_joins_verdicts_and_keeps_the_unknown():
    scores = pd.DataFrame({"PC1": [0.1, 0.2, 0.3], "PC2": 0.0}, index=["b", "a", "c"])
    groups = pd.DataFrame({"PMA": [True, False, None]}, index=["a", "b", "c"])
    frame = pca_frame(scores, groups)
    assert frame["patient_id"].tolist() == ["b", "a", "c"]
    assert frame["PMA"].fillna(-1).tolist() == [0, 1, -1]


def test_masks_picture_keeps_the_true_proportions():
    hu = np.full((100, 80), -1000.0)
    hu[30:70, 20:60] = 40
    sm = hu > 0
    pm = np.zeros_like(sm)
    fig = masks_picture([("P001", hu, sm, pm, (0.7, 0.9)), ("P002", hu, sm, sm, (0.8, 0.6))])
    assert_no_text_leaves_the_figure(fig)
    assert len(fig.axes) == 4
    box = fig.axes[0].get_images()[0].get_extent()
    assert box == pytest.approx((-36, 36, 35, -35))
    assert fig.axes[0].get_images()[0].get_clim() == (-160, 240)
    for ax in fig.axes:
        assert {"R", "L", "5 cm"} <= {t.get_text() for t in ax.texts}
        width, height = ax.get_window_extent().width, ax.get_window_extent().height
        x, y = ax.get_xlim(), ax.get_ylim()
        assert width / height == pytest.approx((x[1] - x[0]) / (y[0] - y[1]), rel=1e-3)
    with pytest.raises(ValueError, match="not on one grid"):
        masks_picture([("P001", hu, sm.T, pm, (1, 1))])


COMPARATORS = [name for name in list(style.LOOKS)[6:] if list(style.LOOKS).index(name) <= 17]
TOGETHER = {  # what one panel may hold
    "fig5": ["TFDeepSurv", *DEFINITIONS],
    "fig5_models": ["TFDeepSurv", *COMPARATORS],
    "decision curves": [*(m for m in added_value.MODELS if m != "Best definition"), *DEFINITIONS, "all", "none"],
    "validation": ["TFDeepSurv", *DEFINITIONS, "Clinical", "all", "none"],
    "own definitions": ["TFDeepSurv", *DEFINITIONS, *"ABCDE"],
    **{f"sarcopenia by {name}": [name, "No sarcopenia"] for name in [*DEFINITIONS, "A"]},
    "risk groups": ["Low risk", "High risk"],
    "training": ["Training", "Validation"],
    "causes": ["Recurrence", "Death without recurrence"],
}
# Machado 2009 (10.1109/TVCG.2009.113), severity 1, of linear RGB; grey is the lightness alone.
SEEN = {
    "everybody": np.eye(3),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
}
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def lab(colour: str, eye: np.ndarray) -> np.ndarray:
    """CIE L*a*b* of a colour as an eye sees it."""
    rgb = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)]) / 255
    linear = np.clip(eye @ np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4), 0, 1)
    white = XYZ @ linear / (XYZ @ np.ones(3))
    root = np.where(white > 0.008856, np.cbrt(white), 7.787 * white + 16 / 116)
    return np.array([116 * root[1] - 16, 500 * (root[0] - root[1]), 200 * (root[1] - root[2])])


def told_apart(one: str, other: str) -> bool:
    """Whether every eye, and a copy in grey, shows two colours as two."""
    apart = [np.linalg.norm(lab(one, eye) - lab(other, eye)) for eye in SEEN.values()]
    return min(*apart, abs(lab(one, np.eye(3))[0] - lab(other, np.eye(3))[0])) > 15


@pytest.mark.parametrize("panel", TOGETHER)
def test_lines_of_one_panel_differ_in_dashes_or_for_every_eye(panel):
    look_of = style.looks(TOGETHER[panel])
    assert list(look_of) == sorted(look_of, key=[*style.LOOKS, *look_of].index)  # the order of all figures
    for one, other in itertools.combinations(look_of, 2):
        a, b = look_of[one], look_of[other]
        assert a.dashes != b.dashes or told_apart(a.colour, b.colour), (one, other)


def test_told_apart_knows_what_a_colour_blind_eye_confuses():
    assert told_apart("#000000", "#8C8C8C") and not told_apart("#FF0000", "#FE0000")
    red, green = "#B23A00", "#557000"
    assert np.linalg.norm(lab(red, np.eye(3)) - lab(green, np.eye(3))) > 40 and not told_apart(red, green)


def test_what_models_are_compared_with_is_grey_and_definitions_have_colours():
    def grey(name):
        return len({style.LOOKS[name].colour[k : k + 2] for k in (1, 3, 5)}) == 1

    assert [name for name in COMPARATORS if not grey(name)] == ["Cox clinical + risk"]
    assert not any(map(grey, ["TFDeepSurv", *DEFINITIONS, "Clinical + TFDeepSurv"]))
    assert len({style.LOOKS[name].colour for name in ("TFDeepSurv", *DEFINITIONS)}) == 6
    assert all(len({(look.dashes, look.marker) for look in style.looks(names).values()}) == len(names)
               for names in (["TFDeepSurv", *COMPARATORS], ["TFDeepSurv", *DEFINITIONS]))  # fmt: skip


def test_every_model_and_definition_of_a_study_has_its_look():
    page = (Path(__file__).parents[2] / "docs" / "architecture.md").read_text(encoding="utf-8")
    (row,) = re.findall(r"\| `comparators.csv` \| `patient_id, set, (.*?)`", page)  # which a test holds to the code
    wanted = {*load_params("standin").definitions, *row.split(", "), *added_value.MODELS, "all", "none"}
    wanted |= {*CAUSES.values(), *SARCOPENIA_GROUPS.values(), *RISK_GROUPS.values()}
    assert wanted <= set(style.LOOKS)


@pytest.mark.parametrize("places", [[0.0, 0.1, 0.2], [5, 5, 5, 5], [40, 40.5, 41], [1, 20, 21, 39], list(range(14))])
def test_spread_keeps_names_apart_in_order_and_inside(places):
    found = np.array(style.spread(places, 3.0, 42.0))
    assert (np.diff(found) >= 3 - 1e-9).all() and found[0] >= 0 and found[-1] <= 42 + 1e-9
    assert style.spread([1.0, 20.0, 39.0], 3.0, 42.0) == [1.0, 20.0, 39.0]


def test_a_text_without_room_is_cut_and_not_set_smaller_than_it_can_be_read():
    fig = style.new_figure(80, 20)
    long = "External test, a hospital of a very long name"
    title = style.text_mm(fig, 1, 1, long, room=30, fontsize=9)
    assert title.get_fontsize() == style.SMALL_PT and title.get_text().endswith("…")
    assert 25 < style.text_width_mm(title.get_text(), style.SMALL_PT) <= 30
    fitting = style.text_mm(fig, 1, 1, "External", room=30, fontsize=9)
    assert (fitting.get_text(), fitting.get_fontsize()) == ("External", 9)


def test_wrap_breaks_only_what_is_too_wide():
    assert style.wrap_mm("one two", 100, 7) == ["one two"]
    lines = style.wrap_mm("Excluded (n\u00a0=\u00a012) Incomprehensibilities", 15, 7)
    assert all(style.text_width_mm(line, 7) <= 15 for line in lines)
    assert "".join(lines).replace("-", "").replace(" ", "").endswith("Incomprehensibilities")
