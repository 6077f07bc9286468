"""Files as other tools and archives leave them: read where they are right, and refused in words where they are not."""

import bz2
import gzip
import json
import resource
import shutil
import zipfile
from pathlib import Path

import nrrd
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from conftest import write_seg, write_series
from ct_files import in_transfer_syntax
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import ImplicitVRLittleEndian, JPEG2000Lossless, RLELossless
from test_cases_values import GRID, HU, IMAGES, PIXEL_CM2, PM, SM

from analysis_lib.core.parameters import load_params
from analysis_lib.ct import mask_files
from analysis_lib.ct.ct import find_ct
from analysis_lib.ct.data_paths import files_of
from analysis_lib.ct.dicom_stream import starts_as_dicom
from analysis_lib.ct.geometry import Geometry, ImageError, refusing_damage
from analysis_lib.ct.indices import measure, open_patient
from analysis_lib.ct.masks import find_mask, missing, read_segments
from analysis_lib.ui.command_line import main

WHOLE = HU.astype(np.int16)


@pytest.fixture
def ct(tmp_path):
    write_series(tmp_path / "ct", WHOLE)
    return tmp_path / "ct"


def opened(ct, mask):
    return open_patient(ct, mask, IMAGES)


def is_truth(found):
    np.testing.assert_array_equal(found.masks["sm"], SM)
    np.testing.assert_array_equal(found.masks["pm"], PM)


def stray_byte(path: Path, packed: bool, more: int = 1) -> Path:
    """Some bytes too many (or too few) amid the voxels; everything behind them is shifted."""
    content = path.read_bytes()
    plain = gzip.decompress(content) if packed else content
    at = len(plain) - 3000
    plain = plain[:at] + plain[at : at + 1] * more + plain[at:] if more > 0 else plain[:at] + plain[at - more :]
    path.write_bytes(gzip.compress(plain) if packed else plain)
    return path


# ---- lengths -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("more", [1, 2, 4000])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_a_volume_longer_than_its_header_says_is_refused(tmp_path, suffix, more):
    write_seg(tmp_path / "m.seg.nrrd", {"SM": SM, "PM": PM}, GRID)
    path = tmp_path / f"c{suffix}"
    sitk.WriteImage(GRID.image_of(WHOLE), str(path))
    is_truth(opened(path, tmp_path / "m.seg.nrrd"))
    stray_byte(path, suffix.endswith("gz"), more)
    with pytest.raises(ImageError, match="holds more bytes than its header says"):
        opened(path, tmp_path / "m.seg.nrrd")


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_a_mask_longer_than_its_header_says_is_refused(ct, tmp_path, suffix):
    path = tmp_path / f"m{suffix}"
    sitk.WriteImage(GRID.image_of(SM.astype(np.uint8)), str(path))
    stray_byte(path, suffix.endswith("gz"))
    with pytest.raises(ImageError, match="holds more bytes than its header says"):
        read_segments(path)


@pytest.mark.parametrize("dimensions", [b"1e30", b"-1", b"2", b"4", b"99999999999"])
def test_a_number_of_dimensions_that_ends_itks_process_is_refused(ct, tmp_path, dimensions):
    for name, array in (("c.mha", WHOLE), ("m.mha", SM.astype(np.uint8))):
        path = tmp_path / name
        sitk.WriteImage(GRID.image_of(array), str(path))
        path.write_bytes(path.read_bytes().replace(b"NDims = 3", b"NDims = " + dimensions))
    for read in (lambda: read_segments(tmp_path / "m.mha"), lambda: opened(tmp_path / "c.mha", tmp_path / "m.mha")):
        with pytest.raises(ImageError, match="two numbers of dimensions; save it again"):
            read()


