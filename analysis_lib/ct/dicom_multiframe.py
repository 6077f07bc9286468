"""Enhanced (multi-frame) CT: each frame's values from its own functional group, else from the shared one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pydicom

# Attribute -> sequence of the functional group that holds it (DICOM PS3.3, C.7.6.16 and C.8.15.3).
ATTRIBUTE_GROUPS = {
    "ImagePositionPatient": "PlanePositionSequence",
    "ImageOrientationPatient": "PlaneOrientationSequence",
    "PixelSpacing": "PixelMeasuresSequence",
    "SliceThickness": "PixelMeasuresSequence",
    "RescaleSlope": "PixelValueTransformationSequence",
    "RescaleIntercept": "PixelValueTransformationSequence",
    "RescaleType": "PixelValueTransformationSequence",
    "FrameType": "CTImageFrameTypeSequence",
    "TemporalPositionIndex": "FrameContentSequence",
    "FrameAcquisitionNumber": "FrameContentSequence",
    "StackID": "FrameContentSequence",
    "GantryDetectorTilt": "CTAcquisitionDetailsSequence",
    "KVP": "CTXRayDetailsSequence",
    "ConvolutionKernel": "CTReconstructionSequence",
}


def frame_getters(header: pydicom.Dataset) -> list[Callable[[str], Any]]:
    """One function a frame that gives the frame's value of an attribute, or None; empty if frames are not described.

    An attribute that belongs to a functional group is never taken from the top level of the header, where
    it would speak of no frame in particular.
    """
    per_frame = header.get("PerFrameFunctionalGroupsSequence") or []
    shared = header.get("SharedFunctionalGroupsSequence") or []
    if len(per_frame) != int(header.get("NumberOfFrames") or 0):
        return []

    def getter(own: pydicom.Dataset) -> Callable[[str], Any]:
        groups = [own, *shared[:1]]

        def get(keyword: str) -> Any:
            sequence = ATTRIBUTE_GROUPS.get(keyword)
            if sequence is None:
                return header.get(keyword)
            for group in groups:
                items = group.get(sequence) or []
                if len(items) and items[0].get(keyword) is not None:
                    return items[0].get(keyword)
            return None

        return get

    return [getter(own) for own in per_frame]
