"""Section ``ibsi`` of a parameter file, against numpy and scipy; IBSI's own phantoms: test_ibsi_phantoms.py."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.ndimage import map_coordinates

from analysis_lib.common.errors import ParameterError
from analysis_lib.radiomics import check_parameter_files, extract
from analysis_lib.radiomics.plan import ExtractionError, read_plan
from analysis_lib.radiomics.processing import process

pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")  # pykwalify's


@pytest.fixture
def pair() -> tuple[sitk.Image, sitk.Image]:
    """An image of noise and a ball as its mask (label 3), on a turned grid of three spacings."""
    rng = np.random.default_rng(0)
    z, y, x = np.mgrid[:11, :20, :17]
    image = sitk.GetImageFromArray(rng.normal(40, 30, z.shape).round().astype(np.int16))
    ball = ((z - 5) / 4) ** 2 + ((y - 9) / 7) ** 2 + ((x - 8) / 6) ** 2 < 1
    mask = sitk.GetImageFromArray(3 * ball.astype(np.uint8))
    for picture in (image, mask):
        picture.SetSpacing((0.8, 0.7, 3.3))
        picture.SetOrigin((-20.0, 30.0, -100.0))
        picture.SetDirection((0, -1, 0, 1, 0, 0, 0, 0, 1))
    return image, mask


def written(folder: Path, setting: str, section: str = "", classes: str = "shape: , firstorder: , glcm: ") -> Path:
    path = folder / "p.yaml"
    path.write_text(f"featureClass: {{{classes}}}\nsetting: {{{setting}}}\n{section}")
    return path


def processed(pair, path: Path, label: int = 3):
    plan = read_plan(path)
    return process(*pair, label, plan.settings, plan.ibsi)


@pytest.mark.parametrize("spacing", [(2, 2, 2), (1.0, 0.35, 3.3), (0.5, 0, 0)])
def test_the_grid_has_the_centre_of_the_image_and_covers_it(pair, spacing, tmp_path: Path) -> None:
    path = written(tmp_path, f"resampledPixelSpacing: {list(spacing)}, interpolator: sitkLinear", "ibsi:\n")
    image, shape, inside = processed(pair, path)
    old = np.array(pair[0].GetSpacing())
    new = np.where(np.array(spacing) == 0, old, spacing)
    size = np.array(pair[0].GetSize())
    np.testing.assert_array_equal(image.GetSize(), np.ceil(np.round(size * old / new, 9)))
    middle = [
        picture.TransformContinuousIndexToPhysicalPoint(((np.array(picture.GetSize()) - 1) / 2).tolist())
        for picture in (image, pair[0])
    ]
    np.testing.assert_allclose(*middle, atol=1e-9)
    index = [
        (np.arange(n) - (n - 1) / 2) * b / a + (m - 1) / 2
        for n, m, a, b in zip(image.GetSize(), size, old, new, strict=True)
    ]
    where = np.stack(np.meshgrid(*index[::-1], indexing="ij"))
    for picture, found in ((pair[0], sitk.GetArrayFromImage(image)), (pair[1] == 3, sitk.GetArrayFromImage(shape))):
        wanted = map_coordinates(sitk.GetArrayFromImage(picture).astype(float), where, order=1, mode="nearest")
        if found.dtype == np.uint8:
            np.testing.assert_array_equal(found, wanted >= 0.5 - 1e-9)
        else:
            np.testing.assert_allclose(found, wanted, atol=1e-4)
    assert sitk.GetArrayFromImage(inside).sum() == sitk.GetArrayFromImage(shape).sum()


def test_rounding_and_resegmentation_follow_resampling_and_leave_shape_alone(pair, tmp_path: Path) -> None:
    setting = "resampledPixelSpacing: [1, 1, 1], resegmentRange: [0, 80]"
    image, shape, inside = processed(
        pair, written(tmp_path, setting, "ibsi: {round_intensities: true, outlier_sd: 1.5}")
    )
    values, region = sitk.GetArrayFromImage(image).astype(float), sitk.GetArrayFromImage(shape) > 0
    assert (values == values.round()).all() and values.std() > 0
    kept = region & (values >= 0) & (values <= 80)
    part = values[kept]
    kept &= np.abs(values - part.mean()) <= 1.5 * part.std()
    np.testing.assert_array_equal(sitk.GetArrayFromImage(inside) > 0, kept)
    with_shape = written(
        tmp_path, f"{setting}, resegmentShape: true", "ibsi: {round_intensities: true, outlier_sd: 1.5}"
    )
    np.testing.assert_array_equal(sitk.GetArrayFromImage(processed(pair, with_shape)[1]) > 0, kept)


def test_the_first_grey_level_starts_where_it_is_told(pair, tmp_path: Path) -> None:
    setting = "binWidth: 10, resegmentRange: [-20, 100]"
    plain = extract(*pair, written(tmp_path, f"{setting}, label: 3"))
    ours = extract(*pair, written(tmp_path, setting, "ibsi: {first_level_at: -100}"), label=3)
    shift = ours["original_glcm_JointAverage"] - plain["original_glcm_JointAverage"]
    assert shift == pytest.approx(8)  # from -20 to -100 HU in steps of 10
    for name in ("shape_MeshVolume", "firstorder_Mean", "firstorder_Entropy", "glcm_Contrast"):
        assert ours[f"original_{name}"] == pytest.approx(plain[f"original_{name}"])
    with pytest.raises(
        ExtractionError, match="original: intensity -?[0-9]+ is below first_level_at; set resegmentRange"
    ):
        extract(*pair, written(tmp_path, "binWidth: 10", "ibsi: {first_level_at: 30}"), label=3)


def test_filters_work_on_the_resampled_image_and_bin_as_ever(pair, tmp_path: Path) -> None:
    images = "imageType: {Original: {}, LoG: {sigma: [2.0]}, Wavelet: {}}\n"
    path = written(tmp_path, "resampledPixelSpacing: [1, 1, 1]", f"{images}ibsi: {{first_level_at: -200}}")
    image, shape, _ = processed(pair, path)
    ours = extract(*pair, path, label=3)
    theirs = extract(image, shape, written(tmp_path, "label: 1", images))
    filtered = [name for name in theirs if not name.startswith("original")]
    assert len(filtered) == 9 * (18 + 24)
    assert {name: ours[name] for name in filtered} == {name: theirs[name] for name in filtered}


@pytest.mark.parametrize(
    ("section", "reason"),
    [
        (
            "ibsi: {rounded: true}",
            "section ibsi: rounded: Extra inputs are not permitted; it takes round_intensities, ",
        ),
        ("ibsi: {outlier_sd: -3}", "section ibsi: outlier_sd: Input should be greater than 0; it takes "),
        ("ibsi: [1]", "section ibsi: .*dict.*; it takes round_intensities, outlier_sd, first_level_at, or nothing"),
        ("ibsi: {}\nimageType: {LBP3D: {}}", "section ibsi goes with images and settings of the fast path alone"),
    ],
)
def test_a_section_that_cannot_be_is_refused_before_any_image(section, reason, tmp_path: Path) -> None:
    path = written(tmp_path, "label: 1", section)
    with pytest.raises(ParameterError, match=f"params/p.yaml is not valid: {reason}"):
        check_parameter_files({"sm": path}, 56)


def test_images_that_do_not_fit_are_refused_in_words(pair, tmp_path: Path) -> None:
    image, mask = pair
    path = written(tmp_path, "resampledPixelSpacing: [1, 1, 1]", "ibsi:\n")
    with pytest.raises(ValueError, match="Label .1. not present in mask. Choose from"):
        extract(image, mask, path)
    with pytest.raises(ExtractionError, match="needs the mask on the grid of the image; export it again"):
        extract(image, mask[:, :, 1:], path, label=3)
    nothing = written(tmp_path, "resegmentRange: [900, 1000]", "ibsi:\n")
    with pytest.raises(ValueError, match="Resegmentation excluded too many voxels"):
        extract(image, mask, nothing, label=3)
    one = written(tmp_path, "minimumROISize: 100000", "ibsi:\n")
    with pytest.raises(ValueError, match="Size of the ROI is too small"):
        extract(image, mask, one, label=3)
    path = written(tmp_path, "resampledPixelSpacing: [1, 1, 1]", "ibsi:\n")
    real = sitk.Cast(image, sitk.sitkFloat64)
    assert extract(real, mask, path, label=3) == extract(image, mask, path, label=3)
