"""Recurrence with death as a competing risk."""

from __future__ import annotations

import pandas as pd

from analysis_lib.cohort.question import first_events
from analysis_lib.core.parameters import CohortParams, StatisticsParams
from analysis_lib.survival import competing, evaluation

CAUSES = {1: "Recurrence", 2: "Death without recurrence"}


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
