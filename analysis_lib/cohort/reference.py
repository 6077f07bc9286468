"""Muscle indices as z-scores and percentiles of a published reference by age and sex, from a table that the user gives.

The reference is in the form of Cole & Green 1992 (10.1002/sim.4780111005): for each sex, age and index the power L, the
median M and the coefficient of variation S. Between two ages L, M and S are interpolated linearly; beyond the first and
the last age there is no score.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from analysis_lib.cohort.table_files import ClinicalTableError, fold, read_table
from analysis_lib.common.distributions import norm
from analysis_lib.common.sarcopenia import BY_HEIGHT
from analysis_lib.core.clinical_params import ClinicalParams
from analysis_lib.core.project import Study

COLUMNS = ("sex", "age", "index", "L", "M", "S")
INDICES = ("sm_area_cm2", "sm_mean_hu", "pm_area_cm2", "pm_mean_hu", *BY_HEIGHT)
OF_REFERENCE = ("_z", "_percentile")


def lms_z(value: np.ndarray, power: np.ndarray, median: np.ndarray, variation: np.ndarray) -> np.ndarray:
    """z-scores by Cole & Green: ((value / M)**L - 1) / (L S), and log(value / M) / S where L is 0; NaN up to 0.

    Arrays of one shape, in the unit of the index.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(value > 0, value, np.nan) / median
        z = np.log(ratio) / variation
        return np.where(power == 0, z, np.expm1(power * np.log(ratio)) / (power * variation))


def read_reference(path: Path) -> pd.DataFrame:
    """The reference (sex, age, index, L, M, S), sorted by age. Raises ClinicalTableError with the row and the fix."""
    if not path.is_file():
        raise ClinicalTableError(
            f"reference table {path.parent.name}/{path.name} not found; put it there or mend reference.table"
        )
    cells = read_table(path, ClinicalParams()).cells
    names = {fold(name): name for name in cells}
    if lacking := [name for name in COLUMNS if fold(name) not in names]:
        raise ClinicalTableError(f"{path.name} has no column {', '.join(lacking)}; it needs {', '.join(COLUMNS)}")
    table = pd.DataFrame({name: cells[names[fold(name)]] for name in COLUMNS})
    numbers = table[["age", "L", "M", "S"]].apply(pd.to_numeric, errors="coerce")
    finite = np.isfinite(numbers).all(axis=1) & (numbers[["M", "S"]] > 0).all(axis=1)
    faults = {
        "a sex that is not M or F": ~table["sex"].isin(["M", "F"]),
        f"an index that is none of {', '.join(INDICES)}": ~table["index"].isin(INDICES),
        "an age, L, M or S that is no number, or an M or S that is not above 0": ~finite,
        "the sex, age and index that another row has too": table.assign(age=numbers["age"]).duplicated(
            ["sex", "age", "index"], keep=False
        ),
    }
    for what, wrong in faults.items():
        if wrong.any():
            shown = ", ".join(map(str, table.index[wrong][:5])) + ", ..." * int(wrong.sum() > 5)
            raise ClinicalTableError(f"{path.name}: rows {shown} have {what}; mend them")
    return table.assign(**numbers).sort_values("age", ignore_index=True)


def scores(table: pd.DataFrame, reference: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """``<index>_z`` and ``<index>_percentile`` (0 to 100) of each patient [sex, age, index], and who has none."""
    found: dict[str, pd.Series] = {}
    notes = []
    for index, rows in reference.groupby("index", sort=False):
        z = pd.Series(np.nan, table.index)
        value, age = table[index].astype(float), table["age"].astype(float)
        ranges, covered = [], pd.Series(False, table.index)
        for sex, curve in rows.groupby("sex"):
            first, last = curve["age"].iloc[0], curve["age"].iloc[-1]
            ranges.append(f"{sex} {first:g} to {last:g}")
            mine = (table["sex"] == sex) & age.between(first, last)
            covered |= mine
            lms = [np.interp(age[mine], curve["age"], curve[name]) for name in ("L", "M", "S")]
            z[mine] = lms_z(value[mine].to_numpy(), *lms)
        found |= {f"{index}_z": z, f"{index}_percentile": 100 * pd.Series(norm.cdf(z), table.index)}
        beyond, rest = int((value.notna() & ~covered).sum()), int((value.notna() & covered & z.isna()).sum())
        if beyond:
            notes.append(
                f"{beyond} of {int(value.notna().sum())} patients with {index} have no z-score: their age is not known "
                f"or beyond the reference ({', '.join(ranges)} years), which is not extrapolated"
            )
        if rest:
            notes.append(f"{rest} patients have no z-score of {index}, which is not above 0 in them")
    return pd.DataFrame(found, index=table.index), notes


def add_scores(table: pd.DataFrame, study: Study) -> tuple[pd.DataFrame, list[str]]:
    """The measured patients with their scores by ``reference.table``, and notes; as they are in a study without one.

    A column ``reference_note`` says of each patient which indices have none. Raises ClinicalTableError where a
    definition is of a score that the reference does not have.
    """
    params = study.params
    wanted = {d.column for d in (*params.definitions.values(), *params.further_definitions.values())}
    wanted = {column for column in wanted if column.endswith(OF_REFERENCE)}
    if not params.reference.table:
        if wanted:
            raise ClinicalTableError(
                f"a definition is of {min(wanted)}, and there is no reference; name it in reference.table"
            )
        return table, []
    found, notes = scores(table, read_reference(study.reference_file))
    if lacking := sorted(wanted - set(found)):
        raise ClinicalTableError(f"a definition is of {lacking[0]}, and reference.table has no rows of that index")
    missing = {name.removesuffix("_z"): z.isna() for name, z in found.items() if name.endswith("_z")}
    said = [", ".join(index for index, none in missing.items() if none[k]) for k in table.index]
    said = [f"no z-score of {names}" if names else "" for names in said]
    return table.assign(**found, reference_note=said), notes
