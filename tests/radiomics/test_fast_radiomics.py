"""The fast extractor against plain PyRadiomics, its matrices against PyRadiomics' C code."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import pywt
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_pyradiomics import SMALL_REST, assert_same, plain
from radiomics import cMatrices, cShape
from radiomics.featureextractor import RadiomicsFeatureExtractor
from scipy.ndimage import gaussian_filter

from analysis_lib.radiomics import fast_classes, fast_log_rounding, fast_radiomics
from analysis_lib.radiomics.fast_log import LaplacianOfGaussian, edge_weights
from analysis_lib.radiomics.fast_log_itk import is_as_itk, laplacian
from analysis_lib.radiomics.fast_log_rounding import ItkLaplacian
from analysis_lib.radiomics.fast_matrices import Matrices, Neighbours, directions
from analysis_lib.radiomics.fast_mesh import mesh_coefficients
from analysis_lib.radiomics.fast_radiomics import extract
from analysis_lib.radiomics.fast_wavelets import wavelet_bands
from analysis_lib.radiomics.plan import ExtractionError, NoRadiomicsError, expected_names

ROOT = Path(__file__).resolve().parents[2]
SM, PM = ROOT / "params" / "features_sm.yaml", ROOT / "params" / "features_pm.yaml"
REAL = ROOT.parent / "shared" / "data" / "ct-l3" / "CRLM-CT-1006"

pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")  # pykwalify's, in plain()


def ct(slices: int, seed: int = 0, size: int = 64) -> np.ndarray:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size]
    volume = np.full((slices, size, size), -1000.0)
    volume[:, np.hypot(y - size / 2, x - size / 2) < 0.45 * size] = 45
    return (volume + rng.normal(0, 30, volume.shape)).round().astype(np.int16)


def as_images(volume: np.ndarray, mask: np.ndarray, spacing=(0.7, 0.9, 5.0)) -> tuple[sitk.Image, sitk.Image]:
    image, region = sitk.GetImageFromArray(volume), sitk.GetImageFromArray(mask.astype(np.uint8))
    image.SetSpacing(spacing)
    region.SetSpacing(spacing)
    return image, region


def region(shape: str, slices: int, size: int = 64) -> np.ndarray:
    mask = np.zeros((slices, size, size), bool)
    y, x = np.mgrid[:size, :size]
    middle = mask[slices // 2]
    if shape == "ring":
        radius = np.hypot(y - size / 2, (x - size / 2) / 0.8)
        middle |= (radius > 18) & (radius < 24)
    elif shape == "two components":
        middle[20:30, 10:22] = middle[33:40, 40:55] = True
    elif shape == "one voxel thick":
        middle[30, 12:50] = middle[12:50, 20] = True
    elif shape == "touching the border":
        middle[0:14, 0:9] = middle[50:, 55:] = True
    elif shape == "several slices":
        mask[slices // 2 - 2 : slices // 2 + 2] = (np.hypot(y - 30, x - 35) < 12)[None]
        mask[slices // 2, 30, 35] = False
    elif shape == "to the last slice":
        mask[-2:, 20:30, 10:22] = True
    return mask


@pytest.mark.parametrize(
    ("shape", "slices"),
    [
        ("ring", 7),
        ("two components", 40),
        ("one voxel thick", 7),
        ("touching the border", 8),
        ("several slices", 9),
        ("to the last slice", 7),
    ],
)
def test_equals_pyradiomics_in_3d(shape: str, slices: int, evidence) -> None:
    image, mask = as_images(ct(slices, seed=slices), region(shape, slices))
    ours, theirs = extract(image, mask, SM), plain(image, mask, SM)
    assert len(ours) == 1316
    assert_same(ours, theirs)
    small = {name for name in ours if name.endswith(SMALL_REST)}
    for name, what, part, limit in (
        ("pyradiomics-3d", "", ours.keys() - small, 1e-6),
        ("pyradiomics-3d-cancelled", ", those that are the small rest of a cancellation", small, 1e-5),
    ):
        evidence(
            name,
            "radiomics",
            f"features of params/features_sm.yaml by the fast path{what}",
            "PyRadiomics 3.0.1 itself, [doi](https://doi.org/10.1158/0008-5472.CAN-17-0339)",
            theirs={shape: [theirs[name] for name in sorted(part)]},
            ours={shape: [ours[name] for name in sorted(part)]},
            rtol=limit,
            atol=1e-12,
        )


@pytest.mark.parametrize("shape", ["ring", "two components", "touching the border"])
def test_equals_pyradiomics_in_2d(shape: str) -> None:
    image, mask = as_images(ct(5), region(shape, 5))
    ours = extract(image, mask, PM)
    assert len(ours) == 27
    assert_same(ours, plain(image, mask, PM))


def test_odd_sizes_float_images_and_another_label() -> None:
    volume = ct(7)[:, :61, :63].astype(np.float32) + np.float32(0.25)
    image, mask = as_images(volume, region("ring", 7)[:, :61, :63])
    assert_same(extract(image, mask * 3, SM, label=3), plain(image, mask, SM))


def test_texture_in_2d_with_fixed_bin_count(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(
        "imageType: {Original: {}, LoG: {sigma: [2.5]}}\n"
        "featureClass: {firstorder: , glcm: , glrlm: , glszm: , gldm: [GrayLevelVariance], ngtdm: }\n"
        "setting: {binCount: 16, force2D: true, label: 1}\n"
    )
    image, mask = as_images(ct(9), region("several slices", 9))
    assert_same(extract(image, mask, path), plain(image, mask, path))


def parameters(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "p.yaml"
    path.write_text(text)
    return path


SPOTS = {
    "four voxels": (slice(4, 5), slice(30, 32), slice(30, 32)),
    "a column": (slice(0, 9), slice(20, 21), slice(20, 22)),
    "a plane along z": (slice(2, 7), slice(20, 40), slice(20, 21)),
    "a corner": (slice(0, 1), slice(0, 5), slice(0, 6)),
}


@pytest.mark.parametrize("content", ["noise", "no noise"])
@pytest.mark.parametrize("spot", SPOTS)
def test_small_regions_in_which_the_rounding_of_single_voxels_shows(spot: str, content: str, tmp_path: Path) -> None:
    """ITK's rounding errors do not average out over few voxels, nor where the filtered image is nearly zero."""
    volume = ct(9, seed=3) if content == "noise" else np.where(ct(9) < -500, -1000, 45).astype(np.int16)
    mask = np.zeros(volume.shape, bool)
    mask[SPOTS[spot]] = True
    image, mask = as_images(volume, mask)
    path = parameters(
        tmp_path,
        "imageType: {Wavelet: {}, LoG: {sigma: [1.0, 3.0, 5.0]}}\nfeatureClass: {firstorder: , glcm: , glszm: }\n",
    )
    assert_same(extract(image, mask, path), plain(image, mask, path))


