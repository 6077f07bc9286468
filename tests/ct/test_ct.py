"""CT series are read to the stored HU on the true grid."""

import contextlib
import json
import os

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from conftest import SHARED, write_dicom_slice, write_series
from ct_files import change, change_all, in_transfer_syntax, write_bystanders, write_enhanced
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import uid

from analysis_lib.core.parameters import load_params
from analysis_lib.ct.ct import AIR_HU, find_ct, read_ct
from analysis_lib.ct.data_paths import files_of
from analysis_lib.ct.geometry import Geometry, ImageError
from analysis_lib.ct.indices import measure


@pytest.fixture
def volume():
    return np.random.default_rng(1).integers(-1000, 1500, size=(5, 12, 16)).astype(np.int16)


def hu_at(series, point):
    """HU of the voxel at a point in LPS mm."""
    index = np.rint(np.linalg.inv(series.geometry.affine) @ [*point, 1]).astype(int)
    return series.hounsfield()[index[2], index[1], index[0]]


def test_hu_and_grid_with_unequal_spacings(tmp_path, volume):
    expected = write_series(tmp_path, volume)
    series = read_ct(tmp_path)
    assert series.geometry.size == (16, 12, 5)
    np.testing.assert_allclose(series.geometry.affine, expected.affine, atol=1e-9)
    np.testing.assert_array_equal(series.hounsfield(), volume)
    np.testing.assert_array_equal(series.hounsfield([3, 1]), volume[[3, 1]])
    assert series.description == "series 1 of 1, 5 slices, 5 mm"


def test_agrees_with_simpleitk_on_the_same_files(tmp_path, volume):
    write_series(tmp_path, volume)
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path))
    other = sitk.ReadImage(names)
    ours = read_ct(tmp_path).image()
    np.testing.assert_array_equal(sitk.GetArrayFromImage(ours), sitk.GetArrayFromImage(other))
    np.testing.assert_allclose(ours.GetOrigin(), other.GetOrigin())
    np.testing.assert_allclose(ours.GetSpacing(), other.GetSpacing())


@pytest.mark.parametrize(
    "syntax",
    [
        uid.ImplicitVRLittleEndian,
        uid.ExplicitVRBigEndian,
        uid.DeflatedExplicitVRLittleEndian,
        uid.RLELossless,
        uid.JPEGLSLossless,
        uid.JPEG2000Lossless,
        uid.JPEGLosslessSV1,
    ],
    ids=lambda u: u.name,
)
def test_every_lossless_transfer_syntax(tmp_path, syntax):
    volume = np.random.default_rng(2).integers(-1000, 1500, size=(2, 36, 40)).astype(np.int16)
    write_series(tmp_path, volume)
    in_transfer_syntax(tmp_path, syntax)
    assert pydicom.dcmread(tmp_path / "IM000.dcm").file_meta.TransferSyntaxUID == syntax
    np.testing.assert_array_equal(read_ct(tmp_path).hounsfield(), volume)
    whole = (tmp_path / "IM000.dcm").read_bytes()
    assert read_ct(tmp_path).notes == ()
    (tmp_path / "IM000.dcm").write_bytes(whole[:-20])  # a copy that broke off
    if syntax == uid.DeflatedExplicitVRLittleEndian:  # of which even the header is lost
        pytest.raises(ImageError, read_ct, tmp_path)
    else:
        note = "one of 2 slices is cut short, so no features can be taken; export the series again"
        assert read_ct(tmp_path).notes == (note,)


def test_series_in_any_order_nested_and_beside_other_files(tmp_path, volume):
    write_series(tmp_path / "deep" / "er", volume)
    (tmp_path / "deep" / "IM007.dcm").write_bytes((tmp_path / "deep" / "er" / "IM007.dcm").read_bytes())
    (tmp_path / "deep" / "er" / "IM007.dcm").unlink()
    write_bystanders(tmp_path)
    series = read_ct(tmp_path)
    np.testing.assert_array_equal(series.hounsfield(), volume)
    assert series.notes == ()


