"""Areas and densities against numpy on known arrays and against the real CT's published truth."""

import json
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pydicom
import pytest
import SimpleITK as sitk
from conftest import write_seg
from hypothesis import given
from hypothesis import strategies as st

from analysis_lib.common.sarcopenia import add_height_indices, sarcopenic
from analysis_lib.core.parameters import load_params
from analysis_lib.ct.ct import read_ct
from analysis_lib.ct.geometry import ImageError
from analysis_lib.ct.indices import MEASURES, area_and_density, measure
from analysis_lib.ct.settings import HuWindow
from analysis_lib.ui.command_line import main

PARAMS = load_params("defaults")
PIXEL_CM2 = 0.8 * 0.7 / 100


def test_measure_equals_numpy(patient):
    ct, mask, hounsfield, sm, pm, _ = patient
    row = measure(ct, mask, PARAMS.images)
    inside = hounsfield[sm & (hounsfield >= -29) & (hounsfield <= 150)]
    assert row["sm_area_cm2"] == pytest.approx(inside.size * PIXEL_CM2, rel=1e-12)
    assert row["sm_mean_hu"] == pytest.approx(inside.mean(), rel=1e-12)
    assert row["pm_area_cm2"] == pytest.approx(pm.sum() * PIXEL_CM2, rel=1e-12)
    assert row["pm_mean_hu"] == pytest.approx(hounsfield[pm].mean(), rel=1e-12)
    assert row["sm_slices"] == [3]
    assert row["slices_z_mm"] == [-85.0]


@pytest.mark.parametrize("file", ["DICOM", "NIfTI"])
def test_a_ct_of_l3_alone_gives_the_indices_of_the_whole_series(patient, tmp_path, file):
    ct, mask, hounsfield, sm, pm, geometry = patient
    whole = measure(ct, mask, PARAMS.images)
    for path in ct.iterdir():
        if pydicom.dcmread(path).ImagePositionPatient[2] != -85:
            path.unlink()
    if file == "NIfTI":
        sitk.WriteImage(read_ct(ct).image(), str(tmp_path / "ct.nii.gz"))
        ct = tmp_path / "ct.nii.gz"
    # As drawn on the series, as 3D Slicer saves it where the slice's extent is not known, and on thinner slices.
    alone = replace(geometry, size=(*geometry.size[:2], 1), origin=(*geometry.origin[:2], -85.0))
    for name, grid in (
        ("alone", alone),
        ("of 1 mm", replace(alone, spacing=(*geometry.spacing[:2], 1.0))),
        ("thin", replace(alone, size=(*alone.size[:2], 3), spacing=(*geometry.spacing[:2], 2.5))),
    ):
        layers = [np.concatenate([m[3:4], np.zeros((grid.size[2] - 1, *m.shape[1:]), bool)]) for m in (sm, pm)]
        write_seg(tmp_path / f"{name}.seg.nrrd", dict(zip(("SM", "PM"), layers, strict=True)), grid)
        row = measure(ct, tmp_path / f"{name}.seg.nrrd", PARAMS.images)
        assert [row[key] for key in MEASURES] == pytest.approx([whole[key] for key in MEASURES], rel=1e-6), name
        assert row["n_slices"] == 1 and row["slices_z_mm"] == [-85.0]
    assert measure(ct, mask, PARAMS.images)["sm_area_cm2"] == pytest.approx(whole["sm_area_cm2"], rel=1e-6)
    elsewhere = replace(alone, origin=(*alone.origin[:2], -84.0))
    write_seg(tmp_path / "elsewhere.seg.nrrd", {"SM": sm[3:4], "PM": pm[3:4]}, elsewhere)
    with pytest.raises(ImageError, match="off by up to 1.00 mm in z"):
        measure(ct, tmp_path / "elsewhere.seg.nrrd", PARAMS.images)


def test_real_ct_agrees_with_its_truth(real_ct):
    truth = json.loads((real_ct / "masks" / "truth.json").read_text())["slices"][0]
    row = measure(real_ct / "ct", real_ct / "masks" / "muscle.seg.nrrd", PARAMS.images)
    for muscle in ("sm", "pm"):
        assert row[f"{muscle}_area_cm2"] == pytest.approx(truth[muscle.upper()]["area_cm2"], rel=1e-6)
        assert row[f"{muscle}_mean_hu"] == pytest.approx(truth[muscle.upper()]["mean_hu"], rel=1e-6)
    assert row["sm_slices"] == [truth["slice_index"]]


def test_real_ct_on_two_slices_gives_the_mean_area(real_ct):
    truth = json.loads((real_ct / "masks-two-slices" / "truth.json").read_text())["combined"]
    row = measure(real_ct / "ct", real_ct / "masks-two-slices" / "muscle.seg.nrrd", PARAMS.images)
    assert row["sm_area_cm2"] == pytest.approx(truth["SM"]["mean_of_slice_areas_cm2"], rel=1e-6)
    assert row["pm_mean_hu"] == pytest.approx(truth["PM"]["mean_hu_all_voxels"], rel=1e-6)


@given(st.integers(-200, 100), st.integers(1, 300))
def test_a_wider_window_never_counts_less(low, width):
    hounsfield = np.arange(-200, 400).reshape(1, 20, 30)
    mask = np.ones_like(hounsfield, bool)
    narrow = area_and_density(hounsfield, mask, 0.01, HuWindow(low=low, high=low + width))[0]
    wide = area_and_density(hounsfield, mask, 0.01, HuWindow(low=low - 5, high=low + width + 5))[0]
    assert narrow <= wide <= area_and_density(hounsfield, mask, 0.01, None)[0]


