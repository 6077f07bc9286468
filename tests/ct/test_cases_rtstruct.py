"""Contours as other tools write them, each against the mask that they were made of or a brute-force fill."""

import numpy as np
import pydicom
import pytest
from conftest import write_series
from mask_files import write_rtstruct
from matplotlib.path import Path as Polygon
from scipy.ndimage import gaussian_filter
from skimage.measure import find_contours

from analysis_lib.core.parameters import load_params
from analysis_lib.ct.geometry import Geometry, ImageError
from analysis_lib.ct.indices import open_patient
from analysis_lib.ct.mask_rtstruct import ContourSegment
from analysis_lib.ct.masks import read_segments

IMAGES = load_params("defaults").images
CLOSED = "CLOSED_PLANAR"


def through_centres(mask: np.ndarray, shift: float = 0.0) -> list[np.ndarray]:
    """Borders of a mask (row, column) as paths of (x, y) indices through its border pixels, as OpenCV's findContours
    gives them: the region's own pixels at outlines and holes, neighbours by corners too."""
    padded = np.pad(mask.astype(float), 1)
    found = find_contours(padded, 1 - 1e-6, fully_connected="high")
    return [np.rint(one[:-1, ::-1]) - 1 + shift for one in found]


def region(outlines, grid: Geometry, k: int = 1, decimals: int = 6, kind: str = CLOSED) -> ContourSegment:
    """A region of outlines (x, y) on one slice, its mm rounded as in a file."""
    contours = []
    for outline in outlines:
        index = np.column_stack([outline, np.full(len(outline), k)])
        contours.append(np.round(index @ grid.affine[:3, :3].T + grid.affine[:3, 3], decimals))
    return ContourSegment("SM", tuple(contours), (kind,) * len(contours))


def grid_of(shape, spacing=(0.7, 0.8, 5.0), origin=(-20.0, -30.0, -100.0)) -> Geometry:
    return Geometry((shape[1], shape[0], 3), origin, spacing, (1, 0, 0, 0, 1, 0, 0, 0, 1))


def blobs(seed: int, shape=(60, 70)) -> np.ndarray:
    """A mask with holes, thin walls, islands and single pixels."""
    rng = np.random.default_rng(seed)
    mask = gaussian_filter(rng.normal(size=shape), 1.2) > 0.05
    mask[[0, -1]], mask[:, [0, -1]] = False, False
    return mask


SPACINGS = [(0.8, 0.8), (0.9765625, 0.9765625), (0.703125, 0.703125), (0.6, 0.7), (0.7839999794960022,) * 2]
ORIGINS = [(-44.4, -43.2), (-249.51171875, -412.51171875), (-180.0, -180.0), (-166.6000061035156, -33.3333), (1e3, 0.1)]


@pytest.mark.parametrize("decimals", [2, 3, 6, 12])
@pytest.mark.parametrize(("spacing", "origin"), list(zip(SPACINGS, ORIGINS, strict=True)))
@pytest.mark.parametrize("seed", range(3))
def test_contours_through_pixel_centres_give_their_mask_back(seed, spacing, origin, decimals):
    mask = blobs(seed)
    grid = grid_of(mask.shape, (*spacing, 5.0), (*origin, -100.0))
    np.testing.assert_array_equal(region(through_centres(mask), grid, decimals=decimals).on_grid(grid)[1], mask)


def ring(outer: int, wall: int) -> np.ndarray:
    y, x = np.mgrid[:41, :41] - 20
    far = np.maximum(np.abs(x), np.abs(y))
    return (far <= outer) & (far > outer - wall)


def diamond(outer: int, wall: int) -> np.ndarray:
    y, x = np.mgrid[:41, :41] - 20
    far = np.abs(x) + np.abs(y)
    return (far <= outer) & (far > outer - wall)


