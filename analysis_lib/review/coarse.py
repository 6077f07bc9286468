"""Tables without the single patient: rows of patients as their distribution, curves at whole months.

A package leaves the house and an expectation is committed; neither may hold a patient's row or time.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

MOST_GROUPS = 12  # a column of text with more values names no group
FEWEST_PATIENTS = 5  # of a smaller group only the number is told


def without_patients(table: pd.DataFrame) -> pd.DataFrame:
    """The table itself, or what may be told of it: ``distribution`` of patients, ``monthly`` of curves."""
    if "patient_id" in table:
        other = table["patient_id"].isna()  # parts of a figure that are of no single patient
        if not other.any():
            return distribution(table)
        parts = [distribution(table[~other].dropna(axis=1, how="all")), table[other].dropna(axis=1, how="all")]
        return pd.concat(parts, ignore_index=True)
    return monthly(table) if is_curve(table) else table


def distribution(table: pd.DataFrame) -> pd.DataFrame:
    """Number of patients, and mean, SD and skewness of each column of numbers, by the columns of groups.

    No quantiles: the median of an odd number of patients is one patient's value.
    """
    numbers = [c for c in table.select_dtypes("number") if c != "patient_id"]
    others = table.columns.difference(["patient_id", *numbers], sort=False)
    by = [c for c in others if table[c].nunique() <= MOST_GROUPS]
    rows = []
    for key, part in table.groupby(by, sort=False, dropna=False) if by else [((), table)]:
        row = dict(zip(by, key, strict=True)) | {"patients": len(part)}
        for column in numbers if len(part) >= FEWEST_PATIENTS else []:
            values = part[column]
            row |= {f"{column}_mean": values.mean(), f"{column}_sd": values.std(), f"{column}_skewness": values.skew()}
        rows.append(row)
    named = [f"{c}_{what}" for c in numbers for what in ("mean", "sd", "skewness")]
    return pd.DataFrame(rows).reindex(columns=[*by, "patients", *named])


def is_curve(table: pd.DataFrame) -> bool:
    """Whether a table holds a curve's steps (Kaplan-Meier, Aalen-Johansen), each the time of somebody's event."""
    return {"month", "at_risk"} <= set(table.columns) and not {"survival", "incidence"}.isdisjoint(table.columns)


def monthly(table: pd.DataFrame) -> pd.DataFrame:
    """Curves at whole months, without the times and numbers of single events.

    ``table`` is the CSV of a figure of Kaplan-Meier curves or cumulative incidences; rows that are no part of a curve
    stay as they are.
    """
    curve = table["survival" if "survival" in table else "incidence"].notna() & table["month"].notna()
    rows = []
    for _, part in table[curve].groupby(
        [c for c in ("panel", "group", "cause") if c in table], sort=False, dropna=False
    ):
        part = part.sort_values("month", kind="stable")
        last = int(np.floor(part["month"].max()))
        place = np.searchsorted(part["month"].to_numpy(), np.arange(last + 1), side="right") - 1
        grid = part.iloc[place].assign(month=np.arange(last + 1, dtype=float))
        # at_risk belongs to the step before, so it is taken at the first time not earlier than the month
        ahead = np.searchsorted(part["month"].to_numpy(), np.arange(last + 1), side="left")
        rows.append(grid.assign(at_risk=part["at_risk"].to_numpy()[np.minimum(ahead, len(part) - 1)]))
    return pd.concat([*rows, table[~curve]], ignore_index=True).drop(columns=["events", "censored"], errors="ignore")