def test_files_without_preamble_or_suffix(tmp_path, volume):
    write_series(tmp_path, volume)
    for number, file in enumerate(sorted(tmp_path.glob("*.dcm"))):
        dataset = pydicom.dcmread(file)
        file.unlink()
        del dataset.file_meta, dataset.preamble
        pydicom.dcmwrite(tmp_path / f"{number}", dataset, implicit_vr=True, little_endian=True)
    np.testing.assert_array_equal(read_ct(tmp_path).hounsfield(), volume)


@pytest.mark.parametrize("bits", [12, 16])
def test_unsigned_storage_and_bits(tmp_path, volume, bits):
    volume = np.maximum(volume, -1000)
    write_series(tmp_path, volume, PixelRepresentation=0, BitsStored=bits, HighBit=bits - 1)
    np.testing.assert_array_equal(read_ct(tmp_path).hounsfield(), volume)


def test_overlay_bits_above_the_stored_ones_are_no_image(tmp_path, volume):
    write_series(tmp_path, volume, PixelRepresentation=0, BitsStored=12, HighBit=11)
    for file in tmp_path.iterdir():
        dataset = pydicom.dcmread(file)
        stored = np.frombuffer(dataset.PixelData, "<u2") | 0x8000
        dataset.PixelData = stored.tobytes()
        dataset.save_as(file)
    np.testing.assert_array_equal(read_ct(tmp_path).hounsfield(), volume)


