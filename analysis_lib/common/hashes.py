"""Hashes of files, each computed once for as long as the file system says that it is the same file.

A study hashes every image to know what is kept of it, and does so at each stage; a what-if does nothing else with the
images. As git does for its index: size, times and inode tell a file that was written; a file that was written in the
moment before it was hashed may be written again within the same tick of the clock, and is not remembered.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from analysis_lib.common.files import file_hash, write_text

SETTLED_S = 3.0  # of a file system whose times are of two seconds, too
FileHash = Callable[[Path], str]


@contextmanager
def known_hashes(kept: Path) -> Iterator[FileHash]:
    """Give ``file_hash`` with its answers kept in a file; also for several threads.

    The names of the files, which may be a person's, are not in it.
    """
    try:
        found = json.loads(kept.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        found = None
    known: dict[str, list] = found if isinstance(found, dict) else {}
    new: dict[str, list] = {}

    def known_hash(path: Path) -> str:
        name, seen = _name(path), _seen(path)
        if (entry := known.get(name)) and entry[:-1] == seen:
            return entry[-1]
        told = file_hash(path)
        if seen == _seen(path) and time.time() - max(seen[1:3]) / 1e9 > SETTLED_S:
            new[name] = [*seen, told]
        return told

    try:
        yield known_hash
    finally:
        if new:
            write_text(kept, json.dumps(known | new, separators=(",", ":")) + "\n", sync=False)


def _name(path: Path) -> str:
    return hashlib.blake2b(os.fsencode(os.path.abspath(path)), digest_size=12).hexdigest()


def _seen(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def contents(paths: Iterable[Path], hash_by: FileHash = file_hash) -> list[tuple[str, str]]:
    """Name and hash of each file, as what a kept result depends on."""
    return [(path.name, hash_by(path)) for path in paths]
