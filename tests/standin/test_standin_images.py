"""The synthetic CT and masks: targets met as measured, geometry and headers as a reader finds them."""

import hashlib
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import get_args

import nrrd
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from scipy import ndimage, stats

from analysis_lib.standin import dicom, segmentation
from analysis_lib.standin.anatomy import draw_patient
from analysis_lib.standin.faults import FAULTS, chosen_faults, spoilt
from analysis_lib.standin.settings import Fault
from analysis_lib.standin.spec import PatientSpec, Scanner

SOFT = Scanner("A", "SIEMENS", "Sensation 64", "B30f", 1.35, 11.0, 120, 200)
SHARP = Scanner("B", "GE MEDICAL SYSTEMS", "LightSpeed VCT", "STANDARD", 1.10, 15.0, 120, 250)


def _spec(**changes) -> PatientSpec:
    plain = {
        "patient_id": "D001",
        "set_name": "discovery",
        "sex": "M",
        "height_m": 1.70,
        "bmi": 23.0,
        "age_years": 56.0,
        "scanner": SOFT,
        "row_spacing_mm": 0.74,
        "column_spacing_mm": 0.74,
        "sm_area_cm2": 135.0,
        "sm_mean_hu": 40.0,
        "pm_area_cm2": 16.0,
        "pm_mean_hu": 49.0,
        "infiltration_z": 0.0,
        "grain_z": 0.0,
        "fascia_z": 0.0,
        "seed": 7,
    }
    return PatientSpec(**{**plain, **changes})


