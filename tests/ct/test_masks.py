"""Masks: chosen by name, placed by index, refused where they were drawn on another image."""

import re

import nrrd
import numpy as np
import pytest
from conftest import write_seg
from hypothesis import assume, given
from hypothesis import strategies as st

from analysis_lib.core.parameters import load_params
from analysis_lib.ct import masks
from analysis_lib.ct.geometry import Geometry, ImageError
from analysis_lib.ct.segment_names import described, is_harmless
from analysis_lib.ct.settings import SegmentParams

GRID = Geometry((10, 8, 6), (-5.0, 3.0, -40.0), (0.7, 0.8, 5.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))


@pytest.fixture
def mask():
    return np.random.default_rng(2).random((6, 8, 10)) > 0.8


def read_one(path, name="SM"):
    return masks.choose(masks.read_segments(path), SegmentParams(names=[name]))


def placed(segment, grid):
    return segment.on_grid(grid)


def test_overlapping_segments_in_layers_are_told_apart(tmp_path, mask):
    other = np.roll(mask, 2, axis=2)
    write_seg(tmp_path / "m.seg.nrrd", {"SM": mask, "PM": other}, GRID)
    np.testing.assert_array_equal(placed(read_one(tmp_path / "m.seg.nrrd", "PM"), GRID), other)
    np.testing.assert_array_equal(placed(read_one(tmp_path / "m.seg.nrrd", "sm "), GRID), mask)


def test_a_segmentation_of_an_older_slicer_has_a_layer_a_segment(tmp_path, mask):
    """3D Slicer before 4.11 names neither layer nor value; its reader takes layer number and 1 (vtkSegment)."""
    other = np.roll(mask, 2, axis=2)
    write_seg(tmp_path / "new.seg.nrrd", {"PM": other, "SM": mask}, GRID)
    layers, header = nrrd.read(str(tmp_path / "new.seg.nrrd"))
    old = {key: value for key, value in header.items() if not key.endswith(("_Layer", "_LabelValue"))}
    nrrd.write(str(tmp_path / "m.seg.nrrd"), layers, old)
    np.testing.assert_array_equal(placed(read_one(tmp_path / "m.seg.nrrd", "SM"), GRID), mask)
    np.testing.assert_array_equal(placed(read_one(tmp_path / "m.seg.nrrd", "PM"), GRID), other)


def test_order_of_segments_does_not_matter(tmp_path, mask):
    write_seg(tmp_path / "m.seg.nrrd", {"PM": ~mask, "SM": mask}, GRID)
    np.testing.assert_array_equal(placed(read_one(tmp_path / "m.seg.nrrd"), GRID), mask)


def test_sub_volume_is_placed_by_index(tmp_path, mask):
    part = mask[2:5, 1:7, 3:9]
    origin = (GRID.affine @ [3, 1, 2, 1])[:3]
    cut = Geometry(part.shape[::-1], tuple(origin), GRID.spacing, GRID.direction)
    write_seg(tmp_path / "m.seg.nrrd", {"SM": part}, cut)
    expected = np.zeros_like(mask)
    expected[2:5, 1:7, 3:9] = part
    np.testing.assert_array_equal(placed(read_one(tmp_path / "m.seg.nrrd"), GRID), expected)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_flipped_axis_is_placed_by_index(tmp_path, mask, axis):
    affine = GRID.affine
    flip, size = np.eye(4), GRID.size[axis]
    flip[axis, axis], flip[axis, 3] = -1, size - 1
    flipped = Geometry.from_affine(affine @ flip, GRID.size)
    write_seg(tmp_path / "m.seg.nrrd", {"SM": np.flip(mask, axis=2 - axis)}, flipped)
    np.testing.assert_array_equal(placed(read_one(tmp_path / "m.seg.nrrd"), GRID), mask)


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
        placed(read_one(tmp_path / "m.seg.nrrd"), GRID)


