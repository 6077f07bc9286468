"""Whether an image file holds as many bytes as its header says, seen without keeping them.

Readers take what they need from the front: one stray byte shifts every voxel behind it, and a small compressed file may
unpack to more than the machine has.
"""

from __future__ import annotations

import bz2
import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import nrrd
import numpy as np

from analysis_lib.ct.geometry import ImageError

CHUNK = 1 << 22
NRRD_BYTES = {
    "int8": 1, "int8_t": 1, "signed char": 1, "uchar": 1, "uint8": 1, "uint8_t": 1, "unsigned char": 1,
    "short": 2, "short int": 2, "signed short": 2, "signed short int": 2, "int16": 2, "int16_t": 2,
    "ushort": 2, "unsigned short": 2, "unsigned short int": 2, "uint16": 2, "uint16_t": 2,
    "int": 4, "signed int": 4, "int32": 4, "int32_t": 4, "uint": 4, "unsigned int": 4, "uint32": 4, "uint32_t": 4,
    "longlong": 8, "long long": 8, "long long int": 8, "signed long long": 8, "signed long long int": 8, "int64": 8,
    "int64_t": 8, "ulonglong": 8, "unsigned long long": 8, "unsigned long long int": 8, "uint64": 8, "uint64_t": 8,
    "float": 4, "double": 8,
}  # fmt: skip
META_BYTES = {
    "MET_CHAR": 1, "MET_UCHAR": 1, "MET_SHORT": 2, "MET_USHORT": 2, "MET_INT": 4, "MET_UINT": 4, "MET_LONG": 4,
    "MET_ULONG": 4, "MET_LONG_LONG": 8, "MET_ULONG_LONG": 8, "MET_FLOAT": 4, "MET_DOUBLE": 8,
}  # fmt: skip
LONGEST_HEADER = 1 << 20


def check_length(path: Path, kind: str) -> bytes | None:
    """Raise ImageError where a NRRD or MetaImage file (kind nrrd, mha) has more or fewer voxels than its header says.

    So it does where the header names a file of voxels that is not beside it, or several. Returns a NRRD as unpacked.
    """
    if kind not in ("nrrd", "mha"):
        return None
    try:
        with path.open("rb") as stream, np.errstate(invalid="ignore"):  # of sizes that are no numbers
            if kind == "nrrd":
                return _check_nrrd(path, stream)
            _check_meta(path, stream)
    except (ImageError, MemoryError):
        raise
    except (OSError, EOFError, zlib.error):
        raise _cut_short() from None
    except Exception:  # whatever a damaged header makes pynrrd and the conversions raise
        raise ImageError("the image file cannot be read: its header is damaged or cut short; save it again") from None
    return None


def voxel_file(header: Path, named: str) -> Path:
    """The file of voxels that a detached header names; ImageError where it is not a file beside the header."""
    plain = named.strip()
    if not plain or plain.upper().startswith("LIST") or "%" in plain:
        raise ImageError("the image file spreads its voxels over several files; save it as one file")
    path = header.parent / plain
    if Path(plain) != Path(Path(plain).name) or path.resolve().parent != header.parent.resolve():
        raise ImageError(
            "the header of the image file names a file of voxels elsewhere; put both into one folder, or save the "
            "image as one file"
        )
    if not path.is_file():
        raise ImageError("the file of voxels that the header names is missing; put it beside the header")
    return path


def detached_files(header: Path) -> list[Path]:
    """The files of voxels that an ``.nhdr`` or ``.mhd`` header names, or that belong to an Analyze header by name."""
    suffix = header.suffix.lower()
    if suffix == ".hdr":
        return [p for p in (header.with_suffix(".img"), header.with_suffix(".img.gz")) if p.is_file()]
    if suffix not in (".nhdr", ".mhd") or not header.is_file():
        return []
    named = ""
    with header.open("rb") as stream:
        for line in stream.read(LONGEST_HEADER).decode("latin-1").splitlines():
            key, _, value = line.partition(":" if suffix == ".nhdr" else "=")
            if key.strip().lower() in ("data file", "datafile", "elementdatafile"):
                named = value.strip()
    return [] if not named or named.upper() == "LOCAL" else [voxel_file(header, named)]


