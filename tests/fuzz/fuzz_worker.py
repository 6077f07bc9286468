"""One damaged input after the other, read in a process that may be ended: what became of each."""

from __future__ import annotations

import resource
import shutil
import traceback
from pathlib import Path
from typing import Any

import pandas as pd

from analysis_lib.cohort.clinical import read_clinical
from analysis_lib.cohort.sources import Source
from analysis_lib.common.errors import StudyError
from analysis_lib.common.pool import memory_limit
from analysis_lib.core.parameters import load_params
from analysis_lib.ct import indices
from analysis_lib.stages.measure import measure_one
from analysis_lib.stages.predict import load_model

MEMORY_GB = 1.5  # that one case may take; 2 GB is what the process may have
UNKNOWN = "for a reason that is not known"


def read(kind: str, folder: Path) -> Any:
    """What a reader makes of a case, comparable with ==; raises what the reader raises."""
    if kind == "image":
        images = load_params("defaults").images.model_copy(update={"memory_gb": MEMORY_GB, "min_mask_pixels": 20})
        ct, mask = (next((folder / place).glob("P1*")).relative_to(folder) for place in ("ct", "masks"))
        row = measure_one(Source(folder, "P1", str(ct), str(mask)), images)
        if "reason" in row:
            raise StudyError(str(row["reason"]))
        return {name: row[name] for name in (*indices.MEASURES, "ct_notes")}
    with memory_limit(MEMORY_GB):
        if kind == "table":
            doubts: list[str] = []
            path = next(folder.glob("patients.*"))
            good, excluded = read_clinical(path, ["discovery", "external"], doubts=doubts)
            return good.fillna("").to_dict("records"), excluded.fillna("").to_dict("records"), doubts
        if kind == "parameters":
            return load_params("study", folder).model_dump(mode="json")
        model = load_model(folder)
        return [model.cutoff, model.risk(pd.DataFrame(0.5, ["P1"], model.scaler.names)).iloc[0]]


def outcome(kind: str, folder: Path, truth: Any) -> tuple[str, str]:
    """Class of a case and its detail: same, noted, excluded, other, refused, or what is a finding in itself."""
    try:
        found = read(kind, folder)
    except StudyError as error:
        text = str(error)
        if "\n" in text and kind != "parameters":  # of which each wrong one has its line
            return "several lines", text
        return ("unknown reason", text) if UNKNOWN in text else ("refused", text)
    except BaseException:
        return "traceback", traceback.format_exc()
    if found == truth:
        return "same", ""
    if kind == "image" and found["ct_notes"] != truth["ct_notes"]:
        return "noted", found["ct_notes"]
    if kind == "table" and found[1:] != truth[1:]:
        return ("excluded" if len(found[1]) > len(truth[1]) else "noted"), f"{found[2]}"
    return "other", f"{found}"


def serve(connection: Any, folder: Path) -> None:
    """Say "ready", as TensorFlow is imported; then answer each (kind, truth) that comes with the outcome of what lies
    in ``folder``, and the peak memory in MB.
    """
    connection.send("ready")
    while True:
        kind, truth = connection.recv()
        answer = outcome(kind, folder, truth)
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        shutil.rmtree(folder, ignore_errors=True)
        connection.send((*answer, peak_mb))
