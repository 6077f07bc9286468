"""CT files in every form that tests of reading need: transfer syntaxes, multi-frame, and what lies beside a series."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk
from conftest import write_dicom_slice
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    BasicTextSRStorage,
    EncapsulatedPDFStorage,
    EnhancedCTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLosslessSV1,
    SecondaryCaptureImageStorage,
    generate_uid,
)


def in_transfer_syntax(folder: Path, syntax: str) -> None:
    """Write every DICOM file of a folder anew in another transfer syntax."""
    for file in sorted(folder.rglob("*.dcm")):
        dataset = pydicom.dcmread(file)
        if syntax == JPEGLosslessSV1:
            _jpeg_lossless(dataset, file)
            continue
        if pydicom.uid.UID(syntax).is_encapsulated:
            dataset.compress(syntax)
        dataset.file_meta.TransferSyntaxUID = syntax
        if syntax == ExplicitVRBigEndian:
            dataset.PixelData = np.frombuffer(dataset.PixelData, "<i2").astype(">i2").tobytes()
            pydicom.dcmwrite(file, dataset, little_endian=False, implicit_vr=False)
        elif syntax == ImplicitVRLittleEndian:
            pydicom.dcmwrite(file, dataset, little_endian=True, implicit_vr=True)
        else:
            dataset.save_as(file)


def _jpeg_lossless(dataset: FileDataset, file: Path) -> None:
    """GDCM, inside SimpleITK, encodes what pydicom cannot."""
    other = file.with_suffix(".gdcm.dcm")
    writer = sitk.ImageFileWriter()
    writer.SetImageIO("GDCMImageIO")
    writer.SetUseCompression(True)
    writer.SetCompressor("JPEG")
    writer.SetFileName(str(other))
    writer.Execute(sitk.GetImageFromArray(dataset.pixel_array[None]))
    encoded = pydicom.dcmread(other)
    other.unlink()
    assert encoded.file_meta.TransferSyntaxUID == JPEGLosslessSV1
    dataset.file_meta.TransferSyntaxUID = JPEGLosslessSV1
    dataset["PixelData"] = encoded["PixelData"]
    dataset.save_as(file)


def change(file: Path, **tags) -> None:
    """Set (or with None remove) header elements of a file."""
    dataset = pydicom.dcmread(file)
    for name, value in tags.items():
        if value is None:
            delattr(dataset, name)
        else:
            setattr(dataset, name, value)
    dataset.save_as(file)


def change_all(folder: Path, **tags) -> None:
    for file in folder.rglob("*.dcm"):
        change(file, **tags)


def write_enhanced(
    path: Path,
    hounsfield: np.ndarray,
    z_mm: list[float],
    rescale: list[tuple[float, float]] | None = None,
    time_points: list[int] | None = None,
    spacing=(0.8, 0.7),
    shared_only: bool = False,
) -> None:
    """An Enhanced CT file with one frame a slice of ``hounsfield`` (z, y, x), at the given heights.

    rescale: slope and intercept of each frame. time_points: Temporal Position Index of each frame.
    shared_only: leave out the per-frame groups.
    """
    rescale = rescale or [(1.0, -1024.0)] * len(hounsfield)
    dataset = _new(path, EnhancedCTImageStorage, Modality="CT", SeriesInstanceUID="1.2.9", SeriesNumber=5)
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    dataset.NumberOfFrames = len(hounsfield)
    dataset.Rows, dataset.Columns = hounsfield.shape[1:]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 1
    shared = Dataset()
    shared.PixelMeasuresSequence = [_item(PixelSpacing=list(spacing), SliceThickness=5)]
    shared.PlaneOrientationSequence = [_item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])]
    dataset.SharedFunctionalGroupsSequence = Sequence([shared])
    frames = []
    for k, z in enumerate(z_mm):
        frame = Dataset()
        frame.PlanePositionSequence = [_item(ImagePositionPatient=[-20.0, -30.0, float(z)])]
        slope, intercept = rescale[k]
        frame.PixelValueTransformationSequence = [
            _item(RescaleSlope=slope, RescaleIntercept=intercept, RescaleType="HU")
        ]
        frame.FrameContentSequence = [_item(FrameAcquisitionNumber=1)]
        if time_points:
            frame.FrameContentSequence[0].TemporalPositionIndex = time_points[k]
        frames.append(frame)
    if not shared_only:
        dataset.PerFrameFunctionalGroupsSequence = Sequence(frames)
    stored = [np.rint((hu - b) / m).astype("<i2") for hu, (m, b) in zip(hounsfield, rescale, strict=True)]
    dataset.PixelData = np.stack(stored).tobytes()
    dataset["PixelData"].VR = "OW"
    path.parent.mkdir(parents=True, exist_ok=True)
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)


def _item(**values) -> Dataset:
    item = Dataset()
    for name, value in values.items():
        setattr(item, name, value)
    return item


def _new(path: Path, sop_class: str, **values) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[str(path)])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, meta.MediaStorageSOPInstanceUID
    for name, value in values.items():
        setattr(dataset, name, value)
    return dataset


def write_bystanders(folder: Path) -> None:
    """What a patient's CD holds beside the series: scout, dose report, PDF, screenshot, MIP, index, viewer, letter."""
    picture = np.zeros((12, 16), np.int16)
    write_dicom_slice(
        folder / "A1" / "scout.dcm",
        picture,
        (0, 0, -90),
        SeriesInstanceUID="1.9.1",
        ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"],
    )
    write_dicom_slice(
        folder / "A2" / "mip.dcm", picture, (0, 0, -90), SeriesInstanceUID="1.9.2", ImageType=["DERIVED", "MIP"]
    )
    write_dicom_slice(
        folder / "A3" / "dose.dcm",
        picture,
        (0, 0, -90),
        SeriesInstanceUID="1.9.3",
        SOPClassUID=SecondaryCaptureImageStorage,
    )
    write_dicom_slice(folder / "A4" / "pet.dcm", picture, (0, 0, -90), SeriesInstanceUID="1.9.4", Modality="PT")
    for name, sop_class, modality in (
        ("report.dcm", BasicTextSRStorage, "SR"),
        ("letter.dcm", EncapsulatedPDFStorage, "DOC"),
    ):
        dataset = _new(folder / name, sop_class, Modality=modality, SeriesInstanceUID=f"1.9.{len(name)}")
        pydicom.dcmwrite(folder / name, dataset, enforce_file_format=True)
    (folder / "DICOMDIR").write_bytes(b"\0" * 300)
    (folder / "README.TXT").write_text("how to start the viewer")
    (folder / "VERSION").write_text("1.0\n")
    (folder / "viewer.exe").write_bytes(b"MZ\0\0" * 200)
    (folder / ".DS_Store").write_bytes(b"\0\1")
