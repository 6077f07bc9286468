"""Each way in which a CT arrives broken: an ImageError in one line with cause and fix, never a traceback.

The catalogue of study-wide effects (that patient excluded, the others as before) is in test_study_faults.py.
"""

import gzip
import os
import tempfile
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from conftest import REMEDY, write_dicom_slice, write_series
from ct_files import change, change_all, in_transfer_syntax, write_enhanced
from pydicom import uid
from pydicom.dataset import Dataset

from analysis_lib.ct.ct import read_ct
from analysis_lib.ct.data_paths import inside
from analysis_lib.ct.geometry import ImageError

VOLUME = np.random.default_rng(1).integers(-900, 1500, size=(5, 12, 16)).astype(np.int16)


def one(folder: Path) -> Path:
    return folder / "IM014.dcm"


def cut(file: Path, size: int) -> None:
    file.write_bytes(file.read_bytes()[:size])


def keep(folder: Path, *names: str) -> None:
    for file in folder.iterdir():
        if file.name not in names:
            file.unlink()


def single_slice_without_thickness(folder: Path) -> None:
    keep(folder, "IM000.dcm")
    change_all(folder, SliceThickness="")


def compressed_and_cut(syntax):
    def break_it(folder: Path) -> None:
        for k in range(4):
            write_dicom_slice(folder / f"IM{k:03d}.dcm", np.full((40, 48), 900 + k, np.int16), (0, 0, 5.0 * k))
        keep(folder, *(f"IM{k:03d}.dcm" for k in range(4)))
        in_transfer_syntax(folder, syntax)
        cut(folder / "IM002.dcm", (folder / "IM002.dcm").stat().st_size - 40)

    return break_it


def wrong_transfer_syntax(named: str):
    def break_it(folder: Path) -> None:
        dataset = pydicom.dcmread(one(folder))
        dataset.file_meta.TransferSyntaxUID = named
        data = dataset.PixelData
        dataset.PixelData = pydicom.encaps.encapsulate([data])
        dataset["PixelData"].is_undefined_length = True
        dataset.save_as(one(folder))

    return break_it


def other_image_at_the_same_place(folder: Path) -> None:
    write_dicom_slice(folder / "other.dcm", VOLUME[0] + 1100, (-20.0, -30.0, -90.0), number=9)


def changed_copy_of_a_slice(folder: Path) -> None:
    dataset = pydicom.dcmread(one(folder))
    pixels = np.frombuffer(dataset.PixelData, "<i2").copy()
    pixels[5] += 1
    dataset.PixelData = pixels.tobytes()
    dataset.save_as(folder / "again.dcm")


def a_row_less(folder: Path) -> None:
    dataset = pydicom.dcmread(one(folder))
    dataset.Rows -= 1
    dataset.PixelData = dataset.PixelData[: 2 * dataset.Rows * dataset.Columns]
    dataset.save_as(one(folder))


def gap_of_two(folder: Path) -> None:
    for k in range(5, 12):
        write_dicom_slice(folder / f"more{k}.dcm", VOLUME[0] + 1024, (-20.0, -30.0, -100 + 5.0 * k), number=k)
    for name in ("more6.dcm", "more7.dcm"):
        (folder / name).unlink()


def uneven(folder: Path) -> None:
    for k, file in enumerate(sorted(folder.iterdir())):
        change(file, ImagePositionPatient=[0, 0, [0, 5, 10, 13, 16][k]])


def tilted_slices(folder: Path) -> None:
    angle = np.radians(15)
    change_all(folder, ImageOrientationPatient=[1, 0, 0, 0, round(np.cos(angle), 6), round(np.sin(angle), 6)])


def sheared(folder: Path) -> None:
    for file in folder.iterdir():
        x, y, z = pydicom.dcmread(file).ImagePositionPatient
        change(file, ImagePositionPatient=[x, y + (z + 100) * 0.2, z])


def lut(folder: Path) -> None:
    item = Dataset()
    item.LUTDescriptor, item.LUTData, item.ModalityLUTType = [2, 0, 16], b"\0\0\1\0", "HU"
    change_all(folder, ModalityLUTSequence=[item])