@pytest.mark.parametrize("shape", [ring, diamond])
@pytest.mark.parametrize("wall", [1, 2, 5])
@pytest.mark.parametrize("outer", [3, 8, 15])
def test_walls_of_one_pixel_and_islands_in_their_holes(shape, wall, outer):
    mask = shape(outer, wall)
    mask[20, 20] = True
    grid = grid_of(mask.shape, (0.7839999794960022, 0.7839999794960022, 5.0), (-160.123456, 3.3333333, 0.0))
    np.testing.assert_array_equal(region(through_centres(mask), grid).on_grid(grid)[1], mask)


@pytest.mark.parametrize("simplified", [False, True])
def test_a_simplified_contour_counts_the_pixels_between_its_corners(simplified):
    """A rectangle of 12 x 9 pixels by all of its border pixels, or its four corners alone (CHAIN_APPROX_SIMPLE)."""
    mask = np.zeros((40, 50), bool)
    mask[10:22, 5:14] = True
    outline = np.array([[5, 10], [13, 10], [13, 21], [5, 21]]) if simplified else through_centres(mask)[0]
    for spacing, origin in zip(SPACINGS, ORIGINS, strict=True):
        grid = grid_of(mask.shape, (*spacing, 5.0), (*origin, 0.0))
        assert region([outline], grid).on_grid(grid)[1].sum() == 12 * 9


@pytest.mark.parametrize(("spacing", "origin"), list(zip(SPACINGS, ORIGINS, strict=True)))
def test_an_edge_along_a_row_of_centres_does_not_depend_on_rounding(spacing, origin):
    """Only two of its four edges lie on pixel centres; those rows count."""
    grid = grid_of((40, 50), (*spacing, 5.0), (*origin, 0.0))
    outline = np.array([[5.3, 10], [20.4, 10], [20.4, 18], [5.3, 18]])
    for decimals in (4, 6, 9):
        filled = region([outline], grid, decimals=decimals).on_grid(grid)[1]
        assert filled.sum() == 15 * 9, decimals


@pytest.mark.parametrize("seed", range(6))
def test_contours_between_the_centres_are_filled_as_by_brute_force(seed):
    rng = np.random.default_rng(seed)
    angles = np.sort(rng.uniform(0, 2 * np.pi, 40))
    outline = [25, 20] + np.column_stack([np.cos(angles), np.sin(angles)]) * rng.uniform(8, 17, (40, 1))
    grid = grid_of((40, 50))
    y, x = np.mgrid[:40, :50]
    inside = Polygon(outline).contains_points(np.column_stack([x.ravel(), y.ravel()])).reshape(x.shape)
    np.testing.assert_array_equal(region([outline], grid).on_grid(grid)[1], inside)


def test_pixel_corners_with_diagonal_cuts_do_not_depend_on_rounding():
    """Contours along pixel corners whose simplified steps pass through centres."""
    outline = np.array([[4.5, 4.5], [20.5, 4.5], [20.5, 12.5], [12.5, 20.5], [4.5, 20.5]])
    counts = set()
    for spacing, origin in zip(SPACINGS, ORIGINS, strict=True):
        grid = grid_of((40, 50), (*spacing, 5.0), (*origin, 0.0))
        counts |= {int(region([outline], grid, decimals=d).on_grid(grid)[1].sum()) for d in (3, 6, 12)}
    assert counts == {16 * 16 - 28}  # less the corner's triangle; its diagonal counts


SQUARE = np.array([[8.3, 8.4], [30.2, 8.4], [30.2, 28.7], [8.3, 28.7]])
SLIPS = {
    "a point inside": [[15, 15]],
    "a point outside": [[40, 35]],
    "a point beyond the CT": [[900, 35]],
    "a line inside": [[12, 12], [12, 20]],
    "a line outside": [[40, 10], [40, 30]],
    "a line across": [[2, 15], [45, 15]],
    "a line of three points": [[12, 12], [12, 16], [12, 20]],
    "the same point four times": [[20, 20]] * 4,
}


@pytest.mark.parametrize("slip", SLIPS)
def test_contours_without_area_are_left_out(slip):
    grid = grid_of((40, 50))
    alone = region([SQUARE], grid).on_grid(grid)
    assert alone.sum() == 22 * 20
    np.testing.assert_array_equal(region([SQUARE, np.array(SLIPS[slip], float)], grid).on_grid(grid), alone)


