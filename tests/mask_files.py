"""Writers of masks in the formats that sites have, for tests."""

from __future__ import annotations

from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, RTStructureSetStorage, generate_uid
from skimage.measure import find_contours

from analysis_lib.ct.geometry import Geometry


def write_seg_dicom(path: Path, ct_folder: Path, segments: dict[str, np.ndarray], kind: str = "BINARY") -> None:
    """DICOM SEG of masks (z, y, x) on the slices of a DICOM folder, caudal slice first; kind BINARY or FRACTIONAL."""
    sources = sorted((pydicom.dcmread(p) for p in ct_folder.iterdir()), key=lambda d: float(d.ImagePositionPatient[2]))
    for source in sources:
        for tag, value in {
            "StudyInstanceUID": "1.2.3", "PatientID": "x", "PatientName": "", "PatientBirthDate": "", "PatientSex": "",
            "StudyID": "", "StudyDate": "", "StudyTime": "", "AccessionNumber": "", "ReferringPhysicianName": "",
            "FrameOfReferenceUID": "1.2.3.9", "PositionReferenceIndicator": "",
        }.items():  # fmt: skip
            if tag not in source:
                setattr(source, tag, value)
    muscle = hd.sr.CodedConcept("91727004", "SCT", "Muscle")
    tissue = hd.sr.CodedConcept("85756007", "SCT", "Tissue")
    descriptions = [
        hd.seg.SegmentDescription(n, name, tissue, muscle, hd.seg.SegmentAlgorithmTypeValues.MANUAL)
        for n, name in enumerate(segments, start=1)
    ]
    pixels = np.stack(list(segments.values()), axis=-1)
    pixels = pixels.astype(np.float32 if kind == "FRACTIONAL" else np.uint8)
    seg = hd.seg.Segmentation(
        sources, pixels, kind, descriptions, generate_uid(), 1, generate_uid(), 1, "maker", "model", "1", "1",
        omit_empty_frames=True,
    )  # fmt: skip
    seg.save_as(path)


def outlines(mask: np.ndarray, geometry: Geometry) -> list[np.ndarray]:
    """Contours of a mask (z, y, x) in LPS mm, each (n, 3); holes are contours of their own."""
    found = []
    for k in np.flatnonzero(mask.any(axis=(1, 2))):
        for contour in find_contours(np.pad(mask[k].astype(float), 1), 0.5):
            index = np.column_stack([contour[:-1, 1] - 1, contour[:-1, 0] - 1, np.full(len(contour) - 1, k)])
            found.append(index @ geometry.affine[:3, :3].T + geometry.affine[:3, 3])
    return found


def write_rtstruct(path: Path, regions: dict[str, list[np.ndarray]], frame: str = "", **changes) -> None:
    """RTSTRUCT with the contours (n, 3) in mm of each region.

    ``changes``: kind=ContourGeometricType, no_rois=True, series=UID of the series that it refers to.
    """
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = RTStructureSetStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = RTStructureSetStorage, meta.MediaStorageSOPInstanceUID
    dataset.Modality = "RTSTRUCT"
    dataset.StructureSetROISequence, dataset.ROIContourSequence = [], []
    if "series" in changes:
        referenced, study, series = Dataset(), Dataset(), Dataset()
        series.SeriesInstanceUID = changes["series"]
        study.RTReferencedSeriesSequence, referenced.RTReferencedStudySequence = [series], [study]
        dataset.ReferencedFrameOfReferenceSequence = [referenced]
    for number, (name, contours) in enumerate({} if changes.get("no_rois") else regions.items(), start=1):
        roi, drawn = Dataset(), Dataset()
        roi.ROINumber, roi.ROIName, roi.ReferencedFrameOfReferenceUID = number, name, frame
        drawn.ReferencedROINumber, drawn.ContourSequence = number, []
        for points in contours:
            contour = Dataset()
            contour.ContourGeometricType = changes.get("kind", "CLOSED_PLANAR")
            contour.NumberOfContourPoints = len(points)
            contour.ContourData = [f"{v:.6f}"[:16] for v in np.ravel(points)]
            drawn.ContourSequence.append(contour)
        dataset.StructureSetROISequence.append(roi)
        dataset.ROIContourSequence.append(drawn)
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)