VARIED = {
    "man": _spec(),
    "woman": _spec(sex="F", height_m=1.57, sm_area_cm2=92, pm_area_cm2=10, scanner=SHARP, infiltration_z=1.0),
    "least muscle": _spec(
        sex="F", height_m=1.50, bmi=16, sm_area_cm2=60, pm_area_cm2=6, sm_mean_hu=30, pm_mean_hu=40,
        row_spacing_mm=0.65, column_spacing_mm=0.65, seed=8,
    ),
    "most muscle": _spec(
        bmi=35, sm_area_cm2=230, pm_area_cm2=35, row_spacing_mm=0.90, column_spacing_mm=0.90, seed=9
    ),
    "fatty muscle": _spec(
        sex="F", bmi=27, sm_area_cm2=80, pm_area_cm2=9, sm_mean_hu=20, pm_mean_hu=30, infiltration_z=2.0
    ),
    "dense, oblong pixels": _spec(
        sm_mean_hu=58, pm_mean_hu=66, row_spacing_mm=0.86, column_spacing_mm=0.72, infiltration_z=-2.0
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", VARIED)
def test_image_meets_its_targets_as_measured(name):
    spec = VARIED[name]
    drawn = draw_patient(spec, n_slices=3)
    image, pixel_cm2 = drawn.hu[drawn.l3_index], spec.row_spacing_mm * spec.column_spacing_mm / 100
    windowed = drawn.sm & (image >= -29) & (image <= 150)
    assert drawn.hu.shape == (3, 512, 512)
    assert drawn.hu.dtype == np.int16
    assert drawn.l3_index == 1
    assert drawn.pm.sum() * pixel_cm2 == pytest.approx(spec.pm_area_cm2, abs=pixel_cm2)
    assert windowed.sum() * pixel_cm2 == pytest.approx(spec.sm_area_cm2, rel=0.001)
    assert image[drawn.pm].mean() == pytest.approx(spec.pm_mean_hu, abs=0.03)
    assert image[windowed].mean() == pytest.approx(spec.sm_mean_hu, abs=0.03)
    assert not (drawn.pm & ~drawn.sm).any()
    # One psoas a side, left and right of the spine; the outlines follow muscle, not bone or gas.
    _, pieces = ndimage.label(drawn.pm)
    columns = np.flatnonzero(drawn.pm.any(axis=0))
    assert pieces == 2
    assert columns[0] < 256 < columns[-1]
    assert np.mean((image[drawn.sm] > 150) | (image[drawn.sm] < -190)) < 0.01


def test_other_window_is_honoured():
    drawn = draw_patient(_spec(), n_slices=1, sm_window=(-10, 120))
    image = drawn.hu[0]
    windowed = drawn.sm & (image >= -10) & (image <= 120)
    assert windowed.sum() * 0.74**2 / 100 == pytest.approx(135.0, rel=0.001)


def test_patient_depends_on_its_own_seed_alone():
    first = draw_patient(_spec(), n_slices=3)
    np.random.default_rng(1).normal(size=100)
    again, other = draw_patient(_spec(), n_slices=3), draw_patient(_spec(seed=8), n_slices=3)
    assert (first.hu == again.hu).all()
    assert (first.sm == again.sm).all()
    assert (first.hu != other.hu).mean() > 0.3


def test_contradictory_targets_name_the_patient():
    with pytest.raises(ValueError, match="D001"):
        draw_patient(_spec(pm_mean_hu=20.0, sm_mean_hu=200.0), n_slices=1)


def test_infiltration_shows_in_texture_and_not_in_density():
    grades = np.linspace(-2, 2, 12)
    spread, marbling, mean = [], [], []
    for number, grade in enumerate(grades):
        drawn = draw_patient(_spec(infiltration_z=float(grade), seed=100 + number), n_slices=1)
        image = drawn.hu[0].astype(float)
        inner = ndimage.binary_erosion(drawn.sm, iterations=2)
        windowed = drawn.sm & (image >= -29) & (image <= 150)
        spread.append(image[inner].std())
        # Unevenness of neighbourhoods, which noise of single pixels does not reach.
        marbling.append(ndimage.uniform_filter(image, 3)[ndimage.binary_erosion(inner)].std())
        mean.append(image[windowed].mean())
    assert stats.spearmanr(grades, spread)[0] > 0.9
    assert stats.spearmanr(grades, marbling)[0] > 0.8
    assert spread[-1] > 1.4 * spread[0]
    assert np.ptp(mean) < 0.05


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """One patient on disk, with rows and columns of different spacing."""
    spec = _spec(row_spacing_mm=0.86, column_spacing_mm=0.72)
    folder = tmp_path_factory.mktemp("study")
    drawn = draw_patient(spec)
    dicom.write_ct_series(folder / "ct" / spec.patient_id, drawn, spec)
    mask = folder / "masks" / f"{spec.patient_id}.seg.nrrd"
    segmentation.write_seg_nrrd(mask, drawn, spec)
    return spec, drawn, folder / "ct" / spec.patient_id, mask


def _digest(folder: Path) -> list[str]:
    return [hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.iterdir())]


def test_series_reads_back_as_drawn(written):
    spec, drawn, folder, _ = written
    files = sorted((pydicom.dcmread(p) for p in folder.iterdir()), key=lambda d: d.ImagePositionPatient[2])
    assert len(files) == 7
    assert {f.file_meta.TransferSyntaxUID for f in files} == {"1.2.840.10008.1.2.4.80"}
    assert sorted(int(f.InstanceNumber) for f in files) == list(range(1, 8))
    assert len({f.SeriesInstanceUID for f in files}) == 1
    assert len({f.SOPInstanceUID for f in files}) == 7
    for file, slice_hu in zip(files, drawn.hu, strict=True):
        hu = file.pixel_array * file.RescaleSlope + file.RescaleIntercept
        assert (hu == slice_hu).all()
        assert list(map(float, file.PixelSpacing)) == [0.86, 0.72]  # rows first
        assert file.PatientName == ""
        assert file.PatientBirthDate == ""
        assert "SYNTHETIC" in file.ImageComments
    assert np.diff([float(f.ImagePositionPatient[2]) for f in files]) == pytest.approx(np.full(6, 5.0))
    assert sum(p.stat().st_size for p in folder.iterdir()) < 1.35e6


def test_series_has_the_same_geometry_and_values_in_simpleitk(written):
    spec, drawn, folder, _ = written
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder))
    image = sitk.ReadImage(names)
    origin, spacing = dicom.geometry(spec, drawn.hu.shape)
    assert image.GetSpacing() == pytest.approx(spacing)
    assert image.GetOrigin() == pytest.approx(origin)
    assert image.GetDirection() == pytest.approx((1, 0, 0, 0, 1, 0, 0, 0, 1))
    assert (sitk.GetArrayFromImage(image) == drawn.hu).all()