def other_number(keyword: str, text: str):
    """A value that pydicom would not write: the text is put in place in the file."""

    def break_it(folder: Path) -> None:
        for file in folder.iterdir():
            dataset = pydicom.dcmread(file)
            element = dataset[keyword]
            old = "\\".join(str(v) for v in element.value) if element.VM > 1 else str(element.value)
            old += " " * (len(old) % 2)
            data = file.read_bytes()
            at = data.index(old.encode(), data.index(bytes.fromhex(tag_hex(element.tag))))
            file.write_bytes(data[:at] + text.ljust(len(old))[: len(old)].encode() + data[at + len(old) :])

    return break_it


def tag_hex(tag) -> str:
    return (tag.group.to_bytes(2, "little") + tag.element.to_bytes(2, "little")).hex()


def tissue_padding(folder: Path) -> None:
    """Zero padding of a CT whose stored values are HU, as some archives write it."""
    write_series(folder, np.where(VOLUME > 1000, 20, VOLUME).astype(np.int16))
    for file in folder.iterdir():
        dataset = pydicom.dcmread(file)
        dataset.add_new("PixelPaddingValue", "SS", 1044)
        dataset.save_as(file)


def negative_values_called_unsigned(folder: Path) -> None:
    """Padding of -2000 in a file whose header says that no value is negative: 63536."""
    for file in folder.iterdir():
        dataset = pydicom.dcmread(file)
        pixels = np.frombuffer(dataset.PixelData, "<i2").copy()
        pixels[:3] = -2000
        dataset.PixelData, dataset.PixelRepresentation = pixels.tobytes(), 0
        dataset.save_as(file)


def only_secondary_captures(folder: Path) -> None:
    change_all(folder, SOPClassUID=uid.SecondaryCaptureImageStorage)


def several_frames(folder: Path) -> None:
    change(one(folder), NumberOfFrames=2)


def zero_bytes_at_the_end(folder: Path) -> None:
    """The most cranial slice: no gap tells of it."""
    last = max(folder.iterdir(), key=lambda file: pydicom.dcmread(file).InstanceNumber)
    last.write_bytes(b"")


def unknown_kind_of_name(folder: Path) -> None:
    """Two wrong bytes where the header says what kind of value the patient's name is."""
    change(one(folder), PatientName="Zwetschgenberger^Annegret")
    data = one(folder).read_bytes()
    one(folder).write_bytes(data.replace(b"\x10\x00\x10\x00PN", b"\x10\x00\x10\x00ZZ"))


def all_one_value(folder: Path) -> None:
    for file in folder.iterdir():
        dataset = pydicom.dcmread(file)
        dataset.PixelData = b"\0" * len(dataset.PixelData)
        dataset.save_as(file)