@pytest.mark.parametrize("sigma", [0.05, 0.2, 0.5, 2, 10, 30])
@pytest.mark.parametrize("bins", ["binWidth: 25", "binCount: 16"])
def test_laplacians_finer_and_coarser_than_the_grid(sigma: float, bins: str, tmp_path: Path) -> None:
    classes = "featureClass: {firstorder: , glcm: }"
    path = parameters(tmp_path, f"imageType: {{LoG: {{sigma: [{sigma}, {sigma}], {bins}}}}}\n{classes}\n")
    for spacing in ((0.7, 0.9, 5.0), (3.0, 0.8, 1.0), (1.0, 1.0, 10.0)):
        if np.any(np.array((64, 64, 9)) < np.ceil(sigma / np.array(spacing)) + 1):
            continue
        image, mask = as_images(ct(9, seed=5), region("ring", 9), spacing)
        assert_same(extract(image, mask, path), plain(image, mask, path))


def test_a_usual_region_needs_no_filter_of_the_whole_image(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(7)
    volume = 45 + 60 * gaussian_filter(rng.gamma(1.0, size=(7, 256, 256)), (0.3, 1.5, 1.5))
    radius = np.hypot(*(np.mgrid[:256, :256] - 128))
    volume += 0.01 * radius**2  # so that no mean is a small rest by chance
    volume[:, radius > 115] = -1000
    mask = np.zeros(volume.shape, bool)
    mask[3] = (radius > 70) & (radius < 100)
    image, mask = as_images(volume.round().astype(np.int16), mask)
    monkeypatch.setattr(ItkLaplacian, "_by_itk", lambda *_: pytest.fail("every voxel was recomputed"))
    assert len(extract(image, mask, SM)) == 1316


@pytest.mark.parametrize("dtype", [np.int16, np.uint8, np.float32])
@pytest.mark.parametrize("sigma_mm", [0.05, 0.6, 3, 5.5, 40])
@pytest.mark.parametrize(
    ("shape", "box"),
    [
        ((9, 30, 40), (slice(3, 5), slice(0, 11), slice(2, 40))),
        ((4, 5, 6), (slice(0, 4), slice(2, 3), slice(5, 6))),
        ((30, 300, 7), (slice(0, 1), slice(140, 150), slice(0, 7))),
    ],
)
def test_the_laplacian_of_a_box_is_itks_to_the_last_bit(shape, box, sigma_mm, dtype) -> None:
    assert is_as_itk()
    values = np.random.default_rng(0).normal(100, 40, shape)
    image = sitk.GetImageFromArray(values.clip(0, 255).astype(dtype))
    image.SetSpacing((0.7, 0.83, 2.5))
    volume = sitk.GetArrayFromImage(image)
    want = sitk.GetArrayFromImage(sitk.LaplacianRecursiveGaussian(image, sigma_mm, True))[box]
    np.testing.assert_array_equal(laplacian(volume, (2.5, 0.83, 0.7), sigma_mm, box), want)


def test_where_itk_rounds_otherwise_it_filters_itself(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = parameters(tmp_path, "imageType: {LoG: {sigma: [1.0]}}\nfeatureClass: {firstorder: }\n")
    image, mask = as_images(ct(9), region("ring", 9))
    monkeypatch.setattr(fast_log_rounding, "_steady", lambda *_: False)
    ours = extract(image, mask, path)
    monkeypatch.setattr(fast_log_rounding, "is_as_itk", lambda: False)
    monkeypatch.setattr(fast_log_rounding, "laplacian", lambda *_: pytest.fail("rounds otherwise"))
    assert extract(image, mask, path) == ours


@pytest.mark.parametrize("wavelet", ["haar", "coif1", "db7", "bior3.1", "coif5", "db38", "dmey"])
def test_wavelets_equal_pywt_to_the_last_bit(wavelet: str) -> None:
    """Of flat regions too, whose high-pass bands are nothing but the rounding of sums taken in pywt's order."""
    rng = np.random.default_rng(0)
    for shape in ((7, 21, 23), (8, 40, 16), (1, 30, 31)):
        for volume in ((45 * (rng.random(shape) > 0.5)).astype(np.int16), rng.normal(size=shape).astype(np.float32)):
            padded = np.pad(volume, [(0, n % 2) for n in shape], "wrap")
            want = pywt.swtn(padded, wavelet, level=1, axes=(2, 1, 0))[0]
            for box in (
                tuple(slice(0, n) for n in shape),
                tuple(slice(max(0, n // 2 - 2), n // 2 + 1) for n in shape),
                tuple(slice(n - 1, n) for n in shape),
            ):
                got = wavelet_bands(volume, box, wavelet)
                for name, band in want.items():
                    np.testing.assert_array_equal(got[name.replace("a", "L").replace("d", "H")], band[box])


@pytest.mark.parametrize(
    "image_types",
    [
        "Wavelet: {level: 2}",
        "Wavelet: {start_level: 1}",
    ],
)
def test_image_types_that_the_fast_path_does_not_cover_are_left_to_pyradiomics(
    image_types: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = parameters(tmp_path, f"imageType: {{{image_types}}}\nfeatureClass: {{firstorder: , gldm: }}\n")
    monkeypatch.setattr(fast_radiomics, "_extract_fast", lambda *_: pytest.fail("took the fast path"))
    image, mask = as_images(ct(6), region("ring", 6))
    ours = extract(image, mask, path)
    assert ours == plain(image, mask, path)
    assert list(ours) == expected_names(path)


@pytest.mark.parametrize(
    ("image_types", "setting"),
    [
        ("Original: {}, LoG: {sigma: [0.5, 3]}, Wavelet: {wavelet: haar}", "binWidth: 10"),
        ("Wavelet: {wavelet: db3}", "binCount: 32"),
        ("Original: {}, LoG: {sigma: [2.0], binWidth: 3}", "distances: [1, 2]"),
        ("Original: {}", "{symmetricalGLCM: false, gldm_a: 1, voxelArrayShift: 1000}"),
        ("Original: {}", "{force2D: true, force2Ddimension: 1}"),
        ("Original: {}", "{padDistance: 3, minimumROISize: 20}"),
        ("Original: {}", "weightingNorm: no_weighting"),
        ("Original: {}", "{weightingNorm: manhattan, force2D: true}"),
    ],
)
def test_settings_of_the_fast_path(
    image_types: str, setting: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of these the fast path says that it covers them: it must be the one that answers, and rightly."""
    path = parameters(
        tmp_path,
        f"imageType: {{{image_types}}}\nfeatureClass: {{firstorder: , glcm: , glrlm: , glszm: , gldm: , ngtdm: }}\n"
        f"setting: {{{setting.strip('{}')}, label: 1}}\n",
    )
    image, mask = as_images(ct(8), region("several slices", 8))
    theirs = plain(image, mask, path)
    monkeypatch.setattr(fast_radiomics, "_extract_plain", lambda *_: pytest.fail("took the slow path"))
    ours = extract(image, mask, path)
    assert list(ours) == expected_names(path)
    assert_same(ours, theirs)


@pytest.mark.parametrize("text", ["setting: {binWidth: 20}", "{}", "imageType: {Original: {}}\nfeatureClass: {}"])
def test_a_file_that_names_no_class_means_all_but_the_outline(text: str, tmp_path: Path) -> None:
    path = parameters(tmp_path, text + "\n")
    image, mask = as_images(ct(6), region("ring", 6))
    ours = extract(image, mask, path)
    assert len(ours) == len(expected_names(path)) == 107
    assert_same(ours, plain(image, mask, path))


def test_what_pyradiomics_does_not_compute_is_refused_with_the_reason(tmp_path: Path) -> None:
    image, mask = as_images(ct(6), region("ring", 6))
    path = parameters(tmp_path, "featureClass: {glcm: [Homogeneity1, Contrast]}\n")
    with pytest.raises(ExtractionError, match="glcm_Homogeneity1.*: they are deprecated"):
        extract(image, mask, path)
    path.write_text("featureClass: {shape2D: , firstorder: }\n")
    with pytest.raises(ExtractionError, match="left out 9 features .* force2D: true"):
        extract(image, mask, path)
    path.write_text("imageType: {Wavelet: {}}\nfeatureClass: {firstorder: }\n")
    with pytest.raises(ExtractionError, match="it is not 3-D"):
        extract(image[:, :, 3], mask[:, :, 3], path)
    path.write_text("featureClass: {firstorder: [StandardDeviation], shape: [Compactness1]}\n")
    assert_same(extract(image, mask, path), plain(image, mask, path))  # deprecated, but still computed


def test_a_label_for_one_image_type_alone(tmp_path: Path) -> None:
    path = parameters(tmp_path, "imageType: {Original: {}, Wavelet: {label: 2}}\nfeatureClass: {firstorder: }\n")
    image, mask = as_images(ct(6), region("ring", 6))
    voxels = sitk.GetArrayFromImage(mask)
    voxels[:, 28:36] *= 2
    both = sitk.GetImageFromArray(voxels)
    both.CopyInformation(mask)
    assert_same(extract(image, both, path), plain(image, both, path))


def test_masks_of_real_numbers_are_cut_off_as_pyradiomics_does() -> None:
    image, mask = as_images(ct(5), region("ring", 5))
    real = sitk.Cast(mask, sitk.sitkFloat32) * 1.7 + 0.2
    assert_same(extract(image, real, PM), plain(image, real, PM))


def test_lengths_are_those_of_the_image_when_a_tolerance_lets_the_mask_differ(tmp_path: Path) -> None:
    before = sitk.ProcessObject.GetGlobalDefaultCoordinateTolerance()
    image, mask = as_images(ct(5), region("ring", 5))
    mask.SetSpacing((0.7003, 0.9, 5.0))
    path = parameters(tmp_path, "featureClass: {shape: , firstorder: [TotalEnergy]}\n")
    try:
        sitk.ProcessObject.SetGlobalDefaultCoordinateTolerance(0.01)
        assert_same(extract(image, mask, path), plain(image, mask, path))
    finally:
        sitk.ProcessObject.SetGlobalDefaultCoordinateTolerance(before)


def test_a_missing_voxel_anywhere_spoils_the_laplacian(tmp_path: Path) -> None:
    """ITK's recursion spreads it over the image; a filter that looks near the mask alone would hide it."""
    volume = ct(7).astype(np.float32)
    volume[0, 0, 0] = np.nan
    image, mask = as_images(volume, region("ring", 7))
    path = parameters(tmp_path, "imageType: {LoG: {sigma: [0.5]}}\nfeatureClass: {firstorder: }\n")
    with pytest.raises(ExtractionError, match="log-sigma-0-5-mm-3D: intensities inside the mask are not finite"):
        extract(image, mask, path)


@pytest.mark.parametrize("label", [2, 300])
def test_the_label_of_the_parameter_file(label: int, tmp_path: Path) -> None:
    path = parameters(tmp_path, f"featureClass: {{shape: , firstorder: , glcm: }}\nsetting: {{label: {label}}}\n")
    image, mask = as_images(ct(6), region("ring", 6))
    mask = sitk.Cast(mask, sitk.sitkUInt16) * label
    result = RadiomicsFeatureExtractor(str(path)).execute(image, mask)
    theirs = {k: float(v) for k, v in result.items() if not k.startswith("diagnostics_")}
    assert_same(extract(image, mask, path), theirs)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_local_binary_pattern_has_its_names_and_one_without_its_package_is_refused(tmp_path: Path) -> None:
    path = parameters(tmp_path, "imageType: {LBP2D: {binWidth: 1}}\nfeatureClass: {firstorder: }\n")
    image, mask = as_images(ct(6), region("ring", 6))
    with pytest.warns(UserWarning, match="local_binary_pattern"):  # scikit-image's, of non-integer images
        image = sitk.Cast(image, sitk.sitkFloat32)
        ours = extract(image, mask, path)
    assert list(ours) == expected_names(path)
    path.write_text("imageType: {Original: {}, LBP3D: {}}\nfeatureClass: {firstorder: }\n")
    if importlib.util.find_spec("trimesh") is None:
        with pytest.raises(ExtractionError, match=r"left out 54 features without an error \(lbp-3D-m1_firstorder"):
            extract(image, mask, path)


@pytest.mark.parametrize(
    "setting", ["preCrop: true, padDistance: 1", "resampledPixelSpacing: [1, 1, 5], padDistance: 0"]
)
def test_images_that_get_too_thin_on_the_way_are_refused_too(setting: str, tmp_path: Path) -> None:
    images = "imageType: {Original: {}, LoG: {sigma: [3.0]}}"
    path = parameters(tmp_path, f"{images}\nfeatureClass: {{firstorder: }}\nsetting: {{{setting}}}\n")
    image, mask = as_images(ct(7), region("ring", 7))
    with pytest.raises(NoRadiomicsError, match="log-sigma-3-0-mm-3D: the image around the mask .* raise padDistance"):
        extract(image, mask, path)


def test_thin_images_are_refused_by_name() -> None:
    image, mask = as_images(ct(3), region("ring", 3))
    with pytest.raises(ExtractionError, match=r"log-sigma-1-0-mm-3D: the image has 64 x 64 x 3 voxels"):
        extract(image, mask, SM)


def test_intensities_that_are_no_numbers_are_refused() -> None:
    volume = ct(5).astype(np.float32)
    volume[2, 32, 16] = np.nan
    image, mask = as_images(volume, region("ring", 5))
    with pytest.raises(ExtractionError, match="original: intensities inside the mask are not finite"):
        extract(image, mask, PM)


def test_features_that_are_no_numbers_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    image, mask = as_images(ct(5), region("ring", 5))
    monkeypatch.setattr(fast_classes._FirstOrder, "getSkewnessFeatureValue", lambda _: np.array([np.nan]))
    with pytest.raises(ExtractionError, match="not a finite number: original_firstorder_Skewness = nan"):
        extract(image, mask, PM)


def test_shape2d_on_two_slices_is_an_error() -> None:
    image, mask = as_images(ct(9), region("several slices", 9))
    with pytest.raises(NoRadiomicsError, match="reaches over . slices and shape2D needs one; let one slice count"):
        extract(image, mask, PM)


def test_an_empty_mask_and_another_grid_are_errors() -> None:
    image, mask = as_images(ct(5), region("ring", 5))
    with pytest.raises(ValueError, match="No labels found"):
        extract(image, mask * 0, PM)
    mask.SetOrigin((0, 0, 1))
    with pytest.raises(ValueError, match="geometry mismatch"):
        extract(image, mask, PM)


@settings(deadline=None)  # the first call compiles
@given(st.lists(st.floats(allow_nan=False) | st.integers(-(2**40), 2**40).map(float)))
def test_voxels_are_sorted_as_numpy_sorts(values: list[float]) -> None:
    assert (fast_classes._in_order(np.array(values)) == np.sort(np.array(values))).all()


def test_names_are_known_before() -> None:
    image, mask = as_images(ct(7), region("ring", 7))
    assert list(extract(image, mask, SM)) == expected_names(SM)
    assert len(expected_names(SM)) == 1316
    assert len(expected_names(PM)) == 27


@pytest.mark.parametrize("seed", range(12))
def test_matrices_equal_the_c_code(seed: int) -> None:
    rng = np.random.default_rng(seed)
    size = rng.integers(1, 9, 3)
    size[rng.integers(3)] += 2
    inside = rng.random(size) < rng.choice([0.3, 0.8])
    inside.flat[:2] = True
    image = np.where(inside, rng.integers(1, 5, size), 0).astype(np.int32)
    flat = (bool(seed % 3 == 0), 0)
    distances, levels = np.array([[1], [1, 2], [2]][seed % 3]), int(image.max())
    ours = Matrices(Neighbours(inside, *flat), Neighbours(inside, *flat, tuple(distances)), image[inside])
    for name, args in {
        "glcm": (distances, levels),
        "glrlm": (levels, int(size.max())),
        "glszm": (levels, int(inside.sum())),
        "gldm": (distances, levels, 1),
        "ngtdm": (distances, levels),
    }.items():
        got = getattr(ours, f"calculate_{name}")(image, inside, *args, *flat)
        want = getattr(cMatrices, f"calculate_{name}")(image, inside, *args, *flat)
        for a, b in zip(np.atleast_1d(got) if isinstance(got, np.ndarray) else got, want, strict=True):
            np.testing.assert_array_equal(a, b[..., : a.shape[-1]] if name == "gldm" else b, err_msg=name)


@pytest.mark.parametrize("size", [(2, 2, 2), (1, 5, 4), (3, 1, 1), (1, 1, 2), (7, 2, 1)])
@pytest.mark.parametrize("flat", [(False, 0), (True, 0), (True, 1), (True, 2)])
@pytest.mark.parametrize("distances", [(1,), (1, 2), (3,), (1, 4)])
def test_directions_are_those_of_the_c_code(size, flat, distances) -> None:
    inside = np.ones(size, bool)
    arguments = (np.ones(size, np.int32), inside, np.array(distances), 1, *flat)
    try:
        want = cMatrices.calculate_glcm(*arguments)[1]
    except RuntimeError:  # nowhere to go
        with pytest.raises(RuntimeError, match="no two voxels"):
            directions(np.array(size), *flat, distances)
        return
    np.testing.assert_array_equal(directions(np.array(size), *flat, distances), want)


@pytest.mark.parametrize("seed", range(8))
def test_mesh_equals_the_c_code(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = np.pad(rng.random(rng.integers(1, 12, 3)) < rng.choice([0.2, 0.5, 0.9]), 1)
    mask[1, 1, 1] = True
    spacing = rng.uniform(0.4, 6, 3)
    area, volume, diameters = mesh_coefficients(mask, spacing)
    want = cShape.calculate_coefficients(mask, spacing)
    np.testing.assert_allclose([area, volume, *diameters], [*want[:2], *want[2]], rtol=1e-12)


@pytest.mark.skipif(not REAL.is_dir(), reason="the real CT is not on this machine")
@pytest.mark.parametrize(("muscle", "parameter_file"), [("sm", SM), ("pm", PM)])
def test_equals_pyradiomics_on_a_real_ct(muscle: str, parameter_file: Path) -> None:
    mask = sitk.ReadImage(str(REAL / "masks" / f"{muscle}.nrrd"))
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(REAL / "ct")))
    image = reader.Execute()
    z = int(np.flatnonzero(sitk.GetArrayViewFromImage(mask).any(axis=(1, 2)))[0])
    part = slice(z - 4, z + 5)  # nine slices, so that the reference takes seconds
    image, mask = image[:, :, part], sitk.Cast(mask, sitk.sitkUInt8)[:, :, part]
    assert_same(extract(image, mask, parameter_file), plain(image, mask, parameter_file))


@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize("order", [0, 2])
@pytest.mark.parametrize(("sigma_mm", "spacing_mm"), [(1.0, 0.7), (5.0, 0.66), (3.0, 2.9), (0.4, 3.0)])
def test_the_recursion_is_the_closed_form_of_its_response(sigma_mm, spacing_mm, order, axis):
    volume = np.random.default_rng(1).integers(-1000, 1500, (1, 40, 50)).astype(np.int16)
    image = sitk.GetImageFromArray(volume)
    image.SetSpacing((spacing_mm, spacing_mm, 3.0))
    box = (slice(0, 1), slice(3, 33), slice(11, 50))
    log = LaplacianOfGaussian(image, [sigma_mm], box, np.ones((1, 30, 39), bool))
    y, x = log.near[sigma_mm]
    got = log.along(volume[:, y, x].astype(float), sigma_mm, axis, [order], [2.0])
    kernel, lines = log.kernels[sigma_mm, axis, order], volume[0].astype(float)
    lines = lines[:, x] if axis == 1 else lines[y].T
    expected = np.empty((box[axis].stop - box[axis].start, lines.shape[1]))
    for k in range(len(expected)):
        first, weights = edge_weights(kernel, box[axis].start + k, len(lines))
        expected[k] = 2 * weights @ lines[first : first + len(weights)]
    np.testing.assert_allclose(got, expected if axis == 1 else expected.T, rtol=0, atol=2 * 3e-11 * 1500)