def test_a_key_of_the_header_that_is_no_text_changes_nothing(tmp_path):
    write_seg(tmp_path / "m.seg.nrrd", {"SM": SM, "PM": PM}, GRID)
    path = tmp_path / "c.mha"
    sitk.WriteImage(GRID.image_of(WHOLE), str(path))
    path.write_bytes(path.read_bytes().replace(b"AnatomicalOrientation", b"Comment = M\xfcller\nAnatomicalOrientation"))
    is_truth(opened(path, tmp_path / "m.seg.nrrd"))


@pytest.mark.parametrize("encoding", ["raw", "gzip", "bzip2"])
@pytest.mark.parametrize("more", [1, -1])
def test_every_encoding_of_nrrd_is_counted(tmp_path, encoding, more):
    path = tmp_path / "m.nrrd"
    header = {"space": "left-posterior-superior", "space directions": np.diag(GRID.spacing), "encoding": encoding}
    nrrd.write(str(path), SM.transpose(2, 1, 0).astype(np.uint8), header | {"space origin": np.array(GRID.origin)})
    content = path.read_bytes()
    at = content.index(b"\n\n") + 2
    unpack, pack = {
        "raw": (bytes, bytes), "gzip": (gzip.decompress, gzip.compress), "bzip2": (bz2.decompress, bz2.compress),
    }[encoding]  # fmt: skip
    voxels = unpack(content[at:])
    path.write_bytes(content[:at] + pack(voxels + b"\0" if more > 0 else voxels[:-1]))
    with pytest.raises(ImageError, match="more bytes than" if more > 0 else "damaged or cut short"):
        read_segments(path)


def changed(folder: Path, **tags) -> None:
    for file in folder.iterdir():
        dataset = pydicom.dcmread(file)
        for name, value in tags.items():
            setattr(dataset, name, value)
        dataset.save_as(file)


@pytest.mark.parametrize("tags", [{"Rows": 39}, {"Columns": 49}, {"Rows": 20, "Columns": 50}, {"BitsAllocated": 8}])
def test_slices_with_more_pixels_than_their_header_says_are_refused(ct, tmp_path, tags):
    write_seg(tmp_path / "m.seg.nrrd", {"SM": SM, "PM": PM}, GRID)
    changed(ct, **tags)
    with pytest.raises(ImageError, match="hold more bytes than their rows and columns say|damaged"):
        opened(ct, tmp_path / "m.seg.nrrd")


@pytest.mark.parametrize("padding", [2, 16])
def test_a_few_bytes_of_padding_behind_the_pixels_are_none_of_them(ct, tmp_path, padding):
    write_seg(tmp_path / "m.seg.nrrd", {"SM": SM, "PM": PM}, GRID)
    before = measure(ct, tmp_path / "m.seg.nrrd", IMAGES)
    for file in ct.iterdir():
        dataset = pydicom.dcmread(file)
        dataset.PixelData += bytes(padding)
        dataset.save_as(file)
    assert measure(ct, tmp_path / "m.seg.nrrd", IMAGES) == before


@pytest.mark.parametrize("more", [1, 2, 8, 512])
@pytest.mark.parametrize("syntax", ["", ImplicitVRLittleEndian, JPEG2000Lossless, RLELossless])
def test_bytes_that_slipped_into_the_pixels_of_a_slice_are_seen(ct, tmp_path, syntax, more):
    """They push the last pixels out of the declared length, and every pixel behind them from its place."""
    write_seg(tmp_path / "m.seg.nrrd", {"SM": SM, "PM": PM}, GRID)
    if syntax:
        in_transfer_syntax(ct, syntax)
    is_truth(opened(ct, tmp_path / "m.seg.nrrd"))
    path = sorted(ct.iterdir())[3]
    content = path.read_bytes()
    at = len(content) - 900
    path.write_bytes(content[:at] + content[at - more : at] + content[at:])
    with pytest.raises(ImageError, match="hold more bytes than their rows and columns say|damaged"):
        opened(ct, tmp_path / "m.seg.nrrd")