def test_single_pixels_and_lines_of_a_pixel_mask_stay():
    """Of a region that runs through pixel centres they are pixels of its mask."""
    mask = np.zeros((40, 50), bool)
    mask[5:15, 5:15], mask[20, 20], mask[30, 10:18], mask[25:30, 40] = True, True, True, True
    grid = grid_of(mask.shape)
    paths = through_centres(mask)
    assert any(len(np.unique(path, axis=0)) == 1 for path in paths)
    np.testing.assert_array_equal(region(paths, grid).on_grid(grid)[1], mask)


def test_a_region_of_slips_alone_is_refused(patient, tmp_path):
    ct, *_, geometry = patient
    points = [geometry.affine[:3, 3] + [10.0, 10.0, 15.0]]
    write_rtstruct(tmp_path / "m.dcm", {"SM": [np.array(points)]}, kind="POINT")
    with pytest.raises(ImageError, match="'SM' has 1 open contours or points; close them"):
        open_patient(ct, tmp_path / "m.dcm", IMAGES)


@pytest.mark.parametrize("value", ["bytes", "bytes with a null", "numbers"])
def test_contours_longer_than_64_kb_are_read(tmp_path, value):
    """Explicit VR cannot store them as decimal strings, so that writers fall back to UN."""
    geometry = write_series(tmp_path / "ct", np.random.default_rng(0).integers(-100, 99, (4, 40, 50)))
    turn = np.linspace(0, 2 * np.pi, 5000, endpoint=False)
    index = np.column_stack([24.6 + 15 * np.cos(turn), 19.6 + 13 * np.sin(turn), np.full(5000, 1)])
    points = index @ geometry.affine[:3, :3].T + geometry.affine[:3, 3]
    few = np.round(points[::5], 3)
    write_rtstruct(tmp_path / "m.dcm", {"SM": [few]})
    if value != "numbers":
        text = "\\".join(f"{v:.6f}" for v in points.ravel()).encode()
        assert len(text) > 1 << 16
        dataset = pydicom.dcmread(tmp_path / "m.dcm")
        contour = dataset.ROIContourSequence[0].ContourSequence[0]
        contour[0x30060050] = pydicom.DataElement(0x30060050, "UN", text + b"\0" * (value == "bytes with a null"))
        dataset.save_as(tmp_path / "m.dcm")
    y, x = np.mgrid[:40, :50]
    inside = ((x - 24.6) / 15) ** 2 + ((y - 19.6) / 13) ** 2 <= 1
    np.testing.assert_array_equal(open_patient(tmp_path / "ct", tmp_path / "m.dcm", IMAGES).masks["sm"][1], inside)


@pytest.mark.parametrize("implicit", [False, True])
@pytest.mark.parametrize("decimals", [0, 3, 12])
def test_thousands_of_contours_have_the_numbers_that_pydicom_reads(tmp_path, decimals, implicit):
    rng, path = np.random.default_rng(decimals), tmp_path / "m.dcm"
    drawn = [np.round(rng.normal(scale=200, size=(rng.integers(1, 9), 3)), decimals) for _ in range(2000)]
    write_rtstruct(path, {"SM": drawn})
    dataset = pydicom.dcmread(path)
    for item, content in zip(dataset.ROIContourSequence[0].ContourSequence[:2], (None, []), strict=True):
        item.ContourData = content  # without a point
    if implicit:
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
    pydicom.dcmwrite(path, dataset, implicit_vr=implicit, little_endian=True)
    expected = [
        np.reshape([float(x) for x in item.ContourData], (-1, 3))
        for item in pydicom.dcmread(path).ROIContourSequence[0].ContourSequence[2:]
    ]
    (found,) = read_segments(path)
    assert len(found.contours) == len(found.kinds) == 1998
    assert all(np.array_equal(one, other) for one, other in zip(found.contours, expected, strict=True))