def test_outside_the_ct_is_refused(tmp_path, mask):
    write_seg(tmp_path / "m.seg.nrrd", {"SM": mask}, Geometry(GRID.size, (-5, 3, -20), GRID.spacing, GRID.direction))
    with pytest.raises(ImageError, match="outside the CT"):
        placed(read_one(tmp_path / "m.seg.nrrd"), GRID)


def test_absent_empty_and_double_segments(tmp_path, mask):
    write_seg(tmp_path / "m.seg.nrrd", {"SM": np.zeros_like(mask), "sm": mask, "liver": mask}, GRID)
    segments = masks.read_segments(tmp_path / "m.seg.nrrd")
    pm, sm = SegmentParams(names=["PM"]), SegmentParams(names=["SM"])
    assert masks.choose(segments, pm) is None
    assert re.search("no segment named PM.*'liver'", str(masks.missing(segments, pm)))
    with pytest.raises(ImageError, match="2 segments are named SM"):
        masks.choose(segments, sm)
    with pytest.raises(ImageError, match="is empty"):
        masks.choose(segments[:1], sm)


def test_missing_damaged_and_foreign_files(tmp_path, mask):
    path = tmp_path / "m.seg.nrrd"
    with pytest.raises(ImageError, match="is missing"):
        masks.read_segments(path)
    write_seg(path, {"SM": mask}, GRID)
    whole = path.read_bytes()
    for damaged in (b"", b"no nrrd", whole[:100], whole[:-20]):
        path.write_bytes(damaged)
        with pytest.raises(ImageError, match="cannot be read|damaged|empty|none of NRRD"):
            masks.read_segments(path)
    write_seg(path, {"SM": mask}, GRID, space="scanner-xyz")
    with pytest.raises(ImageError, match="no known patient space"):
        masks.read_segments(path)


# ---- names that a message may show ---------------------------------------------------------------------
ACCEPTED = [*load_params("defaults").images.sm.names, *load_params("defaults").images.pm.names]


@pytest.mark.parametrize(
    "name",
    ["liver", "Psoas_left", "SkeletalMuscle", "skeletal muscel", "vertebrae_L3", "label 255", "Segment_1", "SM2"],
)
def test_names_that_say_nothing_but_anatomy(name):
    assert is_harmless(name, ACCEPTED)


@pytest.mark.parametrize(
    "name",
    ["", "Mueller", "Mueller_Hans", "SM Mueller", "skeletal muscle Hans", "psoas muscle H. M.", "H M", "sd", "12",
     "L", "L S", "19470923", "label 77120934", "segment 23.09.47", "muscle 1 2 3 4", "Müller", "psoas éa", "左"],
)  # fmt: skip
def test_names_that_may_be_a_persons(name):
    assert not is_harmless(name, ACCEPTED)


@given(st.text(st.characters(categories=["L"]), min_size=4, max_size=12))
def test_no_accepted_name_carries_another_word(word):
    assume(not is_harmless(word, ACCEPTED))
    for name in ("SM", "skeletal muscle", "psoas left"):
        assert not is_harmless(f"{name} {word}", ACCEPTED)


def test_names_are_counted_and_shown_where_they_may_be(mask):
    def segment(name, **more):
        return masks.VoxelSegment(name, mask.transpose(2, 1, 0), 1, GRID, **more)

    assert described([segment("liver")], ACCEPTED) == "1 segment ('liver')"
    hidden = described([segment("liver"), segment("Mueller Hans"), segment("psoas", named_by_file=True)], ACCEPTED)
    assert hidden == "3 segments ('liver', 2 not shown, since a name may be a person's)"
    assert described([segment("muscle " * 2000)] * 9, ACCEPTED).count("muscle") < 60
    left, right = segment("Mueller left"), segment("Mueller right")
    whole = masks.choose([left, right], SegmentParams(names=["PM"], parts=[["Mueller left", "Mueller right"]]))
    assert {whole.name, *(piece.name for piece in whole.pieces)} == {"PM"}
    assert masks.shown_name(whole) == "'Mueller left' + 'Mueller right'" and masks.shown_name(left) == "'Mueller left'"