DICOM_FAULTS = {
    "slice missing": (lambda f: one(f).unlink(), "a slice is missing.*z = -95.0 and -85.0 mm"),
    "two slices missing": (gap_of_two, "2 slices are missing.*z = -75.0 and -60.0"),
    "zero-byte slice": (lambda f: one(f).write_bytes(b""), "slice is missing.*1 file.s. cannot be read: damaged"),
    "zero-byte slice at the end": (zero_bytes_at_the_end, r"1 file\(s\) in the folder of the CT are damaged"),
    "slice cut in its header": (lambda f: cut(one(f), 400), "lack|missing|damaged"),
    "slice cut in its pixels": (lambda f: cut(one(f), one(f).stat().st_size - 50), "decoded.*file 3 of"),
    "slice without pixels": (lambda f: change(one(f), PixelData=None), "no pixels.*file 3 of"),
    "JPEG-LS cut short": (compressed_and_cut(uid.JPEGLSLossless), "cut short"),
    "JPEG 2000 cut short": (compressed_and_cut(uid.JPEG2000Lossless), "cut short"),
    "RLE cut short": (compressed_and_cut(uid.RLELossless), "cut short"),
    "JPEG lossless cut short": (compressed_and_cut(uid.JPEGLosslessSV1), "cut short"),
    "deflated cut short": (compressed_and_cut(uid.DeflatedExplicitVRLittleEndian), "damaged|missing"),
    "pixels not in the syntax that is named": (wrong_transfer_syntax(uid.JPEG2000Lossless), "transfer syntax"),
    "a video": (wrong_transfer_syntax(uid.MPEG2MPML), "transfer syntax"),
    "random bytes named .dcm": (lambda f: one(f).write_bytes(os.urandom(900)), "slice is missing"),
    "web page instead of DICOM": (
        lambda f: [p.write_text("<html>Session expired</html>") for p in f.iterdir()],
        "no CT slices.*. files could not be read",
    ),
    "empty folder": (keep, "no CT slices"),
    "single slice of unknown thickness": (single_slice_without_thickness, "single slice without SliceThickness"),
    "another modality": (lambda f: change_all(f, Modality="MR"), "no CT slices.*. files of another modality"),
    "screenshots only": (only_secondary_captures, "no CT slices.*. secondary captures"),
    "scouts only": (lambda f: change_all(f, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), "[58] scouts"),
    "colour": (lambda f: change_all(f, SamplesPerPixel=3, PhotometricInterpretation="RGB"), "[58] colour images"),
    "a folder named like a slice": (lambda f: (one(f).unlink(), one(f).mkdir()), "slice is missing"),
    "different images at one position": (other_image_at_the_same_place, "occur twice.*z = -90.0 mm"),
    "a copy with one other pixel": (changed_copy_of_a_slice, "occur twice"),
    "uneven spacing": (uneven, "spacing of the slices changes between 3.000 and 5.000"),
    "no position": (lambda f: change(one(f), ImagePositionPatient=None), r"lack ImagePositionPatient.*1 of . slices"),
    "no orientation": (lambda f: change_all(f, ImageOrientationPatient=None), "lack ImageOrientationPatient"),
    "no spacing": (lambda f: change_all(f, PixelSpacing=None), "lack PixelSpacing"),
    "no size": (lambda f: change_all(f, Rows=None), "lack Rows"),
    "no series UID": (lambda f: change_all(f, SeriesInstanceUID=None), "lack SeriesInstanceUID"),
    "spacing zero": (lambda f: change_all(f, PixelSpacing=[0, 0.7]), "0 x 0.7 mm.*not a valid number"),
    "spacing negative": (lambda f: change_all(f, PixelSpacing=[-0.8, 0.7]), "not a valid number"),
    "spacing NaN": (other_number("PixelSpacing", "nan\\0.7"), "no number|not a valid number"),
    "spacing a word": (other_number("PixelSpacing", "big\\0.7"), "no number|not a valid number|lack|no CT"),
    "position infinite": (other_number("ImagePositionPatient", "inf\\0\\0"), "no number|not a valid number|no CT"),
    "slope zero": (lambda f: change_all(f, RescaleSlope=0), "rescale slope 0"),
    "slope negative": (lambda f: change_all(f, RescaleSlope=-1), "rescale slope -1"),
    "no slope": (lambda f: change_all(f, RescaleSlope=None), "no rescale slope"),
    "no intercept": (lambda f: change(one(f), RescaleIntercept=None), "no rescale slope or intercept.*1 of . slices"),
    "dual-energy map": (lambda f: change_all(f, RescaleType="MGML"), "values are no HU"),
    "HU by a table": (lut, "modality LUT"),
    "eight bits": (lambda f: change_all(f, BitsStored=8, HighBit=7), "8 bits"),
    "high bit elsewhere": (lambda f: change_all(f, BitsStored=12, HighBit=15), "HighBit"),
    "padding in the range of tissue": (tissue_padding, "20 HU to be padding, which tissue can have"),
    "negative values called unsigned": (negative_values_called_unsigned, "holds 62512 HU, which no CT has"),
    "slices of two sizes": (a_row_less, "differ in size"),
    "a slice of more pixels than its rows": (lambda f: change(one(f), Rows=11), "hold more bytes than their rows"),
    "slices of two spacings": (lambda f: change(one(f), PixelSpacing=[0.8, 0.9]), "differ in size, spacing"),
    "a coronal slice among axial ones": (
        lambda f: change(one(f), ImageOrientationPatient=[1, 0, 0, 0, 0, -1]),
        "differ in size, spacing or orientation",
    ),
    "coronal": (lambda f: change_all(f, ImageOrientationPatient=[1, 0, 0, 0, 0, -1]), "not axial.*coronal"),
    "sagittal": (lambda f: change_all(f, ImageOrientationPatient=[0, 1, 0, 0, 0, -1]), "not axial"),
    "gantry tilt in the orientation": (tilted_slices, "gantry tilt of 15.0 degrees"),
    "gantry tilt in the positions": (sheared, "gantry tilt of 11.3 degrees"),
    "gantry tilt in the header alone": (lambda f: change_all(f, GantryDetectorTilt=-12), "gantry tilt of 12.0 degrees"),
    "orientation of no length": (lambda f: change_all(f, ImageOrientationPatient=[0] * 6), "right angles"),
    "frames in single-frame CT": (several_frames, "several frames"),
    "name of an unknown kind": (unknown_kind_of_name, "slice is missing"),
}


