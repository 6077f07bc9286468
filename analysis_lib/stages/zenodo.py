"""CT from the archives of a record of Zenodo: resumed downloads, checked by the record's own MD5, unpacked by name."""

from __future__ import annotations

import fnmatch
import hashlib
import json
import re
import shutil
import urllib.request
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

from tqdm import tqdm

from analysis_lib.common.files import file_hash, replacing, write_text
from analysis_lib.core.archive_params import FetchParams
from analysis_lib.stages import StageError

BLOCK = 1 << 20
TIMEOUT_S = 60


def fetch_record(
    settings: FetchParams, data: Path, clinical: str, quiet: bool = False
) -> tuple[list[dict[str, Any]], list[str]]:
    """CT of a record's archives to ``data``/ct/<patient_id>.nii.gz, and its file ``clinical``.

    An archive that is unpacked is removed and not fetched again, as ``.fetching/<archive>.json`` says. Returns the rows
    of ``fetched.csv`` and what to tell. Raises StageError where a file does not arrive as the record has it, names what
    it has where none is as asked for.
    """
    record = _record(settings.zenodo)
    files, staged = {entry["key"]: entry for entry in record["files"]}, data / ".fetching"
    archives = fnmatch.filter(sorted(files), settings.archives)
    if not archives:
        raise StageError(f"fetch.archives: the record has no {settings.archives}; it has {', '.join(sorted(files))}")
    meta = record.get("metadata", {})
    about = {"source": record.get("doi", settings.zenodo), "licence": (meta.get("license") or {}).get("id", "")}
    staged.mkdir(exist_ok=True)
    if clinical in files and not (data / clinical).is_file():
        _download(files[clinical], staged / clinical, quiet)
        (staged / clinical).replace(data / clinical)
    rows: list[dict[str, Any]] = []
    for name in archives:
        done = staged / f"{name}.{hashlib.sha256(repr(settings).encode()).hexdigest()[:12]}.json"
        kept = json.loads(done.read_text(encoding="utf-8")) if done.is_file() else None
        if kept is None or not all(_there(data, row) for row in kept):
            _download(files[name], staged / name, quiet)
            kept = [row | about for row in _unpack(staged / name, data / "ct", settings)]
            write_text(done, json.dumps(kept) + "\n")
            (staged / name).unlink()
        rows += kept
    if not rows:
        raise StageError(f"fetch.ct_name: no file in {', '.join(archives)} is named {settings.ct_name}")
    return rows, [f"{len(rows)} CT of {settings.zenodo} are there"]


def _record(address: str) -> dict[str, Any]:
    try:
        with urllib.request.urlopen(address.replace("/records/", "/api/records/"), timeout=TIMEOUT_S) as answer:
            return json.load(answer)
    except (OSError, ValueError) as error:
        raise StageError(
            f"{address} cannot be read ({error}); check the network, then the same command goes on"
        ) from None


def _download(entry: dict[str, Any], target: Path, quiet: bool) -> None:
    """One file of the record, going on where an earlier run stopped; StageError where its MD5 is another."""
    part = target.with_name(f"{target.name}.part")
    begun = part.stat().st_size if part.exists() else 0
    if begun < entry["size"]:
        request = urllib.request.Request(entry["links"]["self"], headers={"Range": f"bytes={begun}-"} if begun else {})
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
                begun = begun if answer.status == 206 else 0
                bar = tqdm(
                    total=entry["size"], initial=begun, unit="B", unit_scale=True, desc=entry["key"], disable=quiet
                )
                with bar, part.open("ab" if begun else "wb") as file:
                    while block := answer.read(BLOCK):
                        file.write(block)
                        bar.update(len(block))
        except OSError as error:
            if error.errno is not None and not hasattr(error, "reason"):
                raise  # of this machine, as a full disk
            why = f"{entry['key']} did not arrive ({error})"
            raise StageError(f"{why}; check the network, then the same command goes on") from None
    with part.open("rb") as file:
        md5 = hashlib.file_digest(file, "md5").hexdigest()
    if f"md5:{md5}" != entry["checksum"]:
        short = part.stat().st_size < entry["size"]
        if not short:
            part.unlink()
        why = "broke off" if short else "arrived damaged (its MD5 is another) and was removed"
        raise StageError(f"{entry['key']} {why}; the same command fetches the rest")
    part.replace(target)


def _unpack(archive: Path, ct: Path, settings: FetchParams) -> list[dict[str, Any]]:
    """The CT of an archive whose name is asked for, each whole or not at all; rows of ``fetched.csv``."""
    rows = []
    ct.mkdir(exist_ok=True)
    with zipfile.ZipFile(archive) as packed:
        for member in packed.infolist():
            found = re.fullmatch(settings.ct_name, PurePosixPath(member.filename).name)
            if member.is_dir() or not found or (settings.patients and found["patient"] not in settings.patients):
                continue
            target = ct / f"{Path(found['patient']).name}.nii.gz"
            if target.name.startswith("."):
                raise StageError(f"fetch.ct_name: '{found['patient']}' can be no patient_id; mend the expression")
            with replacing(target) as temporary, packed.open(member) as source, temporary.open("wb") as file:
                shutil.copyfileobj(source, file)  # to its end, where its CRC is checked
            row = {"patient_id": found["patient"], "series": PurePosixPath(member.filename).name, "images": 1}
            rows.append(row | {"bytes": member.file_size, "sha256": file_hash(target)})
    return rows


def _there(data: Path, row: dict[str, Any]) -> bool:
    path = data / "ct" / f"{row['patient_id']}.nii.gz"
    return path.is_file() and path.stat().st_size == row["bytes"]
