"""DICOM SEG as other tools write it: frames are placed by position, and what the standard leaves open may be absent."""

import gzip

import numpy as np
import pydicom
import pytest
from conftest import write_series
from mask_files import outlines, write_rtstruct, write_seg_dicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SegmentationStorage, generate_uid

from analysis_lib.core.parameters import load_params
from analysis_lib.ct.geometry import ImageError
from analysis_lib.ct.indices import measure, open_patient
from analysis_lib.ct.masks import read_segments

IMAGES = load_params("defaults").images
PIXEL_CM2 = 0.8 * 0.7 / 100


@pytest.fixture
def case(tmp_path):
    """A CT of 9 slices, SM and PM on slices 3 and 5, and the SEG that highdicom writes of them."""
    rng = np.random.default_rng(5)
    hounsfield = rng.integers(-120, 200, size=(9, 40, 50)).astype(np.int16)
    sm, pm = np.zeros((9, 40, 50), bool), np.zeros((9, 40, 50), bool)
    for k in (3, 5):
        sm[k, 10:30, 8:40], pm[k, 15:22, 12:24] = True, True
    geometry = write_series(tmp_path / "ct", hounsfield)
    write_seg_dicom(tmp_path / "m.dcm", tmp_path / "ct", {"SM": sm, "PM": pm})
    return tmp_path, sm, pm, geometry


def changed(path, change):
    dataset = pydicom.dcmread(path)
    change(dataset)
    dataset.save_as(path)
    return path


def measures(dataset):
    return dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]


def drop(*names):
    def change(dataset):
        for name in names:
            for holder in (dataset, measures(dataset)):
                if name in holder:
                    delattr(holder, name)

    return change


def spacing(value):
    return lambda dataset: setattr(measures(dataset), "SpacingBetweenSlices", value)


def both(*changes):
    return lambda dataset: [change(dataset) for change in changes]


def shuffled(dataset):
    """Frames in another order than in space."""
    frames = list(dataset.PerFrameFunctionalGroupsSequence)
    rows, columns = dataset.Rows, dataset.Columns
    bits = np.unpackbits(np.frombuffer(dataset.PixelData, np.uint8), bitorder="little")[: len(frames) * rows * columns]
    images = bits.reshape(len(frames), rows, columns)
    order = np.random.default_rng(1).permutation(len(frames))
    dataset.PerFrameFunctionalGroupsSequence = [frames[k] for k in order]
    packed = np.packbits(images[order].ravel(), bitorder="little").tobytes()
    dataset.PixelData = packed + b"\0" * (len(packed) % 2)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda dataset: None, id="as written"),
        pytest.param(drop("SpacingBetweenSlices"), id="no spacing"),
        pytest.param(spacing(1.0), id="spacing too small"),
        pytest.param(spacing(10.0), id="spacing of the frames"),
        pytest.param(spacing(7.3), id="spacing of nothing"),
        pytest.param(drop("SpacingBetweenSlices", "SliceThickness"), id="no thickness either"),
        pytest.param(drop("DimensionIndexSequence", "DimensionOrganizationSequence"), id="no dimensions"),
        pytest.param(drop("FrameOfReferenceUID"), id="no frame of reference"),
        pytest.param(drop("ReferencedSeriesSequence"), id="no referenced series"),
        pytest.param(shuffled, id="frames in another order"),
    ],
)
def test_frames_are_placed_by_position(case, change):
    folder, sm, pm, _ = case
    opened = open_patient(folder / "ct", changed(folder / "m.dcm", change), IMAGES)
    np.testing.assert_array_equal(opened.masks["sm"], sm)
    np.testing.assert_array_equal(opened.masks["pm"], pm)


@pytest.mark.parametrize("names", [("SpacingBetweenSlices",), ("SpacingBetweenSlices", "SliceThickness")])
def test_a_seg_of_one_slice(tmp_path, names):
    hounsfield = np.random.default_rng(5).integers(-120, 200, size=(6, 40, 50)).astype(np.int16)
    sm = np.zeros((6, 40, 50), bool)
    sm[3, 10:30, 8:40] = True
    write_series(tmp_path / "ct", hounsfield)
    write_seg_dicom(tmp_path / "m.dcm", tmp_path / "ct", {"SM": sm})
    path = changed(tmp_path / "m.dcm", drop(*names))
    inside = hounsfield[sm & (hounsfield >= -29) & (hounsfield <= 150)]
    row = measure(tmp_path / "ct", path, IMAGES)
    assert row["sm_area_cm2"] == pytest.approx(inside.size * PIXEL_CM2, rel=1e-12)
    assert row["sm_mean_hu"] == pytest.approx(inside.mean(), rel=1e-12)


def test_a_frame_between_two_slices_is_refused(case):
    folder, *_ = case

    def shift(dataset):
        for frame in dataset.PerFrameFunctionalGroupsSequence:
            position = frame.PlanePositionSequence[0].ImagePositionPatient
            frame.PlanePositionSequence[0].ImagePositionPatient = [position[0], position[1], float(position[2]) + 1.5]

    with pytest.raises(ImageError, match=r"does not fit the CT \(off by up to 1.50 mm in z\)"):
        open_patient(folder / "ct", changed(folder / "m.dcm", shift), IMAGES)


