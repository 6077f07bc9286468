"""Well-formed files that hold something else than a CT with its muscles: refused, or noted without a number."""

import gzip
import json
import struct
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from conftest import write_seg, write_series
from test_mask_faults import Case

from analysis_lib.cohort.clinical import EXCLUSION_COLUMNS
from analysis_lib.core.parameters import load_params
from analysis_lib.ct.ct import read_ct
from analysis_lib.ct.geometry import Geometry, ImageError
from analysis_lib.ct.indices import MEASURES, measure
from analysis_lib.ui.command_line import main

IMAGES = load_params("defaults").images
GRID = Geometry((50, 40, 6), (-20.0, -30.0, -100.0), (0.7, 0.8, 5.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
PIXEL_CM2 = 0.8 * 0.7 / 100


def body() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """HU (z, y, x) of a body in air with fat, muscle, psoas and bone, and SM and PM on slice 3."""
    rng = np.random.default_rng(4)
    y, x = np.mgrid[:40, :50]
    far = np.hypot((y - 19.5) / 18, (x - 24.5) / 22)
    psoas = np.hypot(y - 24, np.abs(x - 24.5) - 8) <= 4
    muscle, bone = ((far <= 0.85) & (far > 0.6)) | psoas, np.hypot(y - 26, x - 24.5) <= 3
    one = np.select([bone, psoas, muscle, far <= 1], [400.0, 55.0, 48.0, -100.0], -1000.0)
    hu = np.stack([np.rint(one + rng.normal(0, 10, one.shape)) for _ in range(6)])
    hu[:, far > 1] = -1000
    sm, pm = np.zeros(hu.shape, bool), np.zeros(hu.shape, bool)
    sm[3], pm[3] = muscle & ~bone, psoas & ~bone
    return hu, sm, pm


HU, SM, PM = body()
NOISE = np.random.default_rng(6).normal(0, 10, HU.shape)
NORMAL = {  # what converters and normalisation make of HU
    "z-scores": (HU - HU.mean()) / HU.std(),
    "0 to 1": (np.clip(HU, -1000, 1000) + 1000) / 2000,
    "-1 to 1": np.clip(HU, -1000, 1000) / 1000,
    "thousandths": HU / 1000,
    "tenths": HU / 10,
    "effective atomic number": np.where(HU > -500, 7.4 + HU / 1000, 0),
    "iodine in mg/ml": np.clip(HU / 30, 0, None),
}
DOUBTFUL = {
    "8 bits of a window": np.rint((np.clip(HU, -160, 240) + 160) / 400 * 255),
    "stored values": HU + 1024,
    "MR": np.clip(HU + 1000, 0, None) * 0.6,
    "half": np.where(HU < -900, HU + NOISE, HU) / 2,
    "inverted": -HU,
}
RIGHT = {
    "HU": HU,
    "cut at a window": np.clip(HU, -160, 240),
    "cut below and above": np.clip(HU, -1024, 300),
    "air of an old scanner": np.where(HU < -900, -1024, HU),
    "of the body alone": np.where(HU < -900, -100, HU),
    "enhanced": np.where(SM | PM, HU + 40, HU),
    "fatty": np.where(SM | PM, HU - 40, HU),
}


def files(folder: Path, values: np.ndarray, masks: dict[str, np.ndarray], grid: Geometry = GRID) -> tuple[Path, Path]:
    sitk.WriteImage(grid.image_of(values.astype(np.float32)), str(folder / "ct.nii.gz"))
    write_seg(folder / "m.seg.nrrd", masks, grid)
    return folder / "ct.nii.gz", folder / "m.seg.nrrd"


@pytest.mark.parametrize("masks", [("sm", "pm"), ("sm",), ("pm",)])
@pytest.mark.parametrize("name", NORMAL)
def test_values_of_another_range_are_refused(tmp_path, name, masks):
    drawn = {key.upper(): {"sm": SM, "pm": PM}[key] for key in masks}
    with pytest.raises(ImageError, match=r"the values of the CT are no HU: .* lie between .*export the original CT"):
        measure(*files(tmp_path, NORMAL[name], drawn), IMAGES, need_sm=False)


@pytest.mark.parametrize("name", DOUBTFUL)
def test_values_in_doubt_have_a_note_and_no_number(tmp_path, name):
    row = measure(*files(tmp_path, DOUBTFUL[name], {"SM": SM, "PM": PM}), IMAGES)
    assert "are these HU?" in row["ct_notes"] and row["doubts"]
    # The outline's area does not depend on the values, where no window does.
    assert row["pm_area_cm2"] == pytest.approx(PM.sum() * PIXEL_CM2)
    assert np.isnan([row["sm_area_cm2"], row["sm_mean_hu"], row["pm_mean_hu"]]).all()


@pytest.mark.parametrize("name", RIGHT)
def test_hu_of_every_kind_keep_their_numbers(tmp_path, name):
    values = RIGHT[name]
    row = measure(*files(tmp_path, values, {"SM": SM, "PM": PM}), IMAGES)
    inside = values[SM & (values >= -29) & (values <= 150)]
    assert not row["doubts"]
    assert row["sm_area_cm2"] == pytest.approx(inside.size * PIXEL_CM2)
    assert row["sm_mean_hu"] == pytest.approx(inside.mean(), rel=1e-6)
    assert row["pm_mean_hu"] == pytest.approx(values[PM].mean(), rel=1e-6)


@pytest.mark.parametrize("lowest", [-800, -500, -400])
def test_values_cut_above_air_have_a_note_and_their_numbers(tmp_path, lowest):
    row = measure(*files(tmp_path, np.maximum(HU, lowest), {"SM": SM, "PM": PM}), IMAGES)
    assert f"no value on the mask's slices lies below {lowest} HU: were they cut there" in row["ct_notes"]
    assert row["pm_mean_hu"] == pytest.approx(HU[PM].mean(), rel=1e-6)


@pytest.mark.parametrize("share", [0.02, 0.1, 0.4])
@pytest.mark.parametrize("muscle", ["sm", "pm"])
def test_air_in_a_muscle_has_a_note(tmp_path, muscle, share):
    """As where the mask, or the pixels, are off by a few centimetres and the median is still that of muscle."""
    values, mask = HU.copy(), {"sm": SM, "pm": PM}[muscle]
    values.flat[np.flatnonzero(mask)[: round(share * mask.sum())]] = -1000
    notes = measure(*files(tmp_path, values, {"SM": SM, "PM": PM}), IMAGES)["ct_notes"]
    assert (f"of the {muscle.upper()} is air or gas: does the mask fit the CT?" in notes) == (share > 0.05)


def test_a_doubt_gives_no_verdict(tmp_path, capsys):
    ct, mask = files(tmp_path, HU + 1024, {"SM": SM, "PM": PM})
    pair = ["indices", "--ct", str(ct), "--mask", str(mask), "--sex", "M", "--height-m", "1.7"]
    assert main([*pair, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    verdicts = {name: one["sarcopenic"] for name, one in found["definitions"].items()}
    assert verdicts["PD"] is None and verdicts["SMI"] is None and verdicts["MA"] is None
    assert verdicts["PMA"] is not None
    assert main(pair) == 0
    assert "needs HU, see CT" in capsys.readouterr().out


def test_a_doubt_keeps_a_patient_out_of_a_study(tmp_path):
    from analysis_lib.review.check import look_at
    from analysis_lib.stages.measure import measure_one

    class Source:
        patient_id = "P1"

        def ct(self):
            return tmp_path / "ct.nii.gz"

        def mask(self):
            return tmp_path / "m.seg.nrrd"

        def where(self):
            return {}

    files(tmp_path, HU + 1024, {"SM": SM, "PM": PM})
    row = measure_one(Source(), IMAGES)
    assert set(EXCLUSION_COLUMNS) <= {*row}
    assert "are these HU? If they are not, export the original CT" in row["reason"]
    looked = look_at(Source(), IMAGES)
    assert (looked["status"], looked["reason"]) == ("refused", row["reason"]) and looked["picture"]
    files(tmp_path, HU, {"SM": SM, "PM": PM})
    assert "reason" not in measure_one(Source(), IMAGES)


@pytest.mark.parametrize("kind", ["Z_EFFECTIVE", "IODINE", "EFFECTIVE_Z", "ELECTRON_DENSITY"])
def test_maps_of_dual_energy_are_left_aside(tmp_path, kind):
    values = HU.astype(np.int16)
    write_series(tmp_path / "ct" / "map", values, SeriesInstanceUID="1.1", ImageType=["DERIVED", "SECONDARY", kind])
    write_seg(tmp_path / "m.seg.nrrd", {"SM": SM, "PM": PM}, GRID)
    with pytest.raises(ImageError, match="maps of a dual-energy CT that are no HU"):
        measure(tmp_path / "ct", tmp_path / "m.seg.nrrd", IMAGES)
    write_series(tmp_path / "ct" / "plain", values, SeriesInstanceUID="1.2")
    assert measure(tmp_path / "ct", tmp_path / "m.seg.nrrd", IMAGES)["series_uid"] == "1.2"


# ---- units and sizes ---------------------------------------------------------------------------------------
def patched(path: Path, *changes: tuple[int, str, tuple]) -> Path:
    data = bytearray(gzip.decompress(path.read_bytes()))
    for offset, form, values in changes:
        struct.pack_into(form, data, offset, *values)
    path.write_bytes(gzip.compress(bytes(data)))
    return path


@pytest.mark.parametrize("what", ["ct", "mask"])
@pytest.mark.parametrize(("code", "name"), [(1, "metres"), (3, "micrometres"), (1 | 8, "metres"), (3 | 16, "microm")])
def test_lengths_in_another_unit_are_refused(tmp_path, what, code, name):
    ct, _ = files(tmp_path, HU, {"SM": SM, "PM": PM})
    sitk.WriteImage(GRID.image_of(SM.astype(np.uint8)), str(tmp_path / "sm.nii.gz"))
    patched(ct if what == "ct" else tmp_path / "sm.nii.gz", (123, "<B", (code,)))
    with pytest.raises(ImageError, match=f"lengths are in {name}.*convert"):
        measure(ct, tmp_path / "sm.nii.gz", IMAGES)


@pytest.mark.parametrize("code", [0, 2, 2 | 8, 16])
def test_millimetres_or_nothing_said_are_read(tmp_path, code):
    ct, mask = files(tmp_path, HU, {"SM": SM, "PM": PM})
    assert measure(patched(ct, (123, "<B", (code,))), mask, IMAGES)["pm_area_cm2"] == pytest.approx(
        PM.sum() * PIXEL_CM2
    )


@pytest.mark.parametrize(
    "spacing", [(0.0007, 0.0008, 0.005), (0.05, 0.05, 5.0), (70.0, 80.0, 5.0), (700.0, 800.0, 5.0)]
)
def test_pixels_that_no_ct_has_are_refused(tmp_path, spacing):
    grid = Geometry(GRID.size, GRID.origin, spacing, GRID.direction)
    with pytest.raises(ImageError, match=r"pixels of .* mm are no human CT's"):
        measure(*files(tmp_path, HU, {"SM": SM, "PM": PM}, grid), IMAGES)


@pytest.mark.parametrize("muscle", ["SM", "PM"])
def test_areas_beyond_any_human_are_refused(tmp_path, muscle):
    grid = Geometry(GRID.size, GRID.origin, (7.0, 8.0, 5.0), GRID.direction)
    whole = HU > -900
    ct, mask = files(tmp_path, np.where(whole & (HU < 300), 50, HU), {muscle: whole & on(3, of=whole)}, grid)
    with pytest.raises(ImageError, match=rf"{muscle} has \d+ cm2, more than any human's"):
        measure(ct, mask, IMAGES, need_sm=False)


# ---- slices ------------------------------------------------------------------------------------------------
def on(*slices: int, of: np.ndarray) -> np.ndarray:
    mask = np.zeros(of.shape, bool)
    for k in slices:
        mask[k] = of[3]
    return mask


def with_pixels(mask: np.ndarray, k: int, n: int, of: np.ndarray) -> np.ndarray:
    changed = mask.copy()
    rows, columns = np.nonzero(of[3])
    changed[k, rows[:n], columns[:n]] = True
    return changed


LEFT = np.arange(50) < 25
SLIPS = {
    "a pixel above": ({"SM": with_pixels(SM, 4, 1, SM), "PM": PM}, "SM has far fewer pixels on slice 4 .1 pixels"),
    "a pixel far away": ({"SM": with_pixels(SM, 0, 1, SM), "PM": PM}, "SM has far fewer pixels on slice 0"),
    "a stroke of 60 pixels": ({"SM": with_pixels(SM, 4, 60, SM), "PM": PM}, "SM has far fewer pixels on slice 4"),
    "in the psoas": ({"SM": SM, "PM": with_pixels(PM, 2, 3, PM)}, "PM has far fewer pixels on slice 2"),
    "beside two slices": ({"SM": with_pixels(on(2, 3, of=SM), 4, 5, SM), "PM": PM}, "SM has far fewer .* slice 4"),
    "halves on two slices": (
        {"SM": SM, "PM": np.roll(PM & LEFT, 1, axis=0) | (PM & ~LEFT)},
        "PM on slice 3 and on slice 4 have no part in common",
    ),
    "sides by name on two slices": (
        {"SM": SM, "psoas left": np.roll(PM & LEFT, 1, axis=0), "psoas right": PM & ~LEFT},
        "the part 'psoas .*' of the PM is not drawn on slice",
    ),
    "one side on the second slice": (
        {"SM": on(3, 4, of=SM), "PM": PM | np.roll(PM & LEFT, 1, axis=0)},
        "PM on slice 4 is .* as wide as on others",
    ),
    "one side by name on both slices": (
        {"SM": on(3, 4, of=SM), "psoas left": on(3, 4, of=PM) & LEFT, "psoas right": PM & ~LEFT},
        "the part 'psoas right' of the PM is not drawn on slice 4",
    ),
    "half of SM on the second slice": (
        {"SM": SM | np.roll(SM & LEFT, 1, axis=0), "PM": on(3, 4, of=PM)},
        "SM on slice 4 is .* as wide",
    ),
}


@pytest.mark.parametrize("slip", SLIPS)
def test_a_slip_on_another_slice_is_refused(tmp_path, slip):
    masks, reason = SLIPS[slip]
    with pytest.raises(ImageError, match=reason):
        measure(*files(tmp_path, HU, masks), IMAGES)


@pytest.mark.parametrize("slices", [(3,), (2, 3), (1, 2, 3, 4), (0, 1, 2, 3, 4, 5), (1, 4)])
def test_slices_that_are_alike_give_their_mean(tmp_path, slices):
    masks = {"SM": on(*slices, of=SM), "PM": on(*slices, of=PM)}
    row = measure(*files(tmp_path, HU, masks), IMAGES)
    assert row["pm_area_cm2"] == pytest.approx(PM.sum() * PIXEL_CM2)
    assert not row["ct_notes"]


def test_one_slice_chosen_needs_all_its_parts(tmp_path):
    masks = {"SM": on(3, 4, of=SM), "psoas left": on(3, 4, of=PM) & LEFT, "psoas right": PM & ~LEFT}
    ct, mask = files(tmp_path, HU, masks)
    middle = IMAGES.model_copy(update={"l3_slice": "z_mm"})
    assert measure(ct, mask, middle, l3_z_mm=-85.0)["pm_area_cm2"] == pytest.approx(PM.sum() * PIXEL_CM2)
    with pytest.raises(ImageError, match="'psoas right' of the PM is not drawn on slice 4"):
        measure(ct, mask, middle, l3_z_mm=-80.0)


# ---- phases ------------------------------------------------------------------------------------------------
@pytest.fixture
def phases(tmp_path):
    """A plain series of 6 slices, and a venous one on its voxels with one slice more at either end."""
    plain = HU.astype(np.int16)
    venous = np.concatenate([plain[:1], plain, plain[-1:]])
    venous = np.where((venous > -29) & (venous < 150), venous + 18, venous).astype(np.int16)
    write_series(tmp_path / "ct" / "plain", plain, SeriesInstanceUID="1.1", SeriesNumber=2)
    write_series(tmp_path / "ct" / "venous", venous, (-20.0, -30.0, -105.0), SeriesInstanceUID="1.2", SeriesNumber=3)
    return tmp_path


def sub_grid(low: int, high: int) -> Geometry:
    return Geometry((50, 40, high - low), (-20.0, -30.0, -100.0 + 5 * low), (0.7, 0.8, 5.0), GRID.direction)


def test_of_two_phases_the_one_whose_grid_is_the_masks(phases):
    write_seg(phases / "m.seg.nrrd", {"SM": SM, "PM": PM}, GRID)
    row = measure(phases / "ct", phases / "m.seg.nrrd", IMAGES)
    assert row["series_uid"] == "1.1" and row["pm_mean_hu"] == pytest.approx(HU[PM].mean())
    longer = {name: np.concatenate([m[:1] & False, m, m[:1] & False]) for name, m in (("SM", SM), ("PM", PM))}
    write_seg(phases / "m.seg.nrrd", longer, sub_grid(-1, 7))
    assert measure(phases / "ct", phases / "m.seg.nrrd", IMAGES)["series_uid"] == "1.2"


@pytest.mark.parametrize("cropped", [(2, 5), (3, 4), (0, 5), (1, 6)])
def test_a_cropped_mask_does_not_tell_and_is_asked_about(phases, cropped):
    low, high = cropped
    write_seg(phases / "m.seg.nrrd", {"SM": SM[low:high], "PM": PM[low:high]}, sub_grid(low, high))
    with pytest.raises(ImageError, match="2 CT series of 6 and 8 slices lie on one grid.*series_uid"):
        measure(phases / "ct", phases / "m.seg.nrrd", IMAGES)
    assert measure(phases / "ct", phases / "m.seg.nrrd", IMAGES, series_uid="1.1")["n_slices"] == 6


def test_contours_that_name_no_series_are_asked_about(phases):
    from mask_files import outlines, write_rtstruct

    write_rtstruct(phases / "m.dcm", {"SM": outlines(SM, GRID), "PM": outlines(PM, GRID)})
    with pytest.raises(ImageError, match="2 CT series of 6 and 8 slices lie on one grid"):
        measure(phases / "ct", phases / "m.dcm", IMAGES)
    write_rtstruct(phases / "m.dcm", {"SM": outlines(SM, GRID), "PM": outlines(PM, GRID)}, series="1.1")
    assert measure(phases / "ct", phases / "m.dcm", IMAGES)["series_uid"] == "1.1"


def test_a_single_slice_at_the_same_place_is_no_better_fit(tmp_path):
    """As of bolus tracking: the mask of one slice has its grid by chance."""
    plain = HU.astype(np.int16)
    write_series(tmp_path / "ct" / "plain", plain, SeriesInstanceUID="1.1", SeriesNumber=2)
    write_series(
        tmp_path / "ct" / "one", plain[3:4] + 30, (-20.0, -30.0, -85.0), SeriesInstanceUID="1.2", SeriesNumber=3
    )
    write_seg(tmp_path / "m.seg.nrrd", {"SM": SM[3:4], "PM": PM[3:4]}, sub_grid(3, 4))
    with pytest.raises(ImageError, match="2 CT series of 1 and 6 slices lie on one grid"):
        measure(tmp_path / "ct", tmp_path / "m.seg.nrrd", IMAGES)


def test_without_a_mask_the_most_slices_win_as_before(phases):
    assert read_ct(phases / "ct").series_uid == "1.2"


def test_the_fixture_of_other_tests_is_no_doubt(tmp_path):
    case = Case(tmp_path)
    row = measure(case.ct, case.seg(), IMAGES)
    assert not row["doubts"] and np.isfinite([row[key] for key in MEASURES]).all()
