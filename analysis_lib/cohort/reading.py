"""What a reader decided of each slice in ``make check``: reading.csv, whose rejections are exclusions with reason."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from analysis_lib.cohort.table_files import ClinicalTableError
from analysis_lib.common.files import read_csv
from analysis_lib.core.project import Study

COLUMNS = ["patient_id", "verdict", "reason", "reader"]
VERDICTS = ("accept", "doubt", "reject")
STAGE = "reading"


def read_reading(path: Path) -> pd.DataFrame:
    """The file as text, one row a patient; ClinicalTableError says which line is to be mended, and how."""
    if not path.is_file():
        raise ClinicalTableError(
            f"clinical.reading: there is no {path.name} in the data folder; save it from make check"
        )
    table = read_csv(path, dtype=str, keep_default_na=False, skipinitialspace=True)
    if missing := [name for name in COLUMNS if name not in table]:
        raise ClinicalTableError(f"{path.name} lacks {', '.join(missing)}; it has {', '.join(map(str, table.columns))}")
    table = table[COLUMNS].apply(lambda column: column.str.strip())
    problems = {
        f"a verdict that is none of {', '.join(VERDICTS)}": ~table["verdict"].isin(VERDICTS),
        "a rejection without a reason": (table["verdict"] == "reject") & (table["reason"] == ""),
        "a rejection without a reader": (table["verdict"] == "reject") & (table["reader"] == ""),
        "a patient twice": table["patient_id"].duplicated(),
    }
    for what, wrong in problems.items():
        if wrong.any():
            lines = ", ".join(str(k + 2) for k in wrong[wrong].index[:5])
            raise ClinicalTableError(f"{path.name} has {what} in line {lines}; mend it in make check and save it again")
    return table


def study_reading(study: Study, clinical: pd.DataFrame, doubts: list[str]) -> pd.DataFrame | None:
    """The decisions on patients of the clinical table; None where the study names no file.

    Others are counted in ``doubts``, not named, since an identifier may be a name.
    """
    if not study.params.clinical.reading:
        return None
    table = read_reading(study.data / study.params.clinical.reading)
    known = table["patient_id"].isin(clinical["patient_id"])
    if count := int((~known).sum()):
        doubts.append(
            f"{study.params.clinical.reading} decides on {count} patients who are not in the clinical table, or whose "
            "row cannot be used; nothing follows from that"
        )
    return table[known].reset_index(drop=True)


def rejection(row) -> str:
    """The reason of a rejection with its reader."""
    return f"{row.reason} (read by {row.reader})"


def without_rejected(study: Study, clinical: pd.DataFrame, doubts: list[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The clinical table without whom a reader rejected, and these as exclusions (patient_id, stage, reason)."""
    table = study_reading(study, clinical, doubts)
    rejected = pd.DataFrame(columns=COLUMNS) if table is None else table[table["verdict"] == "reject"]
    rows = [(row.patient_id, STAGE, rejection(row)) for row in rejected.itertuples()]
    exclusions = pd.DataFrame(rows, columns=["patient_id", "stage", "reason"])
    kept = clinical[~clinical["patient_id"].isin(exclusions["patient_id"])].reset_index(drop=True)
    return kept, exclusions