@pytest.mark.parametrize("longer", [3, 16, 100])
def test_a_run_of_another_length_is_seen(ct, tmp_path, longer):
    """In RLE it moves every pixel of its plane; the decoder drops what is too much."""
    write_seg(tmp_path / "m.seg.nrrd", {"SM": SM, "PM": PM}, GRID)
    in_transfer_syntax(ct, RLELossless)
    path = sorted(ct.iterdir())[3]
    dataset = pydicom.dcmread(path)
    frame = bytearray(get_frame(dataset.PixelData, 0, number_of_frames=1))
    at = 64
    while frame[at] <= 128 + longer:  # up to 128, values as they are; from 129, 257 - n copies of the next one
        at += 2 if frame[at] > 128 else frame[at] + 2
    frame[at] -= longer
    dataset.PixelData = encapsulate([bytes(frame)])
    dataset.save_as(path)
    with pytest.raises(ImageError, match="cannot be decoded"):
        measure(ct, tmp_path / "m.seg.nrrd", IMAGES)


@pytest.mark.parametrize("syntax", ["", ImplicitVRLittleEndian, RLELossless])
@pytest.mark.parametrize("behind", ["block", "padding element", "private element"])
def test_what_writers_and_tapes_put_behind_the_pixels_is_none_of_them(ct, tmp_path, behind, syntax):
    write_seg(tmp_path / "m.seg.nrrd", {"SM": SM, "PM": PM}, GRID)
    for file in ct.iterdir():
        dataset = pydicom.dcmread(file)
        if behind == "padding element":
            dataset.DataSetTrailingPadding = bytes(10)
        elif behind == "private element":
            dataset.private_block(0x7FE1, "A MAKER", create=True).add_new(1, "UN", b"ab")
        dataset.save_as(file)
    if syntax:
        in_transfer_syntax(ct, syntax)
    for file in ct.iterdir():
        content = file.read_bytes()
        file.write_bytes(content + bytes(-len(content) % 512) if behind == "block" else content)
    is_truth(opened(ct, tmp_path / "m.seg.nrrd"))


# ---- sizes that only the header has ------------------------------------------------------------------------
@pytest.mark.parametrize("side", [8193, 20000, 65535])
def test_rows_and_columns_that_no_ct_has_are_refused_at_once(ct, tmp_path, side):
    write_seg(tmp_path / "m.seg.nrrd", {"SM": SM, "PM": PM}, GRID)
    changed(ct, Rows=side, Columns=side)
    with pytest.raises(ImageError, match=f"declares {side} rows and {side} columns, which no CT has"):
        opened(ct, tmp_path / "m.seg.nrrd")


def test_rows_and_columns_that_the_files_do_not_hold_are_refused(ct, tmp_path):
    write_seg(tmp_path / "m.seg.nrrd", {"SM": SM, "PM": PM}, GRID)
    changed(ct, Rows=4000, Columns=4000)
    with pytest.raises(ImageError, match="all slices hold fewer pixels than the 4000 rows and 4000 columns"):
        opened(ct, tmp_path / "m.seg.nrrd")


def bomb(path: Path, packer, size: int = 1 << 30) -> None:
    """The file's header with voxels that unpack to ``size`` bytes."""
    content = path.read_bytes()
    at = content.index(b"\n\n") + 2
    with path.open("wb") as stream:
        stream.write(content[:at])
        with packer(stream) as packed:
            for _ in range(size >> 24):
                packed.write(bytes(1 << 24))


