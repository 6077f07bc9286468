"""Settings and filters of clinical papers in the fast extractor, alone and together, against plain PyRadiomics."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_pyradiomics import assert_same, plain
from radiomics import imageoperations

from analysis_lib.radiomics import fast_radiomics, fast_resampling
from analysis_lib.radiomics.fast_radiomics import extract
from analysis_lib.radiomics.features import feature_table
from analysis_lib.radiomics.plan import ExtractionError, NoRadiomicsError, expected_names
from analysis_lib.radiomics.workers import run_here

pytestmark = [
    pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning"),  # pykwalify's, in plain()
    pytest.mark.filterwarnings(
        "ignore:Applying .local_binary_pattern:UserWarning"
    ),  # of intensities that are no integers
]
ROOT = Path(__file__).resolve().parents[2]
REAL = ROOT.parent / "shared" / "data" / "ct-l3" / "CRLM-CT-1006"

SETTINGS = [
    "resampledPixelSpacing: [1, 1, 5]",
    "resampledPixelSpacing: [1.5, 0.45, 0]",  # twice as coarse as the image, twice as fine, as it is
    "resampledPixelSpacing: [2, 2, 3], padDistance: 8",
    "resampledPixelSpacing: [0.75, 0.9, 5]",  # the image's own: a crop
    "resampledPixelSpacing: [1, 1, 4], interpolator: sitkLinear",
    "preCrop: true, padDistance: 6",
    "normalize: true, normalizeScale: 100",
    "normalize: true, normalizeScale: 50, removeOutliers: 1.5, voxelArrayShift: 300",
    "resegmentRange: [0, 90]",
    "resegmentRange: [-1.5, 1.5], resegmentMode: sigma",
    "resegmentRange: [0.2, 0.9], resegmentMode: relative, resegmentShape: true",
    "resegmentRange: [10], resegmentShape: true",
    "force2D: true",
    "force2D: true, force2Ddimension: 1",
    "force2D: true, force2Ddimension: 2",
    "binCount: 12",
    "binWidth: 7.5",
    "distances: [1, 2]",
    "distances: [2, 3]",
    "weightingNorm: euclidean",
    "weightingNorm: infinity",
    "symmetricalGLCM: false, gldm_a: 1",
    "correctMask: true, minimumROISize: 20",
]
FILTERS = [
    "Original: {}",
    "Wavelet: {}",
    "Wavelet: {wavelet: db3}",
    "LoG: {sigma: [1.0, 2.5]}",
    "Square: {}",
    "SquareRoot: {}",
    "Logarithm: {}",
    "Exponential: {binWidth: 5}",
    "Gradient: {}",
    "Gradient: {gradientUseSpacing: false, binCount: 8}",
    "LBP2D: {binWidth: 1}",
    "LBP2D: {binWidth: 1, lbp2DRadius: 2.5, lbp2DSamples: 12, lbp2DMethod: ror}",
]
CLASSES = ("shape", "firstorder", "glcm", "glrlm", "glszm", "gldm", "ngtdm")


def images(kind: str = "int16", lying: bool = False, seed: int = 0) -> tuple[sitk.Image, sitk.Image]:
    """A noisy 30 x 27 x 9 image and a rough blob of some 400 voxels in it, which touches the border if ``lying``."""
    rng = np.random.default_rng(seed)
    z, y, x = np.mgrid[:9, :27, :30].astype(float)
    volume = 45 + 3 * x + rng.normal(0, 30, z.shape)
    radius = np.hypot(np.hypot((z - 4) * 3, y - (5 if lying else 13)), (x - 15) / 1.3)
    volume[radius > 14] -= 900
    mask = (radius < 7 + rng.uniform(-1, 1, z.shape)) & (z > 2)
    image = sitk.GetImageFromArray(volume.round().astype(kind) if kind == "int16" else (volume * 1.01).astype(kind))
    region = sitk.GetImageFromArray(mask.astype(np.uint8) * 3 + 1)  # label 4 in a mask of 1
    for one in (image, region):
        one.SetSpacing((0.75, 0.9, 5.0))
        one.SetOrigin((-101.3, 17.7, 50.0))
    return image, region


def write(path: Path, filters: Iterable[str], setting: Iterable[str], classes: Iterable[str] = CLASSES) -> Path:
    merged = {key: value for text in setting for key, value in yaml.safe_load(f"{{{text}}}").items()}
    types = {key: value for text in filters for key, value in yaml.safe_load(f"{{{text}}}").items()}
    content = {"imageType": types, "featureClass": dict.fromkeys(classes), "setting": {**merged, "label": 4}}
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def no_slow_path():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fast_radiomics, "_extract_plain", lambda *_: pytest.fail("took the slow path"))
        yield


def compare(path: Path, image: sitk.Image, mask: sitk.Image) -> None:
    theirs = plain(image, mask, path, label=4)
    ours = extract(image, mask, path)
    assert list(ours) == expected_names(path)
    assert_same(ours, theirs)


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_setting(setting: str, tmp_path: Path, no_slow_path: None) -> None:
    compare(write(tmp_path / "p.yaml", FILTERS[:1], [setting]), *images())


@pytest.mark.parametrize("filters", FILTERS)
@pytest.mark.parametrize("kind", ["int16", "float32", "float64"])
def test_a_filter(filters: str, kind: str, tmp_path: Path, no_slow_path: None) -> None:
    path = write(tmp_path / "p.yaml", [filters], [], ["firstorder", "glszm"])
    compare(path, *images(kind, lying=kind == "float32"))


@pytest.mark.parametrize("flat", [0, 1, 2])
def test_filters_in_the_plane(flat: int, tmp_path: Path, no_slow_path: None) -> None:
    setting = [f"force2D: true, force2Ddimension: {flat}"]
    compare(write(tmp_path / "p.yaml", FILTERS[1:], setting, ["firstorder", "gldm"]), *images(lying=True))


def settled(filters: list[str], setting: list[str], kind: str, lying: bool, path: Path) -> None:
    """Equal to PyRadiomics, or refused where it leaves features out or raises."""
    image, mask = images(kind, lying)
    write(path, filters, setting, ["shape", "firstorder", "glcm", "glrlm", "ngtdm"])
    try:
        theirs = plain(image, mask, path, label=4)
    except (ValueError, RuntimeError):
        theirs = {}
    if set(theirs) == set(expected_names(path)) and np.isfinite(list(theirs.values())).all():
        assert_same(extract(image, mask, path), theirs)
    else:
        with pytest.raises((ValueError, RuntimeError)):
            extract(image, mask, path)


TOGETHER = {
    "filters": st.lists(st.sampled_from(FILTERS), min_size=1, max_size=2),
    "setting": st.lists(st.sampled_from(SETTINGS), min_size=2, max_size=4),
    "kind": st.sampled_from(["int16", "float32", "float64"]),
    "lying": st.booleans(),
}


@settings(deadline=None, max_examples=8, derandomize=True)
@given(**TOGETHER)
def test_settings_and_filters_together(filters, setting, kind, lying, tmp_path_factory) -> None:
    settled(filters, setting, kind, lying, tmp_path_factory.getbasetemp() / "together.yaml")


@pytest.mark.slow
@settings(deadline=None, max_examples=200, derandomize=True)
@given(**TOGETHER)
def test_many_settings_and_filters_together(filters, setting, kind, lying, tmp_path_factory) -> None:
    settled(filters, setting, kind, lying, tmp_path_factory.getbasetemp() / "together.yaml")


@settings(deadline=None, max_examples=40, derandomize=True)
@given(
    # not 2, where ITK reads beyond the end of the image
    size=st.tuples(*(st.integers(1, n).filter(lambda size: size != 2) for n in (12, 40, 200))),
    spacing=st.lists(st.sampled_from([0.7, 0.75, 1.0, 2.5, 5.0]), min_size=3, max_size=3),
    new=st.lists(st.sampled_from([0, 0.375, 0.7, 1, 1.5, 3]), min_size=3, max_size=3),
    kind=st.sampled_from(["int16", "uint8", "float32", "float64"]),
    turn=st.sampled_from(
        [(1, 0, 0, 0, 1, 0, 0, 0, 1), (-1, 0, 0, 0, -1, 0, 0, 0, 1), (0, 1, 0, 0.6, 0, 0.8, 0.8, 0, -0.6)]
    ),
    part=st.tuples(*[st.floats(0, 0.99)] * 6),
    pad=st.integers(0, 7),
)
def test_splines_are_itk_s_to_the_last_bit(size, spacing, new, kind, turn, part, pad) -> None:
    """Where old and new grid meet, a value that is a whole number but for its last bit is cut off to the next."""
    rng = np.random.default_rng(0)
    mask = np.zeros(size, np.uint8)
    bounds = [sorted((int(a * n), int(b * n))) for a, b, n in zip(part[:3], part[3:], size, strict=True)]
    mask[tuple(slice(low, high + 1) for low, high in bounds)] = 1
    pair = sitk.GetImageFromArray(np.abs(rng.normal(0, 200, size)).astype(kind)), sitk.GetImageFromArray(mask)
    for image in pair:
        image.SetSpacing(spacing)
        image.SetOrigin((-101.3, 17.7, 0.0))
        image.SetDirection(turn)
    choice = {"resampledPixelSpacing": new, "padDistance": pad}
    theirs = imageoperations.resampleImage(*pair, **choice)
    ours = fast_resampling.resampled(*pair, np.array(bounds[::-1]), choice)
    for one, other in zip(ours, theirs, strict=True):
        assert (one.GetSpacing(), one.GetOrigin(), one.GetDirection(), one.GetPixelID()) == (
            other.GetSpacing(),
            other.GetOrigin(),
            other.GetDirection(),
            other.GetPixelID(),
        )
        np.testing.assert_array_equal(sitk.GetArrayViewFromImage(one), sitk.GetArrayViewFromImage(other))


def test_a_missing_voxel_anywhere_spoils_the_resampled_image(tmp_path: Path) -> None:
    image, mask = images("float32")
    image[29, 26, 0] = float("nan")
    path = write(tmp_path / "p.yaml", FILTERS[:1], SETTINGS[:1], ["firstorder"])
    with pytest.raises(ExtractionError, match="original: intensities inside the mask are not finite"):
        extract(image, mask, path)


def test_the_splines_are_ours_as_long_as_they_are_itk_s(monkeypatch: pytest.MonkeyPatch) -> None:
    assert fast_resampling._as_itk()
    fast_resampling._as_itk.cache_clear()
    monkeypatch.setattr(fast_resampling, "_weights", lambda beyond: np.full((len(beyond), 4), 0.25))
    assert not fast_resampling._as_itk()
    fast_resampling._as_itk.cache_clear()


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("resegmentRange: [400, 500]", r"resegmentRange \[400, 500\] \(absolute\): .*retained 0 voxel"),
        ("resegmentRange: [-0.1, 0.1], resegmentMode: sigma, minimumROISize: 200", "leaves too little of the region"),
    ],
)
def test_a_region_of_which_too_little_is_left_is_a_named_exclusion(setting: str, reason: str, tmp_path: Path) -> None:
    path = write(tmp_path / "p.yaml", ["Original: {}"], [setting], ["firstorder"])
    with pytest.raises(NoRadiomicsError, match=reason):
        extract(*images(), path)


def test_an_image_that_is_too_thin_for_a_filter_once_it_is_resampled_is_refused_by_name(tmp_path: Path) -> None:
    setting = ["resampledPixelSpacing: [1, 1, 20], padDistance: 0"]
    path = write(tmp_path / "p.yaml", ["LoG: {sigma: [1.0]}"], setting, ["firstorder"])
    with pytest.raises(
        NoRadiomicsError, match=r"log-sigma-1-0-mm-3D: the image around the mask has .* raise padDistance"
    ):
        extract(*images(), path)


def test_what_is_left_to_pyradiomics_is_said_at_the_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    slow = write(tmp_path / "slow.yaml", ["Wavelet: {level: 2}", "LBP3D: {}"], ["force2D: true"], ["firstorder"])
    fast = write(tmp_path / "fast.yaml", ["Wavelet: {}"], ["normalize: true"], ["firstorder"])
    feature_table([], str, str, {"slow": slow, "fast": fast}, tmp_path / "cases", executor=run_here)
    said = capsys.readouterr().err
    assert "note: slow.yaml: LBP3D, level: not in the fast extractor" in said
    assert "fast.yaml" not in said


@pytest.mark.skipif(not REAL.is_dir(), reason="the real CT is not on this machine")
@pytest.mark.parametrize(
    "setting",
    [
        "resampledPixelSpacing: [1, 1, 3], padDistance: 8",
        "normalize: true, normalizeScale: 100, resegmentRange: [-3, 3], resegmentMode: sigma",
        "force2D: true, resegmentRange: [-29, 150], binCount: 32",
    ],
)
def test_equals_pyradiomics_on_a_real_ct(setting: str, tmp_path: Path, no_slow_path: None) -> None:
    mask = sitk.ReadImage(str(REAL / "masks" / "pm.nrrd"))
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(REAL / "ct")))
    image = reader.Execute()
    where = np.argwhere(sitk.GetArrayViewFromImage(mask))
    margin = (4, 30, 30)  # so that the reference takes seconds
    z, y, x = (slice(low - n, high + n + 1) for low, high, n in zip(where.min(0), where.max(0), margin, strict=True))
    image, mask = image[x, y, z], sitk.Cast(mask > 0, sitk.sitkUInt8)[x, y, z] * 4
    filters = ["Original: {}", "Wavelet: {}", "LoG: {sigma: [2.0]}", "Square: {}", "Exponential: {}", "Gradient: {}"]
    compare(write(tmp_path / "p.yaml", filters, [setting]), image, mask)
