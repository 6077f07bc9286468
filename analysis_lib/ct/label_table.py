"""Names of the labels of a label map, from the tables that segmentation tools write."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

from analysis_lib.ct.geometry import ImageError

SUFFIXES = (".ctbl", ".txt", ".label", ".csv", ".tsv", ".json")
_IMAGE_SUFFIX = re.compile(r"(\.seg)?\.(nrrd|nhdr|nii|mha|mhd)(\.gz)?$", re.IGNORECASE)


def stem(mask: Path) -> str:
    """Name of a mask file without the suffix of its format."""
    return _IMAGE_SUFFIX.sub("", mask.name)


def find_label_table(mask: Path) -> Path | None:
    """The table beside a label map: the same name with a table's suffix, or ``labels`` for all of the folder.

    Else ``dataset.json``, which nnU-Net puts beside what it predicts. A JSON file of anything else is passed over.
    """
    names = [f"{base}{suffix}" for base in (stem(mask), "labels") for suffix in SUFFIXES] + ["dataset.json"]
    found = (path for name in names if (path := mask.parent / name).is_file())
    return next((path for path in found if not _is_sidecar(path)), None)


def _is_sidecar(path: Path) -> bool:
    """Whether a JSON file beside a mask is no table but a note on the image, as BIDS has it and dcm2niix writes it."""
    if path.suffix.lower() != ".json":
        return False
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        return False  # what cannot be read is refused as a table
    if not isinstance(content, dict) or isinstance(content.get("labels"), dict):
        return not isinstance(content, dict)
    return not all(key.lstrip("-").isdigit() or isinstance(value, int) for key, value in content.items())


def read_label_table(path: Path) -> dict[int, str]:
    """Label number to name.

    Reads 3D Slicer colour tables (number name r g b a), ITK-SNAP label descriptions (number r g b a v m "name"),
    CSV or TSV with the columns label and name in either order, and JSON {"1": "SM"}, {"SM": 1} or, as nnU-Net
    writes it, {"labels": {"SM": 1}}. Raises ImageError for anything else, and where a number has two names.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        raise ImageError("the label table cannot be read as text; save it as UTF-8") from None
    try:
        pairs = _json_pairs(text) if path.suffix.lower() == ".json" else _line_pairs(text)
    except (ValueError, TypeError, AttributeError):
        pairs = []
    if not pairs:
        raise ImageError("the label table holds no label numbers with names; write lines such as 1,SM")
    names: dict[int, str] = {}
    for number, name in pairs:
        if names.setdefault(number, name) != name:
            raise ImageError(f"the label table gives label {number} two names; keep one")
    return names


def _json_pairs(text: str) -> list[tuple[int, str]]:
    table = json.loads(text)
    table = table.get("labels", table)
    return [(int(k), str(v)) if str(k).lstrip("-").isdigit() else (int(v), str(k)) for k, v in table.items()]


def _line_pairs(text: str) -> list[tuple[int, str]]:
    pairs = []
    for line in text.splitlines():
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        snap = re.fullmatch(r'(\d+)(?:\s+[\d.]+){6}\s+"(.*)"', line)
        slicer = re.fullmatch(r"(\d+)\s+(\S.*?)(?:\s+\d+){4}", line)
        if found := snap or slicer:
            pairs.append((found[1], found[2]))
            continue
        delimiter = next((mark for mark in ("\t", ";", ",") if mark in line), None)
        cells = [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter))] if delimiter else []
        if len(cells) >= 2 and (cells[0].isdigit() or cells[1].isdigit()):
            pairs.append((cells[0], cells[1]) if cells[0].isdigit() else (cells[1], cells[0]))
    return [(int(number), name) for number, name in pairs]