@pytest.mark.parametrize("name", DICOM_FAULTS)
def test_a_broken_series_is_refused_with_cause_and_fix(tmp_path, name, capfd):
    break_it, message = DICOM_FAULTS[name]
    write_series(tmp_path / "ct", VOLUME)
    break_it(tmp_path / "ct")
    with pytest.raises(ImageError, match=message) as caught:
        read_ct(tmp_path / "ct").hounsfield()
    text = str(caught.value)
    assert "\n" not in text and REMEDY.search(text)
    assert ".dcm" not in text and str(tmp_path) not in text, "file names may be patients' names"
    assert capfd.readouterr() == ("", "")


def test_there_are_many_distinct_faults():
    assert len(DICOM_FAULTS) + len(VOLUME_FAULTS) >= 60


# ---- multi-frame ---------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shared_only": True}, "does not describe its frames"),
        ({"rescale": [(-1.0, 0.0)] + [(1.0, -1024.0)] * 4}, "rescale slope -1.*1 of . slices"),
    ],
)
def test_broken_enhanced_ct(tmp_path, arguments, message):
    write_enhanced(tmp_path / "one.dcm", VOLUME, [0, 5, 10, 15, 20], **arguments)
    with pytest.raises(ImageError, match=message):
        read_ct(tmp_path)


# ---- single files --------------------------------------------------------------------------------------
def image(array=VOLUME, direction=(1, 0, 0, 0, 1, 0, 0, 0, 1)):
    made = sitk.GetImageFromArray(array)
    made.SetSpacing((0.7, 0.8, 5))
    made.SetDirection(direction)
    return made


def written(suffix: str, made=None):
    def write(folder: Path) -> Path:
        path = folder / f"ct{suffix}"
        sitk.WriteImage(image() if made is None else made, str(path))
        return path

    return write


def patched(offset: int, value: bytes):
    """A NIfTI file with some bytes of its header changed."""

    def write(folder: Path) -> Path:
        path = written(".nii")(folder)
        data = bytearray(path.read_bytes())
        data[offset : offset + len(value)] = value
        path.write_bytes(data)
        return path

    return write


def shortened(suffix: str, share: float):
    def write(folder: Path) -> Path:
        path = written(suffix)(folder)
        cut(path, int(path.stat().st_size * share))
        return path

    return write


def text_file(name: str, text: bytes):
    def write(folder: Path) -> Path:
        (folder / name).write_bytes(text)
        return folder / name

    return write


def nrrd_without_space(folder: Path) -> Path:
    header = "NRRD0004\ntype: short\ndimension: 3\nsizes: 4 4 2\nspacings: 1 1 5\nendian: little\nencoding: raw\n\n"
    (folder / "ct.nrrd").write_bytes(header.encode() + b"\0" * 64)
    return folder / "ct.nrrd"


def with_nan() -> sitk.Image:
    values = VOLUME.astype(np.float32)
    values[1, 2, 3] = np.nan
    return image(values)


TURNED = (1, 0, 0, 0, np.cos(0.2), -np.sin(0.2), 0, np.sin(0.2), np.cos(0.2))
F32 = {name: np.array([value], "<f4").tobytes() for name, value in {"0": 0, "-1": -0.8, "nan": np.nan}.items()}
VOLUME_FAULTS = {
    "zero-byte NIfTI": (text_file("ct.nii.gz", b""), "cannot be read"),
    "text named .nii": (text_file("ct.nii", b"patient moved to archive\n" * 40), "cannot be read"),
    "gzip of text": (text_file("ct.nii.gz", gzip.compress(b"no image")), "cannot be read"),
    "NIfTI cut short": (shortened(".nii", 0.5), "cannot be read"),
    "compressed NIfTI cut short": (shortened(".nii.gz", 0.6), "cannot be read"),
    "NRRD cut short": (shortened(".nrrd", 0.6), "cannot be read"),
    "NIfTI without position": (patched(252, b"\0\0\0\0"), "does not say where"),
    "NIfTI spacing zero": (patched(80, F32["0"]), "not a valid number|cannot be read"),
    "NIfTI spacing negative": (patched(84, F32["-1"]), "not a valid number|cannot be read"),
    "NIfTI spacing NaN": (patched(84, F32["nan"]), "not a valid number|cannot be read"),
    "NIfTI at two positions": (patched(268, np.array([40], "<f4").tobytes()), "two different positions.*40.0 mm apart"),
    "NIfTI turned in one position alone": (patched(256, np.array([0.1], "<f4").tobytes()), "two different positions"),
    "values beyond HU": (written(".nrrd", image(VOLUME.astype(np.int32) * 40)), "HU, which no CT has"),
    "NRRD without patient space": (nrrd_without_space, "does not say where"),
    "oblique volume": (written(".nrrd", image(direction=TURNED)), "not axial.*11.5 degrees"),
    "single column": (written(".nrrd", image(VOLUME[:, :, :1])), "one voxel wide"),
    "two-dimensional": (written(".nii", sitk.GetImageFromArray(VOLUME[0])), "not a 3-D image|one voxel wide"),
    "time series": (written(".nii", sitk.JoinSeries([image(), image()])), "not a 3-D image"),
    "colour volume": (written(".nrrd", sitk.Compose([image()] * 3)), "one channel"),
    "NaN voxels": (written(".nii", with_nan()), "no numbers"),
}