def test_a_frame_far_away_is_refused_and_takes_no_memory(case):
    folder, *_ = case

    def move(dataset):
        frame = dataset.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0]
        frame.ImagePositionPatient = [*frame.ImagePositionPatient[:2], 1e10]

    with pytest.raises(ImageError, match="no CT series contains the mask"):
        open_patient(folder / "ct", changed(folder / "m.dcm", move), IMAGES)


@pytest.mark.parametrize("least", [1, 128, 255])
def test_zeros_and_ones_under_a_maximum_of_255_are_a_mask(case, least):
    """Written as fractional, with each voxel at 0 or at ``least`` of 255: at least half of it, or plainly 0 and 1."""
    folder, sm, pm, _ = case
    write_seg_dicom(folder / "m.dcm", folder / "ct", {"SM": sm.astype(float), "PM": pm.astype(float)}, "FRACTIONAL")

    def ones(dataset):
        values = np.frombuffer(dataset.PixelData, np.uint8)
        dataset.PixelData = np.where(values > 0, least, 0).astype(np.uint8).tobytes()

    opened = open_patient(folder / "ct", changed(folder / "m.dcm", ones), IMAGES)
    np.testing.assert_array_equal(opened.masks["sm"], sm)
    np.testing.assert_array_equal(opened.masks["pm"], pm)


def bare(path):
    """Without the 128 bytes, DICM and file meta, as old archives keep it; a SEG has its explicit VR."""
    dataset = pydicom.dcmread(path)
    implicit = dataset.file_meta.TransferSyntaxUID != ExplicitVRLittleEndian
    dataset = Dataset(dataset)
    pydicom.dcmwrite(path, dataset, implicit_vr=implicit, little_endian=True, enforce_file_format=False)


def packed(path):
    path.with_suffix(".dcm.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()


@pytest.mark.parametrize("kind", ["SEG", "RTSTRUCT"])
@pytest.mark.parametrize("how", [bare, packed])
def test_masks_without_preamble_or_within_gzip(case, kind, how):
    folder, sm, pm, geometry = case
    if kind == "RTSTRUCT":
        write_rtstruct(folder / "m.dcm", {"SM": outlines(sm, geometry), "PM": outlines(pm, geometry)})
    how(folder / "m.dcm")
    opened = open_patient(folder / "ct", next(folder.glob("m.dcm*")), IMAGES)
    np.testing.assert_array_equal(opened.masks["sm"], sm)
    np.testing.assert_array_equal(opened.masks["pm"], pm)


def test_pixels_of_another_length_are_refused(case):
    folder, *_ = case

    def longer(dataset):
        dataset.PixelData += bytes(100)

    with pytest.raises(ImageError, match="bytes of pixels where its header says"):
        read_segments(changed(folder / "m.dcm", longer))


def label_map(path, numbers, geometry, names):
    """A Label Map Segmentation (PS3.3, A.86): each pixel holds the number of its segment."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = "1.2.840.10008.5.1.4.1.1.66.7", ExplicitVRLittleEndian
    meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset = pydicom.FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    assert SegmentationStorage != dataset.SOPClassUID
    dataset.Modality, dataset.SegmentationType = "SEG", "LABELMAP"
    dataset.SegmentSequence, dataset.PerFrameFunctionalGroupsSequence = [], []
    for number, name in enumerate(names, start=1):
        item = Dataset()
        item.SegmentNumber, item.SegmentLabel = number, name
        dataset.SegmentSequence.append(item)
    shared, plane, orientation = Dataset(), Dataset(), Dataset()
    plane.PixelSpacing, orientation.ImageOrientationPatient = [0.8, 0.7], [1, 0, 0, 0, 1, 0]
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [plane], [orientation]
    dataset.SharedFunctionalGroupsSequence = [shared]
    slices = np.flatnonzero(numbers.any(axis=(1, 2)))
    for k in slices:
        frame, position = Dataset(), Dataset()
        position.ImagePositionPatient = [float(v) for v in (geometry.affine @ [0, 0, k, 1])[:3]]
        frame.PlanePositionSequence = [position]
        dataset.PerFrameFunctionalGroupsSequence.append(frame)
    dataset.NumberOfFrames, (dataset.Rows, dataset.Columns) = len(slices), numbers.shape[1:]
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.PixelData = numbers[slices].astype(np.uint8).tobytes()
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)


def test_a_label_map_segmentation(case):
    folder, sm, pm, geometry = case
    label_map(folder / "m.dcm", np.where(pm, 2, sm.astype(int)), geometry, ["SM", "PM"])
    opened = open_patient(folder / "ct", folder / "m.dcm", IMAGES)
    np.testing.assert_array_equal(opened.masks["sm"], sm & ~pm)
    np.testing.assert_array_equal(opened.masks["pm"], pm)
