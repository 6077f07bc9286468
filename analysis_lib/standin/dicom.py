"""Writing a synthetic patient's slices as a DICOM CT series, as a site's archive would hand them over."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
from jpeg_ls import encode_array
from numpy.typing import NDArray
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, CTImageStorage, JPEGLSLossless, generate_uid

from analysis_lib.common.files import temporary_prefix, to_disk
from analysis_lib.standin.anatomy import DrawnPatient
from analysis_lib.standin.spec import PatientSpec

SLICE_STEP_MM = 5.0
# No examination took place; a date is required for nothing but the order of studies, so all share one.
_DATE, _TIME = "20000101", "120000"
_NOTICE = "SYNTHETIC IMAGE drawn by a computer program; it shows no person."


def uid(spec: PatientSpec, *parts: str) -> UID:
    """A UID that is the same each time for the same patient, seed and parts."""
    return generate_uid(entropy_srcs=["standin", spec.patient_id, str(spec.seed), *parts])


def geometry(
    spec: PatientSpec, shape: tuple[int, int, int]
) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Origin (x, y, z) in mm, LPS, of the first voxel of the lowest slice, and spacing (x, y, z) in mm.

    Rounded to what the header holds, so that image and segmentation share one geometry to the last digit.
    """
    n_slices, rows, columns = shape
    dx, dy = round(spec.column_spacing_mm, 6), round(spec.row_spacing_mm, 6)
    origin = (
        round(-0.5 * (columns - 1) * dx, 4),
        round(-0.5 * (rows - 1) * dy, 4),
        round(-SLICE_STEP_MM * (n_slices // 2) - 400.0, 4),
    )
    return origin, (dx, dy, SLICE_STEP_MM)


def _number(value: float) -> str:
    """A decimal string of at most 16 characters that reads back as the number."""
    text = f"{value:.6f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def _slice(spec: PatientSpec, stored: NDArray[np.uint16], index: int, n_slices: int, origin, spacing) -> FileDataset:
    scanner = spec.scanner
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = uid(spec, "image", str(index))
    meta.TransferSyntaxUID = JPEGLSLossless
    meta.ImplementationClassUID = generate_uid(entropy_srcs=["standin writer"])
    meta.ImplementationVersionName = "STANDIN_1"
    data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    # Numbered from the head down, as most scanners do, while z grows towards the head.
    number = n_slices - index
    z = round(origin[2] + index * spacing[2], 4)
    values = {
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "SOPClassUID": CTImageStorage,
        "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
        "StudyDate": _DATE,
        "SeriesDate": _DATE,
        "AcquisitionDate": _DATE,
        "ContentDate": _DATE,
        "StudyTime": _TIME,
        "SeriesTime": _TIME,
        "AcquisitionTime": _TIME,
        "ContentTime": _TIME,
        "AccessionNumber": "",
        "Modality": "CT",
        "Manufacturer": scanner.manufacturer,
        "ManufacturerModelName": scanner.model,
        "ReferringPhysicianName": "",
        "StudyDescription": "SYNTHETIC ABDOMEN PLAIN",
        "SeriesDescription": "SYNTHETIC L3 CT",
        "PatientName": "",
        "PatientID": spec.patient_id,
        "PatientBirthDate": "",
        "PatientSex": spec.sex,
        "PatientAge": f"{round(spec.age_years):03d}Y",
        "PatientSize": _number(round(spec.height_m, 3)),
        "PatientWeight": _number(round(spec.bmi * spec.height_m**2, 1)),
        "PatientIdentityRemoved": "YES",
        "DeidentificationMethod": "Synthetic: there is no identity to remove",
        "BodyPartExamined": "ABDOMEN",
        "ScanOptions": "HELICAL MODE",
        "SliceThickness": _number(spacing[2]),
        "KVP": str(scanner.kvp),
        "SpacingBetweenSlices": _number(spacing[2]),
        "DataCollectionDiameter": "500",
        "SoftwareVersions": "STANDIN 1",
        "ReconstructionDiameter": _number(512 * max(spacing[0], spacing[1])),
        "GantryDetectorTilt": "0",
        "XRayTubeCurrent": str(scanner.tube_current_ma),
        "ConvolutionKernel": scanner.kernel,
        "PatientPosition": "FFS",
        "StudyInstanceUID": uid(spec, "study"),
        "SeriesInstanceUID": uid(spec, "series"),
        "StudyID": "1",
        "SeriesNumber": "2",
        "AcquisitionNumber": "1",
        "InstanceNumber": str(number),
        "ImagePositionPatient": [_number(v) for v in (origin[0], origin[1], z)],
        "ImageOrientationPatient": ["1", "0", "0", "0", "1", "0"],
        "FrameOfReferenceUID": uid(spec, "frame"),
        "PositionReferenceIndicator": "",
        "SliceLocation": _number(z),
        "ImageComments": _NOTICE,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": stored.shape[0],
        "Columns": stored.shape[1],
        "PixelSpacing": [_number(spacing[1]), _number(spacing[0])],
        "BitsAllocated": 16,
        "BitsStored": 12,
        "HighBit": 11,
        "PixelRepresentation": 0,
        "BurnedInAnnotation": "NO",
        "WindowCenter": "40",
        "WindowWidth": "400",
        "RescaleIntercept": _number(scanner.intercept),
        "RescaleSlope": _number(scanner.slope),
        "RescaleType": "HU",
        "LossyImageCompression": "00",
    }
    for keyword, value in values.items():
        setattr(data, keyword, value)
    data.PixelData = encapsulate([encode_array(stored)])
    data["PixelData"].VR = "OB"
    data["PixelData"].is_undefined_length = True
    return data


def write_ct_series(folder: Path, drawn: DrawnPatient, spec: PatientSpec) -> None:
    """Write the slices of ``drawn`` as one axial CT series, JPEG-LS lossless, numbered from the head down.

    The folder appears whole or not at all; an older one is replaced. Bytes depend on the arguments alone.
    Raises ValueError, naming the patient, if the scanner's rescale cannot hold the values in 12 bits.
    """
    folder, hu = Path(folder), drawn.hu
    stored = np.rint((hu.astype(np.float32) - spec.scanner.intercept) / spec.scanner.slope)
    if stored.min() < 0 or stored.max() > 4095:
        raise ValueError(
            f"{spec.patient_id}: CT numbers {hu.min()} to {hu.max()} HU do not fit 12 bits with slope "
            f"{spec.scanner.slope} and intercept {spec.scanner.intercept}"
        )
    stored = stored.astype(np.uint16)
    origin, spacing = geometry(spec, hu.shape)
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=temporary_prefix()))
    try:
        for index in range(len(hu)):
            data = _slice(spec, np.ascontiguousarray(stored[index]), index, len(hu), origin, spacing)
            name = f"IM{len(hu) - index:04d}.dcm"
            data.save_as(temporary / name, enforce_file_format=True)
            to_disk(temporary / name)
        temporary.chmod(0o755)
        if folder.exists():
            shutil.rmtree(folder)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