def test_monochrome1_changes_the_display_and_not_the_hu(tmp_path, volume):
    write_series(tmp_path, volume, PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_array_equal(read_ct(tmp_path).hounsfield(), volume)


def test_slope_and_intercept_of_each_slice(tmp_path, volume):
    """PET/CT scanners and some archives store each slice with a scale of its own."""
    write_series(tmp_path, volume)
    expected = volume.astype(float)
    for number, file in enumerate(sorted(tmp_path.iterdir())):
        change(file, RescaleSlope=0.5 + 0.25 * number, RescaleIntercept=-1000 - number)
        k = pydicom.dcmread(file).InstanceNumber - 1
        expected[k] = (volume[k] + 1024.0) * (0.5 + 0.25 * number) - 1000 - number
    np.testing.assert_allclose(read_ct(tmp_path).hounsfield(), np.maximum(expected, AIR_HU))


@given(slope=st.sampled_from([0.5, 1, 1.5, 2]), intercept=st.integers(-2000, 0), seed=st.integers(0, 99))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_hu_are_the_stored_values_rescaled(tmp_path_factory, slope, intercept, seed):
    folder = tmp_path_factory.mktemp("ct")
    stored = np.random.default_rng(seed).integers(0, 4096, size=(2, 6, 7)).astype(np.int16)
    for k in range(2):
        write_dicom_slice(
            folder / f"{k}.dcm", stored[k], (0, 0, 3.0 * k), RescaleSlope=slope, RescaleIntercept=intercept
        )
    np.testing.assert_array_equal(read_ct(folder).hounsfield(), np.maximum(stored * slope + intercept, AIR_HU))


# ---- padding -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("padding", [-3024, -2000, -1025])
def test_padding_becomes_air(tmp_path, volume, padding):
    volume[:, 0, 0] = padding
    write_series(tmp_path, volume)
    assert (read_ct(tmp_path).hounsfield()[:, 0, 0] == AIR_HU).all()


@pytest.mark.parametrize(
    ("tags", "padded"),
    [
        ({"PixelPaddingValue": 44}, [-980]),  # stored 44 is -980 HU
        ({"PixelPaddingValue": 30, "PixelPaddingRangeLimit": 44}, [-980, -990]),
        ({"PixelPaddingValue": 44, "PixelPaddingRangeLimit": 30}, [-980, -990]),
    ],
)
def test_declared_padding_becomes_air(tmp_path, volume, tags, padded):
    volume[volume < -900] = -900
    volume[:, 0, 0], volume[:, 0, 1] = -980, -990
    write_series(tmp_path, volume)
    for file in tmp_path.iterdir():
        dataset = pydicom.dcmread(file)
        for name, value in tags.items():
            dataset.add_new(name, "SS", value)
        dataset.save_as(file)
    expected = volume.copy()
    expected[np.isin(volume, padded)] = AIR_HU
    np.testing.assert_array_equal(read_ct(tmp_path).hounsfield(), expected)


def test_negative_padding_stored_under_an_unsigned_vr(tmp_path, volume):
    write_series(tmp_path, volume, RescaleIntercept=0)
    for file in tmp_path.iterdir():
        dataset = pydicom.dcmread(file)
        pixels = np.frombuffer(dataset.PixelData, "<i2").copy()
        pixels[0] = -950
        dataset.PixelData = pixels.tobytes()
        dataset.add_new("PixelPaddingValue", "US", 65536 - 950)
        dataset.save_as(file)
    assert (read_ct(tmp_path).hounsfield()[:, 0, 0] == AIR_HU).all()


def test_fractional_rescale_is_kept(tmp_path, volume):
    write_series(tmp_path, volume, RescaleSlope="0.5")
    np.testing.assert_allclose(read_ct(tmp_path).hounsfield(), np.maximum((volume + 1024) * 0.5 - 1024, AIR_HU))


# ---- orientation ---------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "orientation",
    [
        [-1, 0, 0, 0, -1, 0],
        [1, 0, 0, 0, -1, 0],
        [-1, 0, 0, 0, 1, 0],
        [0.96, 0.28, 0, -0.28, 0.96, 0],
        [0, 1, 0, -1, 0, 0],
        [0, -1, 0, 1, 0, 0],
        [0, 1, 0, 1, 0, 0],
    ],
    ids=["prone", "rows reversed", "columns reversed", "turned in the plane", "right side", "left side", "exchanged"],
)
def test_however_the_slices_are_stored_each_point_keeps_its_hu(tmp_path, volume, orientation):
    write_series(tmp_path, volume, ImageOrientationPatient=orientation)
    series = read_ct(tmp_path)
    row_direction, column_direction = np.array(orientation[:3]), np.array(orientation[3:])
    for k, row, column in [(0, 0, 0), (1, 11, 15), (3, 2, 13), (4, 7, 4)]:
        point = np.array([-20.0, -30.0, -100 + 5 * k]) + column * 0.7 * row_direction + row * 0.8 * column_direction
        assert hu_at(series, point) == volume[k, row, column]
    direction = np.reshape(series.geometry.direction, (3, 3))
    assert np.diag(direction).min() > 0.9, "left, back and up, whatever the storage"
    other = sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path)))
    point = series.image().TransformIndexToPhysicalPoint((3, 4, 2))
    assert series.image()[3, 4, 2] == other[other.TransformPhysicalPointToIndex(point)]


def test_positions_rounded_to_a_tenth_are_an_even_grid(tmp_path, volume):
    for k, z in enumerate([0.0, 1.3, 2.5, 3.7, 5.0]):
        write_dicom_slice(tmp_path / f"{k}.dcm", volume[k] + 1024, (0, 0, z), number=k)
    assert read_ct(tmp_path).geometry.spacing[2] == pytest.approx(1.25)


# ---- copies and time points -----------------------------------------------------------------------------
def test_identical_copies_are_left_out_and_counted(tmp_path, volume):
    write_series(tmp_path, volume)
    for name in ("IM007", "IM014"):
        (tmp_path / f"{name} copy.dcm").write_bytes((tmp_path / f"{name}.dcm").read_bytes())
    series = read_ct(tmp_path)
    np.testing.assert_array_equal(series.hounsfield(), volume)
    assert series.notes == ("2 identical copies of slices left out",)


