"""Masks in DICOM Segmentation objects (SEG), read with highdicom."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pydicom

from analysis_lib.ct.dicom_identity import carries_identity
from analysis_lib.ct.geometry import Geometry, ImageError
from analysis_lib.ct.mask_segments import VoxelSegment

HALF = 0.5  # of full occupancy or probability: a voxel of a fractional segment belongs where it has at least half


def modality(path: Path) -> str:
    """Modality of a DICOM file; ImageError where its header cannot be read."""
    try:
        return str(pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["Modality"]).get("Modality", ""))
    except Exception:  # pydicom raises many kinds for damaged headers
        raise ImageError("the mask is a damaged DICOM file; export it again") from None


def read(path: Path) -> list[VoxelSegment]:
    """Segments of a SEG, named by label, else by property type; frames that are missing are empty.

    Raises ImageError where it is damaged, has no regular grid in patient space, or overlaps within a frame.
    """
    from highdicom.seg import segread  # here, because it takes 100 MB of each worker, and few masks are of this format

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the header's style; what matters is checked here
            logging.getLogger("highdicom").setLevel(logging.ERROR)
            return _read(segread(str(path)))
    except ImageError:
        raise
    except Exception as error:  # highdicom and the decoders raise many kinds for damaged objects
        kind = type(error).__name__
        raise ImageError(f"the DICOM SEG cannot be read ({kind}); export the segmentation again") from None


def _read(seg: Any) -> list[VoxelSegment]:
    if seg.get_volume_geometry(allow_missing_positions=True) is None:
        raise ImageError(
            "the DICOM SEG's frames form no regular grid in patient space; export it again with the CT as reference"
        )
    fractional = seg.segmentation_type.value == "FRACTIONAL"
    referenced = {str(item.get("SeriesInstanceUID", "")) for item in seg.get("ReferencedSeriesSequence", [])}
    known = {
        "identity": carries_identity(seg),
        "frame_of_reference_uid": str(seg.get("FrameOfReferenceUID", "")),
        "series_uid": referenced.pop() if len(referenced) == 1 else "",
    }
    segments = []
    for number in seg.segment_numbers:
        volume = seg.get_volume(
            segment_numbers=[number],
            allow_missing_positions=True,
            rescale_fractional=fractional,
            skip_overlap_checks=True,
        )
        array = volume.array[..., 0]  # (slice, row, column)
        mask = array >= HALF if fractional else array > 0
        # highdicom's axes are slice, row, column; ours are x, y, z.
        affine = volume.affine[:, [2, 1, 0, 3]]
        values = np.ascontiguousarray(mask.transpose(2, 1, 0).astype(np.uint8))
        description = seg.get_segment_description(number)
        name = str(description.segment_label or "").strip() or description.segmented_property_type.meaning
        segments.append(VoxelSegment(name, values, 1, Geometry.from_affine(affine, values.shape), **known))
    return segments
