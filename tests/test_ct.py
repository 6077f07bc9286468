"""CT series are read to the stored HU on the true grid, or refused with the reason."""

import numpy as np
import pytest
import SimpleITK as sitk
from conftest import write_dicom_slice, write_series

from analysis_lib.imaging.ct import AIR_HU, read_ct
from analysis_lib.imaging.geometry import ImageError


@pytest.fixture
def volume():
    return np.random.default_rng(1).integers(-1000, 1500, size=(5, 12, 16)).astype(np.int16)


def test_hu_and_grid_with_unequal_spacings(tmp_path, volume):
    expected = write_series(tmp_path, volume)
    series = read_ct(tmp_path)
    assert series.geometry.size == (16, 12, 5)
    np.testing.assert_allclose(series.geometry.affine, expected.affine, atol=1e-9)
    np.testing.assert_array_equal(series.hounsfield(), volume)
    np.testing.assert_array_equal(series.hounsfield([3, 1]), volume[[3, 1]])


def test_agrees_with_simpleitk_on_the_same_files(tmp_path, volume):
    write_series(tmp_path, volume)
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path))
    other = sitk.ReadImage(names)
    ours = read_ct(tmp_path).image()
    np.testing.assert_array_equal(sitk.GetArrayFromImage(ours), sitk.GetArrayFromImage(other))
    np.testing.assert_allclose(ours.GetOrigin(), other.GetOrigin())
    np.testing.assert_allclose(ours.GetSpacing(), other.GetSpacing())


def test_single_file_volume(tmp_path, volume):
    image = sitk.GetImageFromArray(volume)
    image.SetSpacing((0.7, 0.8, 5))
    sitk.WriteImage(image, str(tmp_path / "ct.nrrd"))
    np.testing.assert_array_equal(read_ct(tmp_path / "ct.nrrd").hounsfield([2]), volume[[2]])


def test_padding_becomes_air(tmp_path, volume):
    volume[:, 0, 0] = -3024
    write_series(tmp_path, volume)
    assert (read_ct(tmp_path).hounsfield()[:, 0, 0] == AIR_HU).all()


def test_fractional_rescale_is_kept(tmp_path, volume):
    write_series(tmp_path, volume, RescaleSlope="0.5")
    np.testing.assert_allclose(read_ct(tmp_path).hounsfield(), np.maximum((volume + 1024) * 0.5 - 1024, AIR_HU))


def test_localizer_and_other_modalities_are_passed_over(tmp_path, volume):
    write_series(tmp_path, volume)
    write_dicom_slice(
        tmp_path / "scout" / "s.dcm", volume[0], (0, 0, 0), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]
    )
    write_dicom_slice(tmp_path / "pet" / "p.dcm", volume[0], (0, 0, 0), Modality="PT")
    assert read_ct(tmp_path).geometry.size[2] == 5


def test_of_two_series_the_one_that_covers_the_mask_is_taken(tmp_path, volume):
    write_series(tmp_path / "a", volume, SeriesInstanceUID="1.1")
    write_series(tmp_path / "b", volume[:3], origin=(-20.0, -30.0, 200.0), SeriesInstanceUID="1.2")
    assert read_ct(tmp_path).series_uid == "1.1"
    assert read_ct(tmp_path, covering=np.array([[-15.0, -25.0, 205.0]])).series_uid == "1.2"
    with pytest.raises(ImageError, match="no CT series contains the mask"):
        read_ct(tmp_path, covering=np.array([[-15.0, -25.0, 900.0]]))


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda f: (f / "IM014.dcm").unlink(), "a slice is missing"),
        (lambda f: (f / "IM014.dcm").write_bytes(b""), "slice is missing|damaged"),
        (
            lambda f: (f / "IM014.dcm").write_bytes((f / "IM014.dcm").read_bytes()[:700]),
            "no pixels or no rescale slope|decoded",
        ),
        (lambda f: (f / "copy.dcm").write_bytes((f / "IM014.dcm").read_bytes()), "occur twice"),
        (lambda f: [p.unlink() for p in f.iterdir()], "no CT slices"),
        (lambda f: [p.unlink() for p in f.iterdir() if p.name != "IM000.dcm"], "single slice"),
    ],
)
def test_damaged_series_is_refused(tmp_path, volume, break_it, message):
    write_series(tmp_path / "ct", volume)
    break_it(tmp_path / "ct")
    with pytest.raises(ImageError, match=message):
        read_ct(tmp_path / "ct").hounsfield()


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}, "not axial"),
        ({"ImageOrientationPatient": [1, 0, 0, 0, 0.98, -0.199]}, "not axial"),
        ({"ImageOrientationPatient": [1, 0, 0, 0, -1, 0]}, "mirrored"),
        ({"PixelSpacing": None}, "lack PixelSpacing"),
        ({"PixelSpacing": [0, 0.7]}, "not a valid number"),
        ({"RescaleSlope": 0}, "rescale slope 0"),
        ({"RescaleIntercept": None}, "rescale"),
    ],
)
def test_header_that_cannot_be_trusted_is_refused(tmp_path, volume, tags, message):
    write_series(tmp_path, volume, **tags)
    with pytest.raises(ImageError, match=message):
        read_ct(tmp_path).hounsfield()


def test_missing_folder(tmp_path):
    with pytest.raises(ImageError, match="does not exist"):
        read_ct(tmp_path / "P1")