@pytest.mark.parametrize("name", VOLUME_FAULTS)
def test_a_broken_file_is_refused_with_cause_and_fix(tmp_path, name, capfd):
    write, message = VOLUME_FAULTS[name]
    path = write(tmp_path)
    with pytest.raises(ImageError, match=message) as caught:
        read_ct(path).hounsfield()
    text = str(caught.value)
    assert "\n" not in text and REMEDY.search(text)
    assert path.name not in text and str(tmp_path) not in text
    assert capfd.readouterr() == ("", "")


# ---- the file system -----------------------------------------------------------------------------------
def test_missing_folder_and_names_that_no_file_system_takes(tmp_path):
    for path in (tmp_path / "P1", tmp_path / ("x" * 10_000), tmp_path / "a" / "b"):
        with pytest.raises(ImageError, match="does not exist; put the DICOM files"):
            read_ct(path)


def test_links_in_a_circle_and_to_nowhere_are_passed_over(tmp_path):
    write_series(tmp_path / "ct", VOLUME)
    (tmp_path / "ct" / "loop").symlink_to(tmp_path / "ct", target_is_directory=True)
    (tmp_path / "ct" / "self").symlink_to("self")
    (tmp_path / "ct" / "gone.dcm").symlink_to("nowhere")
    np.testing.assert_array_equal(read_ct(tmp_path / "ct").hounsfield(), VOLUME)
    with pytest.raises(ImageError, match="does not exist"):
        read_ct(tmp_path / "ct" / "self")


def test_a_pipe_is_no_ct(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ImageError, match="neither folder nor file"):
        read_ct(tmp_path / "pipe")


def test_files_and_folders_that_may_not_be_read():
    """As another user where the tests run as root, whom nothing keeps from reading."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        write_series(folder / "ct" / "deep", VOLUME)
        user = os.geteuid()
        try:
            one(folder / "ct" / "deep").chmod(0)
            if user == 0:
                os.seteuid(65534)
            with pytest.raises(ImageError, match="slice is missing.*1 file.s. cannot be read: .* or not allowed"):
                read_ct(folder / "ct")
            os.seteuid(user)
            (folder / "ct" / "deep").chmod(0)
            if user == 0:
                os.seteuid(65534)
            with pytest.raises(ImageError, match="may not be read; allow"):
                read_ct(folder / "ct")
        finally:
            os.seteuid(user)
            (folder / "ct" / "deep").chmod(0o755)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("../other", "outside the data folder"),
        ("/etc", "outside the data folder"),
        ("ct/../../other", "outside the data folder"),
        (".", "outside the data folder"),
        ("link/secret", "outside the data folder"),
        ("loop/x", "no usable path"),
        ("x" * 10_000, "no usable path"),
        ("a\0b", "no usable path"),
    ],
)
def test_paths_of_the_table_stay_inside_the_data_folder(tmp_path, text, message):
    data = tmp_path / "data"
    (data / "ct").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    (data / "link").symlink_to(tmp_path / "other")
    (data / "loop").symlink_to("loop")
    with pytest.raises(ImageError, match=message) as caught:
        inside(data, text, "ct_path")
    assert text not in str(caught.value) or text == "."
    assert inside(data, "ct/./P1", "ct_path") == data / "ct" / "P1"
