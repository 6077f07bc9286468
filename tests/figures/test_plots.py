"""Figures: they draw what the frames say, texts stay in their places, files are the same every time."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from analysis_lib.figures import style
from analysis_lib.figures.comparison import comparison_frame, paper_comparison
from analysis_lib.figures.components import pca_frame, pca_grid
from analysis_lib.figures.discrimination import auc_and_c_index
from analysis_lib.figures.flowchart import flowchart
from analysis_lib.figures.kaplan_meier import km_grid
from analysis_lib.figures.masks import masks_picture
from analysis_lib.figures.training import training_curves

DEFINITIONS = ["PMA", "PMI", "PD", "SMI", "MA"]
GROUPS = ["No sarcopenia", "Sarcopenia"]


def km_frames(panels, empty=()):
    curves, at_risk, notes = [], [], []
    for p, panel in enumerate(panels):
        for g, group in enumerate(GROUPS):
            gone = panel in empty and g == 1
            at_risk += [(panel, group, m, 0 if gone else 200 - 3 * m + p) for m in (0, 12, 24, 36, 48, 60)]
            if not gone:
                curves += [
                    (panel, group, float(m), 1 - 0.004 * m * (1 + g), 0.9 - 0.005 * m, 1.0, m % 3 == 0)
                    for m in range(61)
                ]
        notes.append((panel, f"{panel} of some author 2017", "HR 1.58 (1.07–2.35)\nlog-rank P<0.001"))
    return (
        pd.DataFrame(curves, columns=["panel", "group", "month", "survival", "low", "high", "censored"]),
        pd.DataFrame(at_risk, columns=["panel", "group", "month", "n"]),
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
    fig = flowchart(flow_frame(["Discovery"]))
    style.save_figure(fig, tmp_path, "f", pd.DataFrame({"x": [1]}), synthetic=True)
    pdf = (tmp_path / "f.pdf").read_bytes()
    assert b"/FontFile2" in pdf
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
    numbers = [t for t in fig.texts if t.get_gid() == "at-risk"]
    assert [int(t.get_text()) for t in numbers] == at_risk["n"].tolist()
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


def test_km_panel_without_patients_says_so():
    curves, at_risk, notes = km_frames(DEFINITIONS, empty=["PD"])
    notes["text"] = notes["text"].where(notes["panel"] != "PD", None)
    fig = km_grid(curves, at_risk, notes, empty_text="No patient below the cut-off: NA")
    said = [t.get_text() for ax in fig.axes for t in ax.texts]
    assert [("NA" in text) for text in said] == [panel == "PD" for panel in DEFINITIONS]
    assert said[2] == "No patient below the cut-off: NA"


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
    shown = [sum(len(c.get_offsets()) for c in ax.collections) for ax in fig.axes]
    assert shown == [39, 39] + [40] * 8
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
    fig = training_curves(autoencoder, pd.concat(members))
    assert_no_text_leaves_the_figure(fig)
    assert [len(ax.get_lines()) for ax in fig.axes] == [2, 6, 4]
    widths = sorted(line.get_linewidth() for line in fig.axes[1].get_lines())
    assert widths[0] == widths[3] < widths[4] == widths[5]
    mean = fig.axes[1].get_lines()[2]
    np.testing.assert_array_equal(mean.get_xdata(), step[:20])
    np.testing.assert_allclose(mean.get_ydata(), (4.0 - step[:20] / 100 + 3.0) / 2)
    assert len(fig.axes[2].get_lines()[0].get_xdata()) == int((step % 5 == 0).sum())


def test_auc_and_c_index_rows_and_na():
    auc, c_index = discrimination_frames()
    fig = auc_and_c_index(auc, c_index, ["internal", "lt"], {"internal": "Internal test"})
    assert_no_text_leaves_the_figure(fig)
    assert len(fig.axes) == 4
    assert [t for t in texts(fig) if t in "abcdef"] == ["a", "b", "c", "d"]
    right = [t.get_text() for t in fig.axes[3].texts]
    assert right[0] == "0.700 (0.600–0.800)" and right[3] == "NA"
    assert "Internal test (n = 147, 30 deaths)" in texts(fig)
    with pytest.raises(ValueError, match="no C-index for set"):
        auc_and_c_index(auc, c_index, ["extrenal"], {})


def test_paper_comparison_marks_what_lies_outside_and_survives_endless_intervals():
    frame = pd.DataFrame(
        [
            ("Hazard ratio", "Discovery OS, PMA", 1.58, 1.5, 1.0, 2.2, True),
            ("Hazard ratio", "LT OS, PD", 5.47, 1e7, 0.0, np.inf, True),
            ("Hazard ratio", "External OS, PD", np.nan, np.nan, np.nan, np.nan, None),
            ("Prevalence, %", "External, PD", 0.0, 1.0, 0.0, 2.0, True),
            ("C-index", "Internal", 0.73, 0.6, 0.5, 0.7, False),
        ],
        columns=["group", "item", "published", "ours", "low", "high", "inside"],
    )
    fig = paper_comparison(frame)
    assert_no_text_leaves_the_figure(fig)
    hr, prevalence, c_index = fig.axes
    assert hr.get_xscale() == "log" and hr.get_xlim()[1] <= 50
    assert [t.get_text() for t in hr.texts] == ["NA"]
    assert prevalence.get_xlabel() == "Prevalence, %"
    assert [t.get_text() for t in hr.get_yticklabels()] == frame["item"].tolist()[:3]
    assert [line.get_marker() for line in c_index.get_lines()] == ["o", "s"]
    beyond = [line for line in hr.get_lines() if line.get_marker() in "<>" and len(line.get_xdata())]
    assert [(line.get_marker(), *line.get_xdata()) for line in beyond] == [("<", 0.05), (">", 50.0)]


def test_comparison_frame_takes_the_items_with_an_interval():
    rows = [
        ("discovery", "", "", "age", "mean", "i1"),
        ("discovery", "PMA", "", "sarcopenic", "n", "i2"),
        ("discovery", "PMA", "", "sarcopenic", "%", "i3"),
        ("discovery", "PMA", "OS", "HR", "estimate", "i4"),
        ("discovery", "PMA", "OS", "HR", "low", "i5"),
        ("internal", "TFDeepSurv", "", "C-index", "estimate", "i6"),
        ("internal", "TFDeepSurv", "", "C-index", "high", "i7"),
    ]
    comparison = pd.DataFrame(rows, columns=["set", "marker", "outcome", "quantity", "statistic", "item"])
    comparison = comparison.assign(published=1.0, ours=1.0, low=0.5, high=2.0, difference=0.0)
    comparison["inside"] = True
    frame = comparison_frame(comparison, {"discovery": "Discovery"})
    assert frame["item"].tolist() == ["i4", "i3", "i6"]
    assert frame["label"].tolist() == ["Discovery, PMA OS", "Discovery, PMA", "internal, TFDeepSurv"]
    assert len(paper_comparison(frame).axes) == 3


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


def test_wrap_breaks_only_what_is_too_wide():
    assert style.wrap_mm("one two", 100, 7) == ["one two"]
    lines = style.wrap_mm("Excluded (n\u00a0=\u00a012) Incomprehensibilities", 15, 7)
    assert all(style.text_width_mm(line, 7) <= 15 for line in lines)
    assert "".join(lines).replace("-", "").replace(" ", "").endswith("Incomprehensibilities")
