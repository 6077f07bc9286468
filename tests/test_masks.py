"""Masks: chosen by name, placed by index, refused where they were drawn on another image."""

import numpy as np
import pytest
from conftest import write_seg

from analysis_lib.imaging import masks
from analysis_lib.imaging.geometry import Geometry, ImageError

GRID = Geometry((10, 8, 6), (-5.0, 3.0, -40.0), (0.7, 0.8, 5.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))


@pytest.fixture
def mask():
    return np.random.default_rng(2).random((6, 8, 10)) > 0.8


def read_one(path, name="SM"):
    return masks.choose(masks.read_segments(path), [name])


def test_overlapping_segments_in_layers_are_told_apart(tmp_path, mask):
    other = np.roll(mask, 2, axis=2)
    write_seg(tmp_path / "m.seg.nrrd", {"SM": mask, "PM": other}, GRID)
    np.testing.assert_array_equal(on_grid(read_one(tmp_path / "m.seg.nrrd", "PM"), GRID), other)
    np.testing.assert_array_equal(on_grid(read_one(tmp_path / "m.seg.nrrd", "sm "), GRID), mask)


def test_order_of_segments_does_not_matter(tmp_path, mask):
    write_seg(tmp_path / "m.seg.nrrd", {"PM": ~mask, "SM": mask}, GRID)
    np.testing.assert_array_equal(on_grid(read_one(tmp_path / "m.seg.nrrd"), GRID), mask)


def test_sub_volume_is_placed_by_index(tmp_path, mask):
    part = mask[2:5, 1:7, 3:9]
    origin = (GRID.affine @ [3, 1, 2, 1])[:3]
    cut = Geometry(part.shape[::-1], tuple(origin), GRID.spacing, GRID.direction)
    write_seg(tmp_path / "m.seg.nrrd", {"SM": part}, cut)
    expected = np.zeros_like(mask)
    expected[2:5, 1:7, 3:9] = part
    np.testing.assert_array_equal(on_grid(read_one(tmp_path / "m.seg.nrrd"), GRID), expected)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_flipped_axis_is_placed_by_index(tmp_path, mask, axis):
    affine = GRID.affine
    flip, size = np.eye(4), GRID.size[axis]
    flip[axis, axis], flip[axis, 3] = -1, size - 1
    flipped = Geometry.from_affine(affine @ flip, GRID.size)
    write_seg(tmp_path / "m.seg.nrrd", {"SM": np.flip(mask, axis=2 - axis)}, flipped)
    np.testing.assert_array_equal(on_grid(read_one(tmp_path / "m.seg.nrrd"), GRID), mask)


@pytest.mark.parametrize(
    ("origin", "spacing"),
    [
        ((-5.0, 3.0, -39.0), GRID.spacing),
        (GRID.origin, (0.71, 0.8, 5.0)),
        ((-4.65, 3.0, -40.0), GRID.spacing),
    ],
)
def test_other_grid_is_refused_with_both_geometries(tmp_path, mask, origin, spacing):
    write_seg(tmp_path / "m.seg.nrrd", {"SM": mask}, Geometry(GRID.size, origin, spacing, GRID.direction))
    with pytest.raises(ImageError, match=r"does not fit the CT.*mask: size.*CT: size"):
        on_grid(read_one(tmp_path / "m.seg.nrrd"), GRID)


def test_outside_the_ct_is_refused(tmp_path, mask):
    write_seg(tmp_path / "m.seg.nrrd", {"SM": mask}, Geometry(GRID.size, (-5, 3, -20), GRID.spacing, GRID.direction))
    with pytest.raises(ImageError, match="outside the CT"):
        on_grid(read_one(tmp_path / "m.seg.nrrd"), GRID)


def test_absent_empty_and_double_segments(tmp_path, mask):
    write_seg(tmp_path / "m.seg.nrrd", {"SM": np.zeros_like(mask), "sm": mask, "liver": mask}, GRID)
    segments = masks.read_segments(tmp_path / "m.seg.nrrd")
    with pytest.raises(ImageError, match="no segment named PM.*'liver'"):
        masks.choose(segments, ["PM"])
    with pytest.raises(ImageError, match="2 segments are named SM"):
        masks.choose(segments, ["SM"])
    with pytest.raises(ImageError, match="is empty"):
        masks.choose(segments[:1], ["SM"])


def test_missing_damaged_and_foreign_files(tmp_path, mask):
    path = tmp_path / "m.seg.nrrd"
    with pytest.raises(ImageError, match="is missing"):
        masks.read_segments(path)
    write_seg(path, {"SM": mask}, GRID)
    whole = path.read_bytes()
    for damaged in (b"", b"no nrrd", whole[:100], whole[:-20]):
        path.write_bytes(damaged)
        with pytest.raises(ImageError, match="cannot be read|damaged"):
            masks.read_segments(path)
    write_seg(path, {"SM": mask}, GRID, space="scanner-xyz")
    with pytest.raises(ImageError, match="no known patient space"):
        masks.read_segments(path)