def _check_nrrd(path: Path, stream: BinaryIO) -> bytes | None:
    header = nrrd.read_header(stream)
    width, encoding = NRRD_BYTES.get(str(header["type"]).lower()), str(header["encoding"]).lower()
    named = header.get("data file", header.get("datafile"))
    data = path if named is None else voxel_file(path, str(named))
    skip, lines = (
        int(header.get("byte skip", header.get("byteskip", 0))),
        header.get("line skip", header.get("lineskip")),
    )
    if width is None or int(lines or 0) or skip < 0:
        return None
    expected = int(np.prod([int(n) for n in header["sizes"]], dtype=object)) * width
    with _opened(stream if named is None else None, data) as voxels:
        if encoding == "raw":
            voxels.seek(skip, 1)
            _compare(data.stat().st_size - voxels.tell(), expected)
        elif encoding in ("gzip", "gz"):
            unpacked = _count(gzip.GzipFile(fileobj=voxels), expected + skip)
            return unpacked if named is None and not skip else None
        elif encoding in ("bzip2", "bz2"):
            _count(bz2.BZ2File(voxels), expected + skip)
    return None


def _check_meta(path: Path, stream: BinaryIO) -> None:
    header: dict[str, str] = {}
    while "elementdatafile" not in header:
        line = stream.readline(LONGEST_HEADER)
        if not line or stream.tell() > LONGEST_HEADER:
            raise ImageError("the image file is damaged: its header has no end; save it again")
        key, _, value = line.decode("latin-1").partition("=")
        header[key.strip().lower()] = value.strip()
    if header.get("ndims") != str(len(header["dimsize"].split())):  # ITK takes memory by it, or ends the process
        raise ImageError("the image file is damaged: its header names two numbers of dimensions; save it again")
    width = META_BYTES.get(header.get("elementtype", "").upper())
    named = header["elementdatafile"]
    local = named.upper() == "LOCAL"
    data = path if local else voxel_file(path, named)
    if width is None or int(header.get("headersize", 0)) or header.get("binarydata", "True").lower() == "false":
        return
    sizes = [*header["dimsize"].split(), header.get("elementnumberofchannels", "1")]
    expected = int(np.prod([int(n) for n in sizes], dtype=object)) * width
    with _opened(stream if local else None, data) as voxels:
        if header.get("compresseddata", "False").lower() == "true":
            _count_zlib(voxels, expected)
        else:
            _compare(data.stat().st_size - voxels.tell(), expected)


@contextmanager
def _opened(attached: BinaryIO | None, data: Path) -> Iterator[BinaryIO]:
    if attached is not None:
        yield attached
        return
    with data.open("rb") as stream:
        yield stream


def _count(packed: gzip.GzipFile | bz2.BZ2File, expected: int) -> bytes:
    found, chunks = 0, []
    while found <= expected and (chunk := packed.read(CHUNK)):
        found += len(chunk)
        chunks.append(chunk)
    _compare(found, expected)
    return b"".join(chunks)


def _count_zlib(packed: BinaryIO, expected: int) -> None:
    unpacker, found = zlib.decompressobj(wbits=47), 0  # zlib or gzip, by its first bytes
    rest = packed.read(CHUNK)
    while rest and found <= expected and not unpacker.eof:
        found += len(unpacker.decompress(rest, CHUNK))
        rest = unpacker.unconsumed_tail or packed.read(CHUNK)
    _compare(found, expected)


def _compare(found: int, expected: int) -> None:
    if found < expected:
        raise _cut_short()
    if found > expected:
        raise ImageError(
            "the image file holds more bytes than its header says, so that no voxel's place is sure; save it again"
        )


def _cut_short() -> ImageError:
    return ImageError("the image file cannot be read: it is damaged or cut short; save it again")
