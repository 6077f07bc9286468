"""Patients of a public collection: which CT of each, its download, resumed, and its files as they were counted.

The Imaging Data Commons is asked by ``tools/idc_client.py`` in an environment of its own, so that neither its client
nor its index burdens the study's.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from analysis_lib.common.errors import suggest
from analysis_lib.common.files import (
    file_hash,
    read_csv,
    remove_leftovers,
    replacing,
    temporary_prefix,
    write_text_if_changed,
)
from analysis_lib.core.archive_params import FetchParams
from analysis_lib.core.project import IDS, Study
from analysis_lib.stages import StageError
from analysis_lib.stages.zenodo import fetch_record

COLUMNS = ["patient_id", "series", "source", "licence", "images", "bytes", "sha256"]
AT_ONCE = 4  # patients in one call of the client, after which their folders appear


def fetch(study: Study, quiet: bool = False) -> str:
    """CT of each patient to ``data/<study>/ct``, the clinical table beside it, and ``fetched.csv``: what each one is.

    Patients who are there as ``fetched.csv`` has them are not fetched again. Returns what was found, in lines; raises
    StageError where nothing can be had.
    """
    settings = study.params.fetch
    if settings is None:
        raise StageError(
            f"params/{study.name}.yaml names no public collection; add a section fetch (docs/public_data.md), or put "
            f"your own patients into {study.project.name_of(study.data)}"
        )
    if study.params.data_dir:
        raise StageError(f"study {study.name} reads the data of another (data_dir); make fetch for that one")
    study.data.mkdir(parents=True, exist_ok=True)
    remove_leftovers(study.data)
    if settings.zenodo:
        rows, lines = fetch_record(settings, study.data, study.clinical_file.name, quiet)
        _write(study, pd.DataFrame(rows, columns=COLUMNS))
    else:
        lines = _from_commons(study, settings, quiet)
    if not study.clinical_file.is_file():
        lines.append(
            f"the clinical table is not there yet: put it into {study.project.name_of(study.data)} as "
            f"{study.clinical_file.name} (docs/public_data.md)"
        )
    return "\n".join([*lines, f"then: make masks STUDY={study.name}, make check STUDY={study.name}"])


def choose_series(index: pd.DataFrame, settings: FetchParams) -> tuple[pd.DataFrame, pd.DataFrame]:
    """One series a patient, and who has none.

    Parameters
    ----------
    index : a row a series as the Imaging Data Commons lists it: PatientID, StudyDate (YYYY-MM-DD), SeriesInstanceUID,
        SeriesDescription, Modality, instanceCount.

    Returns the chosen rows in the order of PatientID, and [patient_id, reason] of those of whom none was chosen.
    """
    everybody = sorted(index["PatientID"].unique())
    if settings.patients:
        if unknown := sorted(set(settings.patients) - set(everybody)):
            raise StageError(f"fetch.patients: the collection has no {unknown[0]}{suggest(unknown[0], everybody)}")
        everybody = sorted(settings.patients)
    table = index[index["PatientID"].isin(everybody) & (index["Modality"] == settings.modality)]
    dates = table.groupby("PatientID")["StudyDate"]
    table = table[table["StudyDate"] == dates.transform("min" if settings.study == "first" else "max")]
    words = [word.casefold() for word in settings.series] or [""]
    described = table["SeriesDescription"].fillna("").str.casefold()
    rank = described.map(lambda text: next((k for k, word in enumerate(words) if word in text), len(words)))
    table = table.assign(rank=rank)[rank < len(words)]
    ordered = table.sort_values(
        ["PatientID", "rank", "instanceCount", "SeriesInstanceUID"], ascending=[True, True, False, True]
    )
    chosen = ordered.drop_duplicates("PatientID").drop(columns="rank").reset_index(drop=True)
    named = f" described as {' or '.join(settings.series)}" if settings.series else ""
    reason = f"no {settings.modality} series{named} in the {settings.study} study"
    left_out = [(name, reason) for name in everybody if name not in set(chosen["PatientID"])]
    return chosen, pd.DataFrame(left_out, columns=["patient_id", "reason"])


def fetched(study: Study) -> pd.DataFrame:
    """``fetched.csv``: of each fetched patient the series, its source (DOI), licence, images, bytes and SHA-256."""
    path = study.data / "fetched.csv"
    return read_csv(path, dtype=IDS) if path.is_file() else pd.DataFrame(columns=COLUMNS)


def whole(folder: Path, row: Mapping[str, Any] | pd.Series) -> bool:
    """Whether the folder of a series has as many files and bytes as ``row`` of ``fetched.csv`` says."""
    files = list(folder.iterdir()) if folder.is_dir() else []
    return len(files) == row["images"] and sum(path.stat().st_size for path in files) == row["bytes"]


class _Commons:
    """The client of the Imaging Data Commons in its own environment, asked line by line."""

    def __init__(self, root: Path):
        python = root / ".venv-fetch" / "bin" / "python"
        if not python.is_file():
            raise StageError("the client of the Imaging Data Commons is not installed; run it by make fetch")
        command = [str(python), str(root / "tools" / "idc_client.py")]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> _Commons:
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        if kind is not None:
            self.process.terminate()
        self.process.communicate()

    def ask(self, what: str, **about: Any) -> dict[str, Any]:
        """Answer to one question; StageError with the client's own words where it has none."""
        assert self.process.stdin is not None and self.process.stdout is not None
        try:
            print(json.dumps({"ask": what, **about}), file=self.process.stdin, flush=True)
            answer = json.loads(self.process.stdout.readline() or '{"error": "it ended"}')
        except BrokenPipeError:
            answer = {"error": "it ended"}
        if "error" in answer:
            raise StageError(f"the client of the Imaging Data Commons failed: {answer['error']}")
        return answer


