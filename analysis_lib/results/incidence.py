"""Recurrence with death as a competing risk."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis_lib.core.parameters import CohortParams, StatisticsParams
from analysis_lib.survival import competing, evaluation

CAUSES = {1: "Recurrence", 2: "Death without recurrence"}


def first_events(patients: pd.DataFrame) -> pd.DataFrame:
    """What ended recurrence-free survival: months, cause (0 censored, 1 recurrence, 2 death), how it is known.

    The column ``rfs_cause`` (recurrence, death) where it is filled. Else an event before the last contact, or at
    the last contact of a living patient, must be a recurrence; one in the month of death is taken for a death
    without recurrence. ``known_by`` is 'column', 'rule' or, for the censored, empty.
    """
    part = patients[patients["rfs_months"].notna() & patients["rfs_event"].notna()]
    event = part["rfs_event"] == 1
    died = (part["os_event"] == 1) & (part["rfs_months"] >= part["os_months"])
    cause = pd.Series(np.where(died, 2, 1), part.index)
    named = part["rfs_cause"] if "rfs_cause" in part else pd.Series(None, part.index, dtype=object)
    cause = named.map({"recurrence": 1, "death": 2}).fillna(cause)
    how = pd.Series(np.where(named.isin(["recurrence", "death"]), "column", "rule"), part.index)
    return pd.DataFrame(
        {
            "set": part["set"],
            "months": part["rfs_months"],
            "cause": cause.where(event, 0).astype(int),
            "known_by": how.where(event, ""),
        }
    )


def incidences(
    patients: pd.DataFrame, cohort: CohortParams, statistics: StatisticsParams
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Cumulative incidence of recurrence and of death without it, by set.

    Returns curves (panel, cause, month, incidence, se, low, high, at_risk) and the table at the horizons (set,
    cause, month, incidence, low, high, n, events, known_by_rule, naive: 1 - Kaplan-Meier with deaths taken for
    censored, which overstates).
    """
    events = first_events(patients)
    curves, rows = [], []
    for name in cohort.sets:
        part = events[events["set"] == name]
        if part.empty:
            continue
        table = competing.cumulative_incidence(part["months"], part["cause"], statistics.confidence)
        curves.append(table.assign(panel=name))
        for month in statistics.horizons_months:
            for found in competing.incidence_at(table, month).itertuples():
                naive = 1 - evaluation.survived(part["months"], part["cause"] == found.cause, month)
                rule = int(((part["cause"] == found.cause) & (part["known_by"] == "rule")).sum())
                rows.append(
                    (name, CAUSES[found.cause], month, found.incidence, found.low, found.high, len(part),
                     int((part["cause"] == found.cause).sum()), rule, naive)
                )  # fmt: skip
    columns = ["panel", "cause", "month", "incidence", "se", "low", "high", "at_risk"]
    names = ["set", "cause", "month", "incidence", "low", "high", "n", "events", "known_by_rule", "naive"]
    return (
        pd.concat(curves, ignore_index=True)[columns] if curves else pd.DataFrame(columns=columns),
        pd.DataFrame(rows, columns=names),
    )