@pytest.mark.parametrize("encoding", ["gzip", "bzip2"])
def test_a_small_file_that_unpacks_to_gigabytes_takes_no_memory(tmp_path, encoding):
    path = tmp_path / "m.nrrd"
    header = {"space": "left-posterior-superior", "space directions": np.diag(GRID.spacing), "encoding": encoding}
    nrrd.write(str(path), SM.transpose(2, 1, 0).astype(np.uint8), header | {"space origin": np.array(GRID.origin)})
    if encoding == "gzip":
        bomb(path, lambda stream: gzip.GzipFile(fileobj=stream, mode="wb", compresslevel=1))
    else:
        bomb(path, lambda stream: bz2.BZ2File(stream, "wb"), 1 << 28)
    assert path.stat().st_size < 6e6
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ImageError, match="more bytes than its header says"):
        read_segments(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB


def test_a_stream_of_another_size_than_its_header_is_not_decoded(ct, tmp_path):
    write_seg(tmp_path / "m.seg.nrrd", {"SM": SM, "PM": PM}, GRID)
    # SOC and SIZ of a codestream of 60000 x 60000, and nothing of it.
    siz = b"\xff\x4f\xff\x51\x00\x29\x00\x00" + (60000).to_bytes(4, "big") * 2 + bytes(8)
    siz += (60000).to_bytes(4, "big") * 2 + bytes(8) + b"\x00\x01\x0f\x01\x01"
    for file in ct.iterdir():
        dataset = pydicom.dcmread(file)
        dataset.PixelData = encapsulate([siz + bytes(4000)])
        dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
        dataset.file_meta.TransferSyntaxUID = JPEG2000Lossless
        dataset.save_as(file)
    with pytest.raises(ImageError, match="packed pixels of a CT slice declare 60000 rows and 60000 columns"):
        measure(ct, tmp_path / "m.seg.nrrd", IMAGES)


# ---- headers with their voxels in another file ---------------------------------------------------------------
def detached(folder: Path, suffix: str) -> Path:
    folder.mkdir(exist_ok=True)
    sitk.WriteImage(GRID.image_of(np.where(PM, 2, SM.astype(np.uint8)).astype(np.uint8)), str(folder / f"m{suffix}"))
    (folder / "m.csv").write_text("1,SM\n2,PM\n")
    return folder / f"m{suffix}"


@pytest.mark.parametrize("prefix", ["", "./"])
@pytest.mark.parametrize("suffix", [".mhd", ".nhdr"])
def test_a_mask_with_its_voxels_in_another_file(ct, tmp_path, suffix, prefix):
    path = detached(tmp_path / "masks", suffix)
    name = next(p.name for p in path.parent.iterdir() if ".raw" in p.name)
    path.write_text(path.read_text().replace(name, prefix + name))
    found = opened(ct, path)
    np.testing.assert_array_equal(found.masks["pm"], PM)
    np.testing.assert_array_equal(found.masks["sm"], SM & ~PM)
    voxels = next(p for p in path.parent.iterdir() if ".raw" in p.name)
    assert {path, voxels} <= set(files_of(path))


@pytest.mark.parametrize("where", ["{parent}/other.raw", "../other.raw", "sub/../../other.raw", "linked.raw"])
@pytest.mark.parametrize("suffix", [".mhd", ".nhdr"])
def test_voxels_anywhere_else_are_not_read(ct, tmp_path, suffix, where):
    path = detached(tmp_path / "masks", suffix)
    voxels = next(p for p in path.parent.iterdir() if ".raw" in p.name)
    shutil.copy(voxels, tmp_path / "other.raw")
    (path.parent / "linked.raw").symlink_to(tmp_path / "other.raw")
    named = where.format(parent=tmp_path)
    path.write_text(path.read_text().replace(voxels.name, named))
    for read in (lambda: opened(ct, path), lambda: measure(path, path, IMAGES)):
        with pytest.raises(ImageError, match="names a file of voxels elsewhere; put both into one folder"):
            read()


def test_voxels_that_are_missing_are_said_to_be(ct, tmp_path):
    path = detached(tmp_path / "masks", ".mhd")
    next(p for p in path.parent.iterdir() if ".raw" in p.name).unlink()
    with pytest.raises(ImageError, match="file of voxels that the header names is missing"):
        opened(ct, path)


# ---- forms of NRRD -----------------------------------------------------------------------------------------
def layered(path: Path, last: bool, **segments) -> Path:
    layers = np.stack([m.transpose(2, 1, 0).astype(np.uint8) for m in segments.values()], axis=-1 if last else 0)
    directions = [*np.diag(GRID.spacing)]
    directions.insert(3 if last else 0, np.full(3, np.nan))
    kinds = ["domain"] * 3
    kinds.insert(3 if last else 0, "list")
    header = {"space": "left-posterior-superior", "kinds": kinds, "space directions": np.array(directions)}
    header |= {"space origin": np.array(GRID.origin), "encoding": "gzip"}
    for number, name in enumerate(segments):
        header |= {f"Segment{number}_ID": f"s{number}", f"Segment{number}_Name": name}
        header |= {f"Segment{number}_Layer": str(number), f"Segment{number}_LabelValue": "1"}
    nrrd.write(str(path), layers, header)
    return path


@pytest.mark.parametrize("last", [False, True])
def test_layers_on_the_first_or_the_last_axis(ct, tmp_path, last):
    is_truth(opened(ct, layered(tmp_path / "m.seg.nrrd", last, SM=SM, PM=PM)))


@pytest.mark.parametrize("lacks", [(), ("Layer",), ("Layer", "LabelValue")])
def test_a_segmentation_of_three_dimensions(ct, tmp_path, lacks):
    header = {"space": "left-posterior-superior", "space directions": np.diag(GRID.spacing), "encoding": "gzip"}
    for number, name in enumerate(("SM", "PM")):
        known = {"ID": f"s{number}", "Name": name, "Layer": "0", "LabelValue": str(number + 1)}
        header |= {f"Segment{number}_{key}": value for key, value in known.items() if key not in lacks}
    values = np.where(PM, 2, SM.astype(np.uint8)).astype(np.uint8).transpose(2, 1, 0)
    nrrd.write(str(tmp_path / "m.seg.nrrd"), values, header | {"space origin": np.array(GRID.origin)})
    found = opened(ct, tmp_path / "m.seg.nrrd")
    np.testing.assert_array_equal(found.masks["pm"], PM)
    np.testing.assert_array_equal(found.masks["sm"], SM & ~PM)


def test_a_segment_of_label_0_would_be_the_background(ct, tmp_path):
    write_seg(tmp_path / "m.seg.nrrd", {"SM": SM, "PM": PM}, GRID, Segment1_LabelValue="0")
    with pytest.raises(ImageError, match="segment number 2 has the label 0, which is the background"):
        opened(ct, tmp_path / "m.seg.nrrd")


@pytest.mark.parametrize("encoding", ["raw", "gzip", "bzip2"])
@pytest.mark.parametrize("space", ["left-posterior-superior", "right-anterior-superior"])
def test_a_ct_in_every_encoding_of_nrrd(tmp_path, encoding, space):
    write_seg(tmp_path / "m.seg.nrrd", {"SM": SM, "PM": PM}, GRID)
    flip = np.array([1, 1, 1] if space[0] == "l" else [-1, -1, 1])
    header = {"space": space, "space directions": np.diag(GRID.spacing) * flip, "encoding": encoding}
    nrrd.write(str(tmp_path / "c.nrrd"), WHOLE.transpose(2, 1, 0), header | {"space origin": GRID.origin * flip})
    row = measure(tmp_path / "c.nrrd", tmp_path / "m.seg.nrrd", IMAGES)
    assert row["pm_area_cm2"] == pytest.approx(PM.sum() * PIXEL_CM2)
    assert row["pm_mean_hu"] == pytest.approx(WHOLE[PM].mean(), rel=1e-12)


# ---- archives, indices, sidecars -----------------------------------------------------------------------------
@pytest.mark.parametrize("what", ["mask", "mask folder", "ct", "ct folder", "gz"])
def test_archives_are_to_be_unpacked(ct, tmp_path, what):
    write_seg(tmp_path / "m.seg.nrrd", {"SM": SM, "PM": PM}, GRID)
    (tmp_path / "packed").mkdir()
    with zipfile.ZipFile(tmp_path / "packed" / "a.zip", "w") as archive:
        archive.write(tmp_path / "m.seg.nrrd")
    first = sorted(ct.iterdir())[0]
    (tmp_path / "slices").mkdir()
    (tmp_path / "slices" / "a.dcm.gz").write_bytes(gzip.compress(first.read_bytes()))
    pair = {
        "mask": (ct, tmp_path / "packed" / "a.zip"),
        "mask folder": (ct, tmp_path / "packed"),
        "ct": (tmp_path / "packed" / "a.zip", tmp_path / "m.seg.nrrd"),
        "ct folder": (tmp_path / "packed", tmp_path / "m.seg.nrrd"),
        "gz": (tmp_path / "slices", tmp_path / "m.seg.nrrd"),
    }[what]
    with pytest.raises(ImageError, match="unpack it"):
        opened(*pair)


@pytest.mark.parametrize("first", [bytes([2, 0, 1, 0, 0, 9, 9, 9]), bytes([8, 0, 8, 0, 255, 255, 255, 255]), b"\2\0\1"])
def test_voxels_are_not_taken_for_dicom_without_a_preamble(first):
    assert not starts_as_dicom(first)
    assert starts_as_dicom(b"\x08\x00\x05\x00CS\x0a\x00") and starts_as_dicom(b"\x08\x00\x08\x00\x16\x00\x00\x00")


def test_a_dicomdir_stands_for_its_folder(ct, tmp_path):
    write_seg(tmp_path / "m.seg.nrrd", {"SM": SM, "PM": PM}, GRID)
    (ct / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    is_truth(opened(ct / "DICOMDIR", tmp_path / "m.seg.nrrd"))


def separate(folder: Path) -> Path:
    folder.mkdir()
    for name, mask in (("SM", SM), ("PM", PM)):
        sitk.WriteImage(GRID.image_of(mask.astype(np.uint8)), str(folder / f"{name}.nii.gz"))
    return folder


SIDECARS = [
    {"Modality": "SEG", "SeriesNumber": 4, "ConversionSoftware": "dcm2niix"},
    {"Modality": "SEG", "ImageType": ["DERIVED", "PRIMARY"], "SliceThickness": 5},
    {"RepetitionTime": 2.5},
    ["a", "list"],
    {"labels": ["a"]},
]


@pytest.mark.parametrize("content", SIDECARS)
def test_json_beside_a_mask_that_is_no_table(ct, tmp_path, content):
    folder = separate(tmp_path / "masks")
    for name in ("SM", "PM"):
        (folder / f"{name}.json").write_text(json.dumps(content))
    is_truth(opened(ct, folder))


@pytest.mark.parametrize("content", [{"1": "SM", "2": "PM"}, {"SM": 1, "PM": 2}, {"labels": {"SM": 1, "PM": 2}}])
def test_json_beside_a_label_map_that_is_a_table(ct, tmp_path, content):
    values = np.where(PM, 2, SM.astype(np.uint8)).astype(np.uint8)
    sitk.WriteImage(GRID.image_of(values), str(tmp_path / "m.nii.gz"))
    (tmp_path / "m.json").write_text(json.dumps(content))
    np.testing.assert_array_equal(opened(ct, tmp_path / "m.nii.gz").masks["pm"], PM)


# ---- labels ------------------------------------------------------------------------------------------------
def with_labels(sm: list[int], pm: list[int]):
    return IMAGES.model_copy(
        update={"sm": IMAGES.sm.model_copy(update={"labels": sm}), "pm": IMAGES.pm.model_copy(update={"labels": pm})}
    )


def test_label_numbers_are_those_of_a_label_map_alone(ct, tmp_path):
    """Set for some patients' label maps, they take no organ of another's file."""
    images = with_labels([1, 2], [2])
    values = np.where(PM, 2, SM.astype(np.uint8)).astype(np.uint8)
    sitk.WriteImage(GRID.image_of(values), str(tmp_path / "map.nii.gz"))
    found = open_patient(ct, tmp_path / "map.nii.gz", images)
    is_truth(found)
    layered(tmp_path / "m.seg.nrrd", False, Liver=SM, Spleen=PM)
    single = {"Segment0_Layer": "0", "Segment1_Layer": "0", "Segment1_LabelValue": "2"}
    write_seg(tmp_path / "one.seg.nrrd", {"liver": SM & ~PM, "spleen": PM}, GRID, **single)
    (tmp_path / "named").mkdir()
    shutil.copy(tmp_path / "map.nii.gz", tmp_path / "named" / "map.nii.gz")
    (tmp_path / "named" / "map.csv").write_text("1,liver\n2,spleen\n")
    (tmp_path / "files").mkdir()
    for name, mask in (("psoas_left", PM & (np.arange(50) < 25)), ("psoas_right", PM & (np.arange(50) >= 25))):
        sitk.WriteImage(GRID.image_of(mask.astype(np.uint8)), str(tmp_path / "files" / f"{name}.nii.gz"))
    for place in ("m.seg.nrrd", "one.seg.nrrd", "named/map.nii.gz", "files"):
        with pytest.raises(ImageError, match="no segment named SM"):
            open_patient(ct, tmp_path / place, images)


@pytest.mark.parametrize("labels", [[1, 3], [7], [1, 2, 3]])
def test_label_numbers_that_are_not_all_there_are_missing(ct, tmp_path, labels):
    values = np.where(PM, 2, SM.astype(np.uint8)).astype(np.uint8)
    sitk.WriteImage(GRID.image_of(values), str(tmp_path / "map.nii.gz"))
    with pytest.raises(ImageError, match="no segment named SM"):
        open_patient(ct, tmp_path / "map.nii.gz", with_labels(labels, [2]))


# ---- headers that were rounded -------------------------------------------------------------------------------
@pytest.mark.parametrize("written", [0.78, 0.781, 0.7813])
@pytest.mark.parametrize("rounded", ["mask", "ct"])
def test_a_spacing_that_was_rounded_in_one_header(tmp_path, written, rounded):
    """Of 512 x 512 pixels of 0.78125 mm the far corner is off by most of a pixel."""
    rng = np.random.default_rng(3)
    volume = rng.integers(-120, 200, size=(2, 512, 512)).astype(np.int16)
    mask = np.zeros(volume.shape, bool)
    mask[1, 480:508, 470:509] = True
    true, other = (0.78125, 0.78125), (written, written)
    ct_mm, mask_mm = (true, other) if rounded == "mask" else (other, true)
    grid = write_series(tmp_path / "ct", volume, spacing=ct_mm)
    drawn = Geometry(grid.size, grid.origin, (*mask_mm, 5.0), grid.direction)
    write_seg(tmp_path / "m.seg.nrrd", {"SM": mask}, drawn)
    np.testing.assert_array_equal(open_patient(tmp_path / "ct", tmp_path / "m.seg.nrrd", IMAGES).masks["sm"], mask)


@pytest.mark.parametrize("spacing", [(0.71, 0.8, 5.0), (0.7, 0.8, 5.1), (0.72, 0.82, 5.0)])
def test_another_spacing_is_another_grid(ct, tmp_path, spacing):
    write_seg(tmp_path / "m.seg.nrrd", {"SM": SM}, Geometry(GRID.size, GRID.origin, spacing, GRID.direction))
    with pytest.raises(ImageError, match="does not fit the CT"):
        opened(ct, tmp_path / "m.seg.nrrd")


@pytest.mark.parametrize("degrees", [0.02, 0.15, 0.4, 1.0, 12.0])
@pytest.mark.parametrize("plane", [(0, 1), (1, 2), (0, 2)])
def test_axes_not_quite_at_right_angles(tmp_path, degrees, plane):
    """CT and masks of one converter share the fault; small, it is none, and large, it is named."""
    shear = np.tan(np.radians(degrees))
    affine = np.diag([-0.7, -0.8, 5.0, 1.0])
    affine[plane[0], plane[1]] = affine[plane[1], plane[1]] * shear
    affine[:3, 3] = [20, 30, -100]
    paths = []
    for name, values in (("ct", WHOLE), ("SM", SM.astype(np.uint8)), ("PM", PM.astype(np.uint8))):
        (tmp_path / ("ct" if name == "ct" else "masks")).mkdir(exist_ok=True)
        path = tmp_path / ("ct" if name == "ct" else "masks") / f"{name}.nii"
        sitk.WriteImage(GRID.image_of(values), str(path))
        header = bytearray(path.read_bytes())
        header[80:92] = np.linalg.norm(affine[:3, :3], axis=0).astype("<f4").tobytes()
        header[252:256] = np.array([0, 1], "<i2").tobytes()
        header[280:328] = affine[:3].astype("<f4").tobytes()
        path.write_bytes(header)
        paths.append(path)
    if degrees < 0.5:
        is_truth(opened(tmp_path / "ct", tmp_path / "masks"))
    else:
        with pytest.raises(ImageError, match=f"not at right angles .off by {degrees:.1f} degrees"):
            opened(tmp_path / "ct", tmp_path / "masks")


# ---- messages ----------------------------------------------------------------------------------------------
def test_names_are_for_the_terminal_alone(tmp_path):
    write_seg(tmp_path / "m.seg.nrrd", {"GTV_Mass_CT": SM, "Annegret Zwetschgenberger": PM}, GRID)
    wanted = IMAGES.sm.model_copy(update={"names": ["GTV_Mass"], "parts": []})
    error = missing(read_segments(tmp_path / "m.seg.nrrd"), wanted)
    assert "Zwetschgenberger" not in str(error) and "GTV_Mass_CT" not in str(error)
    assert "'Annegret Zwetschgenberger'" in error.at_terminal
    assert "did you mean 'GTV_Mass_CT'?" in error.at_terminal


def test_indices_show_all_names_where_a_muscle_is_missing(ct, tmp_path, capsys):
    write_seg(tmp_path / "m.seg.nrrd", {"SM": SM, "Zwetschgenberger": PM}, GRID)
    pair = ["indices", "--ct", str(ct), "--mask", str(tmp_path / "m.seg.nrrd")]
    assert main(pair) == 0
    assert "mask         2 segments: 'SM', 'Zwetschgenberger'" in capsys.readouterr().out
    assert main([*pair, "--json"]) == 0  # which may be kept in a file
    assert "Zwetschgenberger" not in capsys.readouterr().out


def test_names_cannot_steer_a_terminal(tmp_path):
    write_seg(tmp_path / "m.seg.nrrd", {"a\x1b[2Jb": SM}, GRID)
    error = missing(read_segments(tmp_path / "m.seg.nrrd"), IMAGES.sm)
    assert "\x1b" not in error.at_terminal


@pytest.mark.parametrize("fault", [ValueError("x"), KeyError("y"), ZeroDivisionError(), OSError("z"), IndexError()])
def test_no_message_holds_the_name_of_an_exception(fault):
    with pytest.raises(ImageError) as caught, refusing_damage():
        raise fault
    assert type(fault).__name__ not in str(caught.value)


@pytest.mark.parametrize("find", [find_mask, find_ct])
def test_a_zip_of_the_patients_name_is_to_be_unpacked(tmp_path, find):
    (tmp_path / "P1.zip").touch()
    with pytest.raises(ImageError, match="has a zip archive of this patient; unpack it"):
        find(tmp_path, "P1")


def test_a_mask_of_each_suffix_is_found(tmp_path):
    for suffix in (".mhd", ".nhdr", ".dcm.gz"):
        (tmp_path / f"P1{suffix}").touch()
        assert find_mask(tmp_path, "P1").name == f"P1{suffix}"
        (tmp_path / f"P1{suffix}").unlink()
    assert mask_files.stem(Path("SM.mhd")) == "SM" and load_params("defaults").images == IMAGES
