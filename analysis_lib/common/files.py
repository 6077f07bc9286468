"""Writing files so that a reader never meets half of one, and seeing that a folder is as it was written."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:  # make's questions need no pandas
    import pandas as pd

LARGEST_WORKBOOK = 1 << 27  # bytes unpacked: 10,000 patients with a hundred columns have a third
TEMPORARY = ".writing-"
SUMS = "SHA256SUMS"  # as sha256sum writes and checks them


def unpacked_size(path: Path) -> int:
    """Bytes that a workbook says it unpacks to, since a small one can hold gigabytes; BadZipFile for what is none."""
    with zipfile.ZipFile(path) as archive:
        return sum(part.file_size for part in archive.infolist())


def temporary_prefix() -> str:
    """How names of temporary files and folders of this process begin."""
    return f"{TEMPORARY}{socket.gethostname()}-{os.getpid()}-"


def remove_leftovers(folder: Path) -> None:
    """Remove from ``folder`` what processes of this machine that were killed while writing left behind."""
    mine = f"{TEMPORARY}{socket.gethostname()}-"
    for path in Path(folder).glob(f"{TEMPORARY}*"):
        process = path.name.removeprefix(mine).split("-")[0]
        if not path.name.startswith(mine) or not process.isdigit() or is_running(int(process)):
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def is_running(process: int) -> bool:
    """Whether this machine has a process of this number."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@contextmanager
def replacing(path: Path, sync: bool = True) -> Iterator[Path]:
    """Give a temporary path beside ``path`` and move it there when the block ends well.

    The temporary name keeps the suffix, because many writers choose their format by it. File and folder are on the disk
    when the block ends: after a loss of power the old file or the new one is there, and no empty one. ``sync=False`` is
    for a file that carries a hash of its content, whose reader sees damage: it need not wait for the disk.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=temporary_prefix(), suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        os.chmod(temporary, 0o644)
        if sync:
            to_disk(temporary)
        os.replace(temporary, path)
        if sync:
            to_disk(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def to_disk(path: Path) -> None:
    """Wait until a file's content, or a folder's list of files, is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: Path, text: str, sync: bool = True) -> None:
    """Write UTF-8 text; the file appears whole or not at all. ``sync``: see ``replacing``."""
    with replacing(path, sync) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_parquet(table: pd.DataFrame, path: Path, index: bool = False) -> None:
    """Write a table as Parquet; the file appears whole or not at all."""
    with replacing(path) as temporary:
        table.to_parquet(temporary, index=index)


def read_csv(source: Path | IO, **options: Any) -> pd.DataFrame:
    """A CSV whose numbers are read to the last bit; pandas' own parser may miss it, and a patient his own cut-off."""
    import pandas as pd  # here, because make's questions need none

    return pd.read_csv(source, float_precision="round_trip", **options)


def write_text_if_changed(path: Path, text: str) -> None:
    """Leave the file, and so its time stamp, alone when it already holds ``text``."""
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)


def file_hash(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def seal(folder: Path) -> None:
    """Write the hash of every file of a folder into ``SHA256SUMS`` there."""
    files = [path for path in sorted(folder.iterdir()) if path.name != SUMS]
    write_text(folder / SUMS, "".join(f"{file_hash(path)}  {path.name}\n" for path in files))


def check_seal(folder: Path) -> None:
    """Raise ValueError where a file of a sealed folder is missing, or another, or one that does not belong there."""
    try:
        lines = [line.split("  ", 1) for line in (folder / SUMS).read_text(encoding="utf-8").splitlines()]
        sealed = {name: told for told, name in lines}
    except (FileNotFoundError, ValueError):
        raise ValueError(f"it has no list of its files that can be read ({SUMS}); fit or export it again") from None
    for name in sorted({*sealed, *(path.name for path in folder.iterdir())} - {SUMS}):
        path = folder / Path(name).name
        if name not in sealed or path.name != name:
            raise ValueError(f"'{name}' is no file of it; take it away, or take the folder anew from where it was made")
        if not path.is_file() or file_hash(path) != sealed[name]:
            raise ValueError(f"{name} is missing or is not the file that was saved; take the folder anew")
