"""Muscle masks on the CT's grid, from every format that a site may have.

Segments are chosen by name, never by channel or label number alone: a 3D Slicer file with overlapping
segments stores them in layers in which every label value may be 1. Each format is read by its own module;
what a file is, is decided by its content.
"""

from __future__ import annotations

import gzip
import warnings
import zlib
from collections.abc import Sequence
from pathlib import Path

import pydicom
from pydicom.uid import MediaStorageDirectoryStorage

from analysis_lib.common.errors import suggest
from analysis_lib.ct import mask_dicom_seg, mask_files, mask_rtstruct
from analysis_lib.ct.ct import CtSeries
from analysis_lib.ct.data_paths import files_below, named_after
from analysis_lib.ct.dicom_stream import read_dicom, starts_as_dicom
from analysis_lib.ct.geometry import ImageError
from analysis_lib.ct.mask_segments import Segment, UnionSegment, VoxelSegment, same_name
from analysis_lib.ct.segment_names import described, printable
from analysis_lib.ct.settings import SegmentParams

__all__ = ["Segment", "check_frame", "choose", "find_mask", "missing", "read_segments"]

SUFFIXES = (".seg.nrrd", ".nrrd", ".nhdr", ".nii.gz", ".nii", ".mha", ".mhd", ".dcm", ".dcm.gz")

MOST_LISTED = 150  # a whole-body segmenter has 117

# That a message may show: any other text in the header's place may be a person's name.
MODALITIES = ("CT", "MR", "PT", "NM", "US", "SR", "PR", "SC", "OT", "REG", "RTDOSE", "RTIMAGE", "RTPLAN")


def find_mask(folder: Path, patient_id: str) -> Path:
    """The patient's mask below ``folder``: ``<patient_id>`` with a known suffix, or a folder of that name.

    Raises ImageError where there is none, or more than one.
    """
    found = named_after(folder, patient_id, SUFFIXES)
    if not found:
        raise ImageError(
            "the mask of this patient is missing; put it into masks/ as a folder <patient_id>, or as <patient_id> and "
            f"one of {', '.join(SUFFIXES)}"
        )
    if len(found) > 1:
        raise ImageError(
            f"{len(found)} masks of this patient ({', '.join(found)}); keep one, or name it in the column mask_path"
        )
    return next(iter(found.values()))


def read_segments(path: Path, label_table: Path | None = None, wanted: Sequence[SegmentParams] = ()) -> list[Segment]:
    """All segments of a mask: a 3D Slicer segmentation, a label map (NRRD, NIfTI, MHA), DICOM SEG or RTSTRUCT, or a
    folder with one binary file a segment or one DICOM file.

    ``label_table`` names the labels of a label map; without it a table of the same name beside the file is taken.
    Of a folder in which files of the ``wanted`` names have all that is wanted, no other file is read: a segmenter may
    write a hundred. Raises ImageError where the mask is missing, damaged or no segmentation.
    """
    path = Path(path)
    try:
        if path.is_dir():
            return _read_folder(path, label_table, wanted)
        if not path.is_file():
            raise ImageError("the mask file is missing; export the segmentation again")
        kind = kind_of(path)
    except OSError:
        raise ImageError("the mask file cannot be opened; allow this user to read it") from None
    if kind == "dicom":
        return _read_dicom(path)
    if kind in ("nrrd", "nifti", "mha"):
        return [*mask_files.read(path, kind, label_table)]
    if kind == "zip":
        raise ImageError("the mask is a zip archive; unpack it and give the mask that it holds")
    raise ImageError(
        "the mask file is empty; save the segmentation again"
        if kind == "empty"
        else "the mask file is none of NRRD, NIfTI, MHA, DICOM SEG, RTSTRUCT; save the segmentation as one of them"
    )


def choose(segments: Sequence[Segment], settings: SegmentParams) -> Segment | None:
    """The segment of one muscle: by name, else by label number, else put together from its parts; None where absent.

    Case, blanks, hyphens and underscores do not count in names. Raises ImageError where the choice is not clear
    or the segment is empty.
    """
    found = [s for s in segments if any(same_name(s.name, name) for name in settings.names)]
    if len(found) > 1:
        present = described_for(segments, settings)
        raise ImageError(f"{len(found)} segments are named {settings.names[0]}; the mask has {present}: keep one")
    if not found and settings.labels:
        # Of a label map without names alone: in other files a number says nothing, or something else.
        numbers = sorted(set(settings.labels))
        labelled = [s for s in segments if isinstance(s, VoxelSegment) and s.numbered and s.label in numbers]
        made_of = [f"label {label}" for label in numbers]
        complete = sorted(s.label for s in labelled) == numbers
        found = [UnionSegment.of(settings.names[0], labelled, made_of)] if complete else []
    for parts in settings.parts:
        if found:
            break
        pieces = [s for s in segments if any(same_name(s.name, name) for name in parts)]
        if len(pieces) == len(parts):
            if empty := [piece for piece in pieces if piece.is_empty]:
                raise ImageError(f"segment '{empty[0].name[:40]}' is empty; draw it or exclude the patient")
            found = [UnionSegment.of(settings.names[0], pieces, parts)]
    if not found:
        return None
    if found[0].is_empty:
        raise ImageError(f"segment '{found[0].name[:40]}' is empty; draw it or exclude the patient")
    return found[0]


def shown_name(segment: Segment) -> str:
    """A chosen segment as the check shows it: its name, or what it was put together from."""
    return " + ".join(f"'{name[:40]}'" for name in getattr(segment, "made_of", ()) or [segment.name])


def pieces_of(segments: Sequence[Segment], settings: SegmentParams) -> list[str]:
    """Accepted names of the parts of a muscle that are there, as of a left side without the right."""
    names = [name for parts in settings.parts for name in parts]
    return [name for name in names if any(same_name(s.name, name) for s in segments)]