@pytest.mark.parametrize("attribute", ["AcquisitionNumber", "TemporalPositionIdentifier", "ConvolutionKernel"])
def test_time_points_in_one_series_are_told_apart(tmp_path, volume, attribute):
    values = ("B30f", "B60f") if attribute == "ConvolutionKernel" else (1, 2)
    write_series(tmp_path / "a", volume, **{attribute: values[0]})
    write_series(tmp_path / "b", volume[:3] + 7, **{attribute: values[1]})
    series = read_ct(tmp_path)  # the volume with more slices
    np.testing.assert_array_equal(series.hounsfield(), volume)
    assert "one of 2 volumes" in series.description
    write_series(tmp_path / "b", volume + 7, **{attribute: values[1]})
    with pytest.raises(ImageError, match=f"2 volumes of 5 slices at the same positions.*differ in {attribute}"):
        read_ct(tmp_path)


# ---- multi-frame ---------------------------------------------------------------------------------------
def test_enhanced_ct_frame_by_frame(tmp_path, volume):
    order = [3, 0, 4, 1, 2]
    rescale = [(1.0, -1024.0 - k) for k in range(5)]
    write_enhanced(tmp_path / "one.dcm", volume[order], [-100 + 5 * k for k in order], rescale)
    series = read_ct(tmp_path)
    np.testing.assert_array_equal(series.hounsfield(), volume)
    assert series.geometry.spacing == (0.7, 0.8, 5.0)
    assert series.geometry.origin == (-20.0, -30.0, -100.0)
    assert len(set(series.sop_uids)) == 5
    np.testing.assert_array_equal(series.hounsfield([2]), volume[[2]])