def test_nothing_in_the_window_and_tiny_masks_are_refused(patient):
    ct, mask, hounsfield, sm, *_ = patient
    with pytest.raises(ImageError, match="no pixel of the mask"):
        area_and_density(hounsfield[3:4], sm[3:4], 0.01, HuWindow(low=900, high=901))
    strict = PARAMS.images.model_copy(update={"min_mask_pixels": 100})
    with pytest.raises(ImageError, match="only 84 pixels"):
        measure(ct, mask, strict)


def test_verdicts_at_and_beside_the_cut_off():
    table = pd.DataFrame(
        {
            "sex": ["M", "M", "F", "F", None, "M"],
            "height_m": [2.0, 2.0, 1.0, 1.0, 2.0, np.nan],
            "sm_area_cm2": [200.0, 199.99, 39.0, 38.99, 1.0, 1.0],
            "pm_area_cm2": 10.0,
        }
    )
    table = add_height_indices(table)
    assert sarcopenic(table, PARAMS.definitions["SMI"]).tolist() == [False, True, False, True, pd.NA, pd.NA]


def run_cli(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "analysis_lib", "indices", *map(str, arguments)],
        capture_output=True,
        text=True,
    )


def test_command_line_json(patient):
    ct, mask, hounsfield, sm, _, _ = patient
    result = run_cli("--ct", ct, "--mask", mask, "--sex", "M", "--height-m", 1.72, "--json", "--sm-hu", -50, 100)
    assert result.returncode == 0, result.stderr
    values = json.loads(result.stdout)
    inside = hounsfield[sm & (hounsfield >= -50) & (hounsfield <= 100)]
    assert values["sm_area_cm2"] == pytest.approx(inside.size * PIXEL_CM2)
    assert values["smi"] == pytest.approx(inside.size * PIXEL_CM2 / 1.72**2)
    assert set(values["definitions"]) == {"PMA", "PMI", "PD", "SMI", "MA"}
    assert values["definitions"]["SMI"]["sarcopenic"] is True


def test_command_line_without_sex_and_height_gives_what_it_can(patient, capsys):
    pair = ["indices", "--ct", str(patient[0]), "--mask", str(patient[1])]
    assert main([*pair, "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["smi"] is None
    assert values["pm_area_cm2"] > 0
    verdicts = {name: d["sarcopenic"] for name, d in values["definitions"].items()}
    below = values["pm_mean_hu"] < 38.5  # of men and of women alike
    assert verdicts == {"PMA": None, "PMI": None, "PD": below, "SMI": None, "MA": None}
    assert main(pair) == 0
    shown = capsys.readouterr().out
    assert re.search("PMA .* needs --sex\n", shown) and re.search("SMI .* needs --sex and --height-m\n", shown)
    assert re.search(f"PD .* {'' if below else 'not '}sarcopenic \\(below 38.5 HU\\)", shown)


def test_an_index_added_as_the_contributing_page_says_has_its_verdict(patient, monkeypatch, capsys):
    """A new column of add_height_indices, a definition on it, and the command that shows them."""
    from analysis_lib.common import sarcopenia
    from analysis_lib.core.project import Project
    from analysis_lib.ui import command_line as command

    added = sarcopenia.add_height_indices
    monkeypatch.setattr(
        sarcopenia, "add_height_indices", lambda t: added(t).assign(pm_to_sm=t["pm_area_cm2"] / t["sm_area_cm2"])
    )
    share = PARAMS.definitions["SMI"].model_copy(update={"column": "pm_to_sm", "men": 0.9, "women": 0.8, "unit": ""})
    params = PARAMS.model_copy(update={"definitions": {"Share": share}})
    monkeypatch.setattr(Project, "params", lambda project, name: params)
    pair = ["indices", "--ct", str(patient[0]), "--mask", str(patient[1])]
    assert command.main([*pair, "--sex", "M"]) == 0
    shown = capsys.readouterr().out
    assert "pm_to_sm" in shown and re.search(r"Share .* sarcopenic \(below 0.9 \)", shown)
    assert command.main(pair) == 0
    assert re.search("Share .* needs --sex", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--height-m", "172"], "give metres"),
        (["--sm-hu", "150", "-29"], "low end must come first"),
        (["--sm-hu", "nan", "150"], "--sm-hu nan 150: give two numbers"),
        (["--pm-hu", "-29", "inf"], "--pm-hu -29 inf: give two numbers"),
        (["--study", "standinn"], "did you mean 'standin'"),
    ],
)
def test_command_line_errors_are_one_line(patient, capsys, change, message):
    assert main(["indices", "--ct", str(patient[0]), "--mask", str(patient[1]), *change]) == 2
    out, error = capsys.readouterr()
    assert message in error and len(error.splitlines()) == 1 and out == ""


def test_the_command_exits_with_the_status_and_one_line(patient):
    result = run_cli("--ct", patient[0], "--mask", patient[1], "--height-m", 172)
    assert result.returncode == 2 and result.stdout == ""
    assert "give metres" in result.stderr and len(result.stderr.splitlines()) == 1