def missing(segments: Sequence[Segment], settings: SegmentParams) -> ImageError:
    """What to say of a muscle that is not in the mask."""
    if not segments:
        return ImageError("the mask holds no segments; draw them, or exclude the patient")
    fix = "rename the segment, or name the labels of a label map in a table beside it"
    wanted = " or ".join(settings.names)
    error = ImageError(f"no segment named {wanted}; the mask has {described_for(segments, settings)}: {fix}")
    names = [printable(segment.name) for segment in segments]
    nearest = [suggest(name, names) for name in settings.names]
    found = next((text for text in nearest if "did you mean" in text), "")
    error.at_terminal = f"no segment named {wanted}; the mask has {listed(names)}{found or ';'} {fix}"
    return error


def listed(names: Sequence[str]) -> str:
    """All names of segments, for the terminal of who runs a command and for no file."""
    shown = ", ".join(f"'{name}'" for name in names[:MOST_LISTED]) + " ..." * (len(names) > MOST_LISTED)
    return f"{len(names)} segment{'s' if len(names) != 1 else ''}: {shown}"


def described_for(segments: Sequence[Segment], settings: SegmentParams) -> str:
    """The segments of a mask as a message on one muscle shows them."""
    return described(segments, [*settings.names, *(name for parts in settings.parts for name in parts)])


def check_frame(segment: Segment, series: CtSeries) -> None:
    """Refuse contours of another frame of reference: their mm are not the CT's, however well they seem to fit."""
    if not segment.frame_of_reference_uid or not series.slices:
        return
    header = pydicom.dcmread(series.files[0], stop_before_pixels=True, specific_tags=["FrameOfReferenceUID"])
    frame = str(header.get("FrameOfReferenceUID", ""))
    if frame and frame != segment.frame_of_reference_uid:
        raise ImageError(
            f"region '{segment.name[:40]}' was drawn in another frame of reference than the CT; export the structure "
            "set with the CT that it was drawn on"
        )


def kind_of(path: Path) -> str:
    """What a mask file is by its content: nrrd, nifti, mha, dicom, zip, empty or unknown. Raises OSError."""
    with path.open("rb") as stream:
        start = stream.read(352)
    if not start:
        return "empty"
    if start[:2] == b"\x1f\x8b":
        try:
            with gzip.open(path) as stream:
                start = stream.read(352)
        except (OSError, EOFError, zlib.error):
            raise ImageError("the mask file is damaged or cut short; save it again") from None
    if start[:4] == b"NRRD":
        return "nrrd"
    if start[344:348] in (b"n+1\0", b"ni1\0"):
        return "nifti"
    if starts_as_dicom(start):
        return "dicom"
    if start[:4] == b"PK\3\4":
        return "zip"
    return "mha" if start.lstrip().startswith((b"ObjectType", b"NDims")) else "unknown"


def _read_dicom(path: Path) -> list[Segment]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the header's style
            header = read_dicom(path, stop_before_pixels=True, specific_tags=["Modality", "SOPClassUID"])
            modality, sop_class = str(header.get("Modality", "")), str(header.get("SOPClassUID", ""))
    except (ImageError, MemoryError):
        raise
    except Exception:  # pydicom raises many kinds for damaged headers
        raise ImageError("the mask is a DICOM file whose header is damaged; export it again") from None
    if sop_class == MediaStorageDirectoryStorage:
        raise ImageError("the mask is a DICOMDIR, an index of other files; give the folder or the file of the mask")
    if modality == "SEG":
        return [*mask_dicom_seg.read(path)]
    if modality == "RTSTRUCT":
        return [*mask_rtstruct.read(path)]
    kind = modality if modality in MODALITIES else "another"
    raise ImageError(f"the mask is a DICOM file of modality {kind}; export a SEG or RTSTRUCT")


def _read_folder(folder: Path, label_table: Path | None, wanted: Sequence[SegmentParams]) -> list[Segment]:
    kinds = {path: kind_of(path) for path in files_below(folder) if path.name.upper() != "DICOMDIR"}
    images = [p for p, kind in kinds.items() if kind in ("nrrd", "nifti", "mha", "dicom")]
    images = images or [p for p, kind in kinds.items() if kind == "zip"][:1]
    if not images:
        raise ImageError("the mask folder holds no mask; put one file a segment into it, or one DICOM SEG or RTSTRUCT")
    if len(images) == 1:
        return read_segments(images[0], label_table)
    if any(kinds[p] == "dicom" for p in images):
        raise ImageError(f"the mask folder holds {len(images)} files, DICOM among them; keep the one to use")

    def read(paths: Sequence[Path]) -> list[Segment]:
        return [segment for path in paths for segment in mask_files.read(path, kinds[path], label_table, True)]

    names = [name for one in wanted for name in [*one.names, *(name for parts in one.parts for name in parts)]]
    first = _of_names(images, names)
    segments = read(first)
    if wanted and all(choose(segments, one) is not None for one in wanted):
        return segments
    return segments + read([p for p in images if p not in first])


def _of_names(paths: Sequence[Path], names: Sequence[str]) -> list[Path]:
    return [path for path in paths if any(same_name(mask_files.stem(path), name) for name in names)]


def named_files(folder: Path, names: Sequence[str]) -> list[Segment]:
    """Segments of the files of these names in a folder with a file a segment, but those that cannot be read."""
    found: list[Segment] = []
    for path in _of_names(files_below(folder), names):
        try:
            if (kind := kind_of(path)) in ("nrrd", "nifti", "mha"):
                found += mask_files.read(path, kind, None, True)
        except (ImageError, OSError):
            continue
    return found