def test_segmentation_lies_on_the_ct(written):
    spec, drawn, _, mask = written
    voxels, header = nrrd.read(str(mask))
    origin, spacing = dicom.geometry(spec, drawn.hu.shape)
    assert voxels.shape == (2, 512, 512, 7)
    assert header["kinds"] == ["list", "domain", "domain", "domain"]
    assert header["space"] == "left-posterior-superior"
    assert header["space origin"] == pytest.approx(np.array(origin))
    assert np.isnan(header["space directions"][0]).all()
    assert header["space directions"][1:] == pytest.approx(np.diag(spacing))
    for number, (name, drawn_mask) in enumerate((("SM", drawn.sm), ("PM", drawn.pm))):
        assert header[f"Segment{number}_Name"] == name
        layer = voxels[int(header[f"Segment{number}_Layer"])] == int(header[f"Segment{number}_LabelValue"])
        assert (drawn_mask == layer[:, :, drawn.l3_index].T).all()
        assert layer.sum() == drawn_mask.sum()
        extent = list(map(int, header[f"Segment{number}_Extent"].split()))
        where = [(int(i.min()), int(i.max())) for i in np.nonzero(layer)]
        assert extent == [edge for pair in where for edge in pair]


def test_segmentation_header_has_the_fields_of_a_real_one(written):
    real = Path(__file__).parents[3] / "shared/data/ct-l3/CRLM-CT-1006/masks/muscle.seg.nrrd"
    if not real.is_file():
        pytest.skip("../shared/data/ct-l3 is not beside the repository")
    assert list(nrrd.read_header(str(written[3]))) == list(nrrd.read_header(str(real)))


def test_writing_twice_gives_the_same_bytes(written, tmp_path):
    spec, drawn, folder, mask = written
    dicom.write_ct_series(tmp_path / "ct", drawn, spec)
    dicom.write_ct_series(tmp_path / "ct", drawn, spec)
    assert _digest(tmp_path / "ct") == _digest(folder)
    again = tmp_path / "again.seg.nrrd"
    segmentation.write_seg_nrrd(again, drawn, spec)
    assert again.read_bytes() == mask.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["again.seg.nrrd", "ct"]  # nothing temporary is left


def test_rescale_that_cannot_hold_the_image_is_refused(written, tmp_path):
    spec, drawn, _, _ = written
    narrow = replace(spec, scanner=replace(spec.scanner, intercept=0.0))
    with pytest.raises(ValueError, match="D001.*12 bits"):
        dicom.write_ct_series(tmp_path / "ct", drawn, narrow)
    assert not list(tmp_path.iterdir())


def test_dciodvfy_reports_no_error(written):
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy (Debian: dicom3tools) is not installed")
    for path in written[2].iterdir():
        run = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
        assert "Error" not in run.stdout + run.stderr


def test_faults_are_drawn_apart_and_each_patient_has_one():
    ids = [f"D{k:03d}" for k in range(20)]
    found = chosen_faults(ids, {"arms": 2, "metal": 3}, 1)
    assert sorted(found.values()) == ["arms"] * 2 + ["metal"] * 3 and found == chosen_faults(
        ids, {"arms": 2, "metal": 3}, 1
    )
    assert found != chosen_faults(ids, {"arms": 2, "metal": 3}, 2) and chosen_faults(ids, {}, 1) == {}
    assert set(get_args(Fault)) == set(FAULTS)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_shows_in_the_image_or_its_outlines(fault):
    spec = _spec()
    good = draw_patient(spec)
    bad = spoilt(good, fault, spec)
    k = good.l3_index
    window = (bad.hu[bad.l3_index] >= -29) & (bad.hu[bad.l3_index] <= 150)
    if fault == "wrong level":
        assert bad.l3_index == 6 and (bad.hu[6] < -700).sum() > (good.hu[6] < -700).sum() + 1000
        assert (bad.hu[k] == good.hu[k]).all()
    elif fault == "slipped contour":
        assert bad.sm.sum() == good.sm.sum() and (bad.hu == good.hu).all()
        assert (bad.sm & window).sum() < 0.85 * (good.sm & window).sum()  # fat and bowel under the outline
    elif fault == "arms":
        assert bad.sm.sum() > 1.3 * good.sm.sum() and good.sm[bad.sm].sum() == good.sm.sum()
    else:
        assert bad.hu.max() >= 3000 and bad.hu[k][good.sm].std() > 2 * good.hu[k][good.sm].std()
    again = spoilt(good, fault, spec)
    assert (again.hu == bad.hu).all() and (again.sm == bad.sm).all()