def test_enhanced_ct_agrees_with_simpleitk(tmp_path, volume):
    write_enhanced(tmp_path / "one.dcm", volume, [-100 + 5 * k for k in range(5)])
    other = sitk.ReadImage(str(tmp_path / "one.dcm"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(other), read_ct(tmp_path).hounsfield())


def test_enhanced_ct_with_two_time_points(tmp_path, volume):
    z = [-100 + 5 * k for k in range(5)] + [-100.0, -95.0]
    write_enhanced(tmp_path / "one.dcm", np.concatenate([volume, volume[:2] + 9]), z, time_points=[1] * 5 + [2] * 2)
    np.testing.assert_array_equal(read_ct(tmp_path).hounsfield(), volume)


def test_enhanced_ct_cut_into_files_of_one_series(tmp_path, volume):
    write_enhanced(tmp_path / "one.dcm", volume[:3], [-100, -95, -90])
    write_enhanced(tmp_path / "two.dcm", volume[3:], [-85, -80])
    np.testing.assert_array_equal(read_ct(tmp_path).hounsfield(), volume)


# ---- choosing ------------------------------------------------------------------------------------------
def test_of_two_series_the_one_that_covers_the_mask_is_taken(tmp_path, volume):
    write_series(tmp_path / "a", volume, SeriesInstanceUID="1.1")
    write_series(tmp_path / "b", volume[:3], origin=(-20.0, -30.0, 200.0), SeriesInstanceUID="1.2")
    assert read_ct(tmp_path).series_uid == "1.1"
    assert read_ct(tmp_path, covering=np.array([[-15.0, -25.0, 205.0]])).series_uid == "1.2"
    with pytest.raises(ImageError, match="no CT series contains the mask"):
        read_ct(tmp_path, covering=np.array([[-15.0, -25.0, 900.0]]))


def test_the_most_slices_win_and_the_uid_overrules(tmp_path, volume):
    write_series(tmp_path / "a", volume[:4], SeriesInstanceUID="1.2", SeriesNumber=2)
    write_series(tmp_path / "b", volume, SeriesInstanceUID="1.1", SeriesNumber=3)
    write_bystanders(tmp_path)
    series = read_ct(tmp_path)
    assert (series.series_uid, series.description) == ("1.1", "series 2 of 2, 5 slices, 5 mm")
    assert read_ct(tmp_path, series_uid="1.2").geometry.size[2] == 4
    with pytest.raises(ImageError, match="no CT series with the UID.*number 2 of 4 slices, CT series number 3 of 5"):
        read_ct(tmp_path, series_uid="1.7")


def test_equal_series_are_not_guessed_between(tmp_path, volume):
    write_series(tmp_path / "plain", volume, SeriesInstanceUID="1.1", SeriesNumber=2)
    write_series(tmp_path / "venous", volume + 40, SeriesInstanceUID="1.2", SeriesNumber=3)
    with pytest.raises(ImageError, match="2 CT series of 5 slices are equally good.*series numbers 2, 3.*series_uid"):
        read_ct(tmp_path)
    np.testing.assert_array_equal(read_ct(tmp_path, series_uid="1.2").hounsfield(), volume + 40)


def test_the_series_on_whose_grid_the_mask_lies_comes_first(tmp_path, volume):
    """A thin reconstruction has more slices, but the mask was drawn on the thick one."""
    thick = write_series(tmp_path / "thick", volume[:3], SeriesInstanceUID="1.1")
    write_series(tmp_path / "thin", volume, step=2.5, SeriesInstanceUID="1.2")
    point = np.array([[-15.0, -25.0, -95.0]])
    assert read_ct(tmp_path, covering=point).series_uid == "1.2"
    assert read_ct(tmp_path, covering=point, grid=thick).series_uid == "1.1"
    turned = Geometry((9, 9, 3), (-20.0 + 0.7, -30.0 + 8.0, -90.0), (0.7, 0.8, 5.0), (1, 0, 0, 0, -1, 0, 0, 0, -1))
    assert read_ct(tmp_path, covering=point, grid=turned).series_uid == "1.1"


def test_a_series_shifted_by_part_of_a_voxel_is_not_the_masks(tmp_path, volume):
    drawn_on = write_series(tmp_path / "mine", volume[:3], SeriesInstanceUID="1.1")
    write_series(tmp_path / "other", volume, origin=(-20.0, -30.2, -100.0), SeriesInstanceUID="1.2")
    point = np.array([[-15.0, -25.0, -95.0]])
    assert read_ct(tmp_path, covering=point).series_uid == "1.2"
    assert read_ct(tmp_path, covering=point, grid=drawn_on).series_uid == "1.1"


def test_a_refused_series_is_not_silently_replaced_by_another(tmp_path, volume):
    write_series(tmp_path / "plain", volume, SeriesInstanceUID="1.1", SeriesNumber=2)
    (tmp_path / "plain" / "IM014.dcm").unlink()
    write_series(tmp_path / "venous", volume[:3], SeriesInstanceUID="1.2", SeriesNumber=3)
    with pytest.raises(ImageError, match="series number 2: has 4 slices and would be the choice.*a slice is missing"):
        read_ct(tmp_path)
    write_series(tmp_path / "venous", volume[:4], SeriesInstanceUID="1.2", SeriesNumber=3)
    with pytest.raises(ImageError, match="series number 2: has 4 slices and would be the choice"):
        read_ct(tmp_path)  # of equally many, too
    assert read_ct(tmp_path, series_uid="1.2").geometry.size[2] == 4
    change_all(tmp_path / "plain", ImageOrientationPatient=[1, 0, 0, 0, 0, -1])
    assert read_ct(tmp_path).series_uid == "1.2", "a coronal reformat is never the choice"


# ---- single files --------------------------------------------------------------------------------------
def image_of(volume):
    image = sitk.GetImageFromArray(volume)
    image.SetSpacing((0.7, 0.8, 5))
    image.SetOrigin((-20, -30, -100))
    return image


@pytest.mark.parametrize("suffix", [".nrrd", ".nii", ".nii.gz", ".mha"])
@pytest.mark.parametrize("dtype", [np.int16, np.float32, np.float64, np.int32])
def test_single_file_volume(tmp_path, volume, suffix, dtype):
    sitk.WriteImage(image_of(volume.astype(dtype)), str(tmp_path / f"ct{suffix}"))
    series = read_ct(tmp_path / f"ct{suffix}")
    np.testing.assert_array_equal(series.hounsfield([2]), volume[[2]])
    np.testing.assert_allclose(series.geometry.origin, (-20, -30, -100), atol=1e-4)
    assert series.hounsfield().dtype == np.int16
    assert series.description == "5 slices, 5 mm"


@pytest.mark.parametrize("suffix", ["", ".nii.gz", ".nrrd"])
def test_names_of_files_need_not_be_utf8(tmp_path, volume, suffix):
    """As of an archive that was made on Windows; ITK ends the process at such a name."""
    geometry = write_series(tmp_path / "ct", volume)
    place = tmp_path / os.fsdecode(b"M\xfcller")
    place.mkdir()
    if suffix:
        sitk.WriteImage(geometry.image_of(volume), str(tmp_path / f"ct{suffix}"))
        (tmp_path / f"ct{suffix}").rename(place / os.fsdecode(b"M\xfcller" + suffix.encode()))
    else:
        for k, file in enumerate(sorted((tmp_path / "ct").iterdir())):
            file.rename(place / os.fsdecode(b"M\xfcller%d.dcm" % k))
    np.testing.assert_array_equal(read_ct(place).hounsfield(), volume)


def test_a_detached_header_whose_name_is_not_utf8_is_refused(tmp_path, volume):
    geometry = write_series(tmp_path / "ct", volume)
    sitk.WriteImage(geometry.image_of(volume), str(tmp_path / "ct.nhdr"))
    (tmp_path / "ct.nhdr").rename(tmp_path / os.fsdecode(b"M\xfcller.nhdr"))
    with pytest.raises(ImageError, match="is not in UTF-8, as an old archive leaves it; rename it"):
        read_ct(tmp_path / os.fsdecode(b"M\xfcller.nhdr"))


def test_a_volume_file_whose_suffix_is_in_capitals(tmp_path, volume):
    sitk.WriteImage(image_of(volume), str(tmp_path / "P1.nii.gz"))
    (tmp_path / "P1.nii.gz").rename(tmp_path / "P1.NII.GZ")
    np.testing.assert_array_equal(read_ct(find_ct(tmp_path, "P1")).hounsfield(), volume)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha"])
def test_a_volume_file_in_the_place_of_the_dicom_folder(tmp_path, volume, suffix):
    sitk.WriteImage(image_of(volume), str(tmp_path / f"P1{suffix}"))
    assert find_ct(tmp_path, "P1") == tmp_path / f"P1{suffix}"
    np.testing.assert_array_equal(read_ct(find_ct(tmp_path, "P1")).hounsfield(), volume)
    assert find_ct(tmp_path, "P2") == tmp_path / "P2" and find_ct(tmp_path, "x" * 10_000).parent == tmp_path
    (tmp_path / "P1").mkdir()
    with pytest.raises(ImageError, match=rf"2 CTs of this patient \({suffix}, a folder\); keep one"):
        find_ct(tmp_path, "P1")


def test_a_volume_file_alone_in_the_folder_of_the_ct(tmp_path, volume):
    folder = tmp_path / "P1"
    (folder / "deep").mkdir(parents=True)
    sitk.WriteImage(image_of(volume), str(folder / "deep" / "Doe_Jane.nhdr"))
    (folder / "README.txt").write_text("from the scanner")
    series = read_ct(folder)
    np.testing.assert_array_equal(series.hounsfield(), volume)
    assert series.files == (folder / "deep" / "Doe_Jane.nhdr",)
    sitk.WriteImage(image_of(volume), str(folder / "Doe_Jane.nii.gz"))
    with pytest.raises(ImageError, match=r"no DICOM but 2 volume files \(.nii.gz, .nhdr\); keep one") as caught:
        read_ct(folder)
    assert "Doe" not in str(caught.value)
    write_series(folder, volume + 1)
    np.testing.assert_array_equal(read_ct(folder).hounsfield(), volume + 1)


@pytest.mark.parametrize("beside", ["scout.dcm", "damaged.dcm"])
def test_a_volume_file_never_stands_in_for_dicom_that_cannot_be_used(tmp_path, volume, beside):
    sitk.WriteImage(image_of(volume), str(tmp_path / "ct.nii.gz"))
    write_dicom_slice(tmp_path / beside, volume[0], (0, 0, 0), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    if beside == "damaged.dcm":
        (tmp_path / beside).write_bytes((tmp_path / beside).read_bytes()[:200])
    with pytest.raises(ImageError, match="no CT slices in the folder"):
        read_ct(tmp_path)


def test_the_data_of_a_detached_header_are_among_its_files(tmp_path, volume):
    for name in ("P1", "P10"):
        sitk.WriteImage(image_of(volume), str(tmp_path / f"{name}.nhdr"))
    assert [path.name for path in files_of(tmp_path / "P1.nhdr")] == ["P1.nhdr", "P1.raw"]
    sitk.WriteImage(image_of(volume), str(tmp_path / "P2.nrrd"))
    assert files_of(tmp_path / "P2.nrrd") == [tmp_path / "P2.nrrd"]
    assert len(files_of(tmp_path)) == 5


@pytest.mark.parametrize("orientation", ["RAI", "LPS", "RAS", "ARS", "SLP"])
def test_volume_stored_along_other_axes(tmp_path, volume, orientation):
    turned = sitk.DICOMOrient(image_of(volume), orientation)
    sitk.WriteImage(turned, str(tmp_path / "ct.nii.gz"))
    series = read_ct(tmp_path / "ct.nii.gz")
    np.testing.assert_array_equal(series.hounsfield(), volume)
    np.testing.assert_allclose(series.geometry.affine, Geometry.of(image_of(volume)).affine, atol=1e-4)


def test_padding_and_fractions_in_a_volume(tmp_path, volume):
    values = volume + np.float32(0.25)
    values[0, 0, 0] = -3024
    sitk.WriteImage(image_of(values), str(tmp_path / "ct.nrrd"))
    hounsfield = read_ct(tmp_path / "ct.nrrd").hounsfield()
    assert hounsfield[0, 0, 0] == AIR_HU
    np.testing.assert_array_equal(hounsfield.ravel()[1:], values.ravel()[1:])


def test_a_volume_without_any_air_is_noted(tmp_path, volume):
    """As converters write that leave the scanner's stored values as they are."""
    sitk.WriteImage(image_of(volume + 1024), str(tmp_path / "ct.nrrd"))
    assert read_ct(tmp_path / "ct.nrrd").notes == (
        f"no value lies below {volume.min() + 1024} HU, not even air: are these HU?",
    )
    sitk.WriteImage(image_of(volume), str(tmp_path / "ct.nrrd"))
    assert read_ct(tmp_path / "ct.nrrd").notes == ()


def test_a_volume_with_one_time_point_is_three_dimensional(tmp_path, volume):
    image = sitk.JoinSeries([image_of(volume)])
    sitk.WriteImage(image, str(tmp_path / "ct.nii"))
    np.testing.assert_array_equal(read_ct(tmp_path / "ct.nii").hounsfield(), volume)


# ---- real data -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("form", ["nii.gz", "nrrd", "rle", "enhanced"])
def test_real_ct_in_other_forms_gives_its_truth(real_ct, tmp_path, form):
    """Slices 5 to 13 of the real CT, written anew, with the mask of its ninth."""
    series = read_ct(real_ct / "ct")
    keep = list(range(5, 14))
    hounsfield = series.hounsfield(keep)
    origin = (*series.geometry.origin[:2], series.geometry.origin[2] + 5 * series.geometry.spacing[2])
    part = Geometry((512, 512, 9), origin, series.geometry.spacing, series.geometry.direction)
    if form in ("nii.gz", "nrrd"):
        path = tmp_path / f"ct.{form}"
        sitk.WriteImage(part.image_of(hounsfield), str(path))
    elif form == "rle":
        path = tmp_path
        for k in keep:
            dataset = pydicom.dcmread(series.files[k])
            dataset.compress(uid.RLELossless)
            dataset.save_as(tmp_path / f"{k}.dcm")
    else:
        path = tmp_path
        z = [origin[2] + k * part.spacing[2] for k in range(9)]
        write_enhanced(tmp_path / "one.dcm", hounsfield, z, spacing=part.spacing[:2])
        change(tmp_path / "one.dcm", SeriesNumber=1)
        dataset = pydicom.dcmread(tmp_path / "one.dcm")
        for frame, height in zip(dataset.PerFrameFunctionalGroupsSequence, z, strict=True):
            frame.PlanePositionSequence[0].ImagePositionPatient = [*origin[:2], height]
        dataset.save_as(tmp_path / "one.dcm")
    truth = json.loads((real_ct / "masks" / "truth.json").read_text())["slices"][0]
    row = measure(path, real_ct / "masks" / "muscle.seg.nrrd", load_params("defaults").images)
    for muscle in ("sm", "pm"):
        assert row[f"{muscle}_area_cm2"] == pytest.approx(truth[muscle.upper()]["area_cm2"], rel=1e-6)
        assert row[f"{muscle}_mean_hu"] == pytest.approx(truth[muscle.upper()]["mean_hu"], rel=1e-6)


def test_real_nifti_gives_its_psoas():
    folder = SHARED / "totalsegmentator-example"
    if not folder.is_dir():
        pytest.skip("real NIfTI CT not available beside the checkout")
    series = read_ct(folder / "example_ct.nii.gz")
    labels = sitk.GetArrayFromImage(
        sitk.DICOMOrient(sitk.ReadImage(str(folder / "example_seg_fast_force_split.nii.gz")), "LPS")
    )
    psoas = np.isin(labels[70], (88, 89))
    assert psoas.sum() * series.geometry.pixel_area_cm2 == pytest.approx(14.0, abs=0.05)
    assert series.hounsfield([70])[0][psoas].mean() == pytest.approx(32, abs=0.5)


def test_no_warning_and_no_name_reaches_the_terminal(tmp_path, volume, capfd):
    """pydicom warns of odd values and quotes them; ITK warns with the path."""
    write_series(tmp_path / "ct", volume)
    for file in (tmp_path / "ct").iterdir():
        data = file.read_bytes()
        file.write_bytes(data.replace(b"AXIAL ", b"AXIAL\x81"))
    series = read_ct(tmp_path / "ct")
    series.hounsfield()
    sitk.WriteImage(image_of(volume), str(tmp_path / "Doe^Jane.nii"))
    data = bytearray((tmp_path / "Doe^Jane.nii").read_bytes())
    data[254:256] = (1).to_bytes(2, "little")
    (tmp_path / "Doe^Jane.nii").write_bytes(data)
    read_ct(tmp_path / "Doe^Jane.nii")
    assert capfd.readouterr() == ("", "")
    assert os.environ.get("PYTHONWARNINGS") is None


def test_no_warning_quotes_a_value_of_the_header(tmp_path, recwarn):
    """pydicom warns of a series number that is none, and shows it, when the value is looked at."""
    write_series(tmp_path, np.zeros((3, 12, 16), np.int16), SeriesNumber="470923")
    for file in tmp_path.iterdir():
        file.write_bytes(file.read_bytes().replace(b"470923", b"Doe 47"))
    with contextlib.suppress(ImageError):
        read_ct(tmp_path)
    assert not [str(w.message) for w in recwarn if "Doe" in str(w.message)]
