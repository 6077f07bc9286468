"""From CT and masks on disk to areas and mean HU of muscles at L3; knows no study.

Reads DICOM series, NIfTI, NRRD and MetaImage, masks as label maps, .seg.nrrd, DICOM SEG and RTSTRUCT; refuses, with the
reason and the fix (ImageError), whatever cannot be measured: gaps, doubled slices, a mask of another grid.

>>> images = ImageParams(sm=SegmentParams(names=["SM"], hu_window=HuWindow(low=-29, high=150)),
...                      pm=SegmentParams(names=["PM"]))
>>> row = measure(ct, mask, images)
>>> f"{row['sm_area_cm2']:.2f} cm2, {row['sm_mean_hu']:.1f} HU on slices {row['sm_slices']} (0 is the most caudal)"
'1.95 cm2, 57.5 HU on slices [3] (0 is the most caudal)'
"""

from typing import TYPE_CHECKING

from analysis_lib.common.lazy import name_from

if TYPE_CHECKING:
    from analysis_lib.ct.ct import find_ct, read_ct
    from analysis_lib.ct.geometry import ImageError
    from analysis_lib.ct.indices import load_images, measure, open_patient
    from analysis_lib.ct.masks import read_segments
    from analysis_lib.ct.settings import HuWindow, ImageParams, SegmentParams

__all__ = [
    "HuWindow",
    "ImageError",
    "ImageParams",
    "SegmentParams",
    "find_ct",
    "load_images",
    "measure",
    "open_patient",
    "read_ct",
    "read_segments",
]
_MODULES = {
    "HuWindow": "settings",
    "ImageError": "geometry",
    "ImageParams": "settings",
    "SegmentParams": "settings",
    "find_ct": "ct",
    "load_images": "indices",
    "measure": "indices",
    "open_patient": "indices",
    "read_ct": "ct",
    "read_segments": "masks",
}


def __getattr__(name: str) -> object:
    return name_from(__name__, _MODULES, name)
