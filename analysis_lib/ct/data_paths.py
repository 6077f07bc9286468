"""Where a patient's files lie: never outside the data folder, listed the same each time."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from analysis_lib.ct.file_length import detached_files
from analysis_lib.ct.geometry import ImageError


def inside(folder: Path, text: str, column: str) -> Path:
    """The file or folder that a cell of the clinical table names, relative to the data folder.

    Symbolic links are resolved before the check. Raises ImageError, without showing the path (it may hold a
    name), where it is absolute, leads outside ``folder`` or cannot be a path at all.
    """
    try:
        root = folder.resolve()
        path = (root / text).resolve()
        outside = Path(text).is_absolute() or not path.is_relative_to(root) or path == root
        path.exists()  # a name that is too long is noticed here
    except (OSError, ValueError, RuntimeError):  # too long, a null character, links in a circle
        raise ImageError(f"{column} in the clinical table is no usable path; give one below the data folder") from None
    if outside:
        raise ImageError(f"{column} in the clinical table leads outside the data folder; move the files into it")
    return path


def named_after(folder: Path, patient_id: str, suffixes: Sequence[str]) -> dict[str, Path]:
    """What in ``folder`` is called ``patient_id``, with a suffix or alone; the keys are what a message says of each.

    Raises ImageError where nothing is but a zip, or a name that is the same but for capitals, signs or leading zeros.
    """
    try:
        candidates = {}
        for suffix in suffixes:
            small, capitals = (folder / f"{patient_id}{ending}" for ending in (suffix, suffix.upper()))
            candidates[suffix] = small if small.exists() else capitals
        candidates["a folder" if (folder / patient_id).is_dir() else "a file without suffix"] = folder / patient_id
        found = {kind: path for kind, path in candidates.items() if path.exists()}
        names = [] if found or not folder.is_dir() else [path.name for path in folder.iterdir()]
    except OSError:  # a patient_id that is too long for a file name
        return {}
    if f"{patient_id}.zip" in names:
        raise ImageError(f"{folder.name}/ has a zip archive of this patient; unpack it into a folder <patient_id>")
    stems = {name[: -len(end)] for name in names for end in suffixes if name.lower().endswith(end)}
    for what, rule in (("in capitals", str.casefold), ("in capitals, signs or leading zeros", _bare)):
        if any(rule(stem) == rule(patient_id) for stem in stems.union(names)):
            raise ImageError(
                f"{folder.name}/ has nothing of this patient's name, but one that differs {what} only; mend patient_id "
                "or the name"
            )
    return found


def _bare(name: str) -> str:
    return re.sub(r"(?<!\d)0+(?=\d)", "", re.sub(r"[\W_]+", "", name.casefold()))


def files_of(place: Path) -> list[Path]:
    """The files of a CT or mask that is a file or a folder; the header of a detached NRRD comes with its data."""
    if place.is_file() and place.suffix.lower() == ".nhdr":
        beside = [p for p in place.parent.iterdir() if p.is_file() and p.name.startswith(f"{place.stem}.")]
        return sorted({*beside, *detached_files(place)})
    if place.is_file() and place.suffix.lower() == ".mhd":
        return sorted({place, *detached_files(place)})
    return [place] if place.is_file() else files_below(place)


@contextmanager
def named_for_itk(path: Path, suffixes: tuple[str, ...]) -> Iterator[str]:
    """The file under a name that ITK opens: it chooses its reader by the suffix, of which ``suffixes`` fit.

    A name that is no UTF-8, as old archives leave them, would end the process. Raises ImageError where a link does not
    help, since the header of the file names another one beside it.
    """
    plain = os.fsencode(path).decode("utf-8", "ignore")
    if str(path) == plain and plain.lower().endswith(suffixes):
        with _itk_memory():
            yield plain
        return
    if ".nhdr" in suffixes or plain.lower().endswith(".mhd"):
        raise ImageError(
            "the name of a file or folder of the CT is not in UTF-8, as an old archive leaves it; rename it"
        )
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder, f"image{suffixes[0]}")
        link.symlink_to(path.resolve())
        with _itk_memory():
            yield str(link)


@contextmanager
def _itk_memory() -> Iterator[None]:
    """ITK says by its text alone that memory is not enough."""
    try:
        yield
    except RuntimeError as error:
        if "memory" in str(error).lower():
            raise MemoryError from None
        raise


def files_below(folder: Path) -> list[Path]:
    """All files below ``folder`` sorted by path; hidden ones are left out, links to folders are not followed.

    Raises ImageError where a folder may not be read: its slices would be missing unnoticed.
    """

    def refuse(_: OSError) -> None:
        raise ImageError("a folder of the patient may not be read; allow this user to read it") from None

    found = []
    for parent, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths = (Path(parent, name) for name in names if not name.startswith("."))
        found += [path for path in paths if path.is_file()]  # neither sockets nor links to nowhere
    return sorted(found)