def _from_commons(study: Study, settings: FetchParams, quiet: bool) -> list[str]:
    staged, ct, known = study.data / ".fetching", study.data / "ct", fetched(study)
    known = known.loc[[k for k, row in known.iterrows() if whole(ct / row["patient_id"], row)]]
    rows, failures = known.to_dict("records"), {}
    for path in staged.rglob("*"):  # what s5cmd was writing when it was killed has a number behind its name
        if path.is_file() and path.suffix != ".dcm":
            path.unlink()
    with _Commons(study.project.root) as commons:
        answer = commons.ask("series", collection=settings.collection)
        if not answer["series"]:
            near = suggest(settings.collection, answer["known"]) if answer["known"] else ""
            raise StageError(f"fetch.collection: the Imaging Data Commons has no {settings.collection}{near}")
        chosen, left_out = choose_series(pd.DataFrame(answer["series"]), settings)
        have = set(known["patient_id"] + " " + known["series"])
        wanted = chosen[~(chosen["PatientID"] + " " + chosen["SeriesInstanceUID"]).isin(have)].to_dict("records")
        bar = tqdm(total=len(chosen), initial=len(chosen) - len(wanted), unit="patient", desc="fetch", disable=quiet)
        for start in range(0, len(wanted), AT_ONCE):
            part = wanted[start : start + AT_ONCE]
            commons.ask("download", uids=[one["SeriesInstanceUID"] for one in part], folder=str(staged))
            for one in part:
                row, folder = _counted(one), staged / one["SeriesInstanceUID"]
                if whole(folder, row):
                    rows = [r for r in rows if r["patient_id"] != row["patient_id"]]
                    rows.append(row | {"sha256": _hash(folder)})
                    _replace(folder, ct / row["patient_id"])
                    _write(study, pd.DataFrame(rows, columns=COLUMNS))
                else:
                    failures[one["PatientID"]] = f"fewer than {row['images']} files, or shorter ones, arrived"
                bar.update(1)
        bar.close()
        lines = [
            f"{len(rows)} of {len(chosen)} CT series of {settings.collection} (index {answer['version']}) are there"
        ]
        lines += [
            f"{len(left_out)} patients have {reason}: {', '.join(g['patient_id'])}"
            for reason, g in left_out.groupby("reason")
        ]
        if settings.clinical_table and not study.clinical_file.is_file():
            lines += _clinical(commons, study, settings.clinical_table)
    if failures:
        name, reason = next(iter(failures.items()))
        raise StageError(
            f"{len(failures)} of {len(wanted)} CT series did not arrive, for example {name}: {reason}; check the "
            "network and the disk, then the same command goes on"
        )
    shutil.rmtree(staged, ignore_errors=True)
    return lines


def _counted(one: dict[str, Any]) -> dict[str, Any]:
    """Row of ``fetched.csv`` as the index has the series, whose size is in megabytes to the byte."""
    row = {"patient_id": one["PatientID"], "series": one["SeriesInstanceUID"], "source": one["source_DOI"]}
    size = round(one["series_size_MB"] * 1e6)
    return row | {"licence": one["license_short_name"], "images": int(one["instanceCount"]), "bytes": size}


def _hash(folder: Path) -> str:
    """SHA-256 over the names and contents of a folder's files."""
    listed = "".join(f"{file_hash(path)}  {path.name}\n" for path in sorted(folder.iterdir()))
    return hashlib.sha256(listed.encode()).hexdigest()


def _replace(folder: Path, place: Path) -> None:
    """Move a whole folder to its place; an older one there, of another series or not whole, goes."""
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.exists():
        old = place.parent / f"{temporary_prefix()}{place.name}"
        os.replace(place, old)
        shutil.rmtree(old)
    os.replace(folder, place)


def _clinical(commons: _Commons, study: Study, table: str) -> list[str]:
    heading = study.params.clinical.columns.get("patient_id", "patient_id")
    try:
        with replacing(study.clinical_file) as temporary:
            commons.ask("clinical", table=table, path=str(temporary), patient_id=heading)
    except StageError as error:
        return [f"no clinical table: {error}"]
    return [f"clinical table {table}: {study.project.name_of(study.clinical_file)}"]


def _write(study: Study, table: pd.DataFrame) -> None:
    ordered = table.sort_values("patient_id", kind="stable")
    write_text_if_changed(study.data / "fetched.csv", ordered.to_csv(index=False, lineterminator="\n"))
