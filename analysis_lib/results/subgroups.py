"""Discrimination and calibration of the model by sex, age and centre, in patients whom it has not seen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis_lib.common.keep import keeping
from analysis_lib.core.parameters import CohortParams, StatisticsParams
from analysis_lib.results import MODEL
from analysis_lib.results.calibration import unjudged
from analysis_lib.survival.comparison import calibration_interval
from analysis_lib.survival.survival import bootstrap_c_index
from analysis_lib.survival.unpaired import c_index_gap

EVERYBODY = "all"
COLUMNS = ["set", "subgroup", "level", "n", "events", "c_index", "c_index_low", "c_index_high"]
COLUMNS += ["difference", "difference_low", "difference_high", "p", "month", "predicted", "observed"]
COLUMNS += [f"{name}{end}" for name in ("ratio", "slope") for end in ("", "_low", "_high")] + ["note"]


def levels(patients: pd.DataFrame, age: float) -> dict[str, pd.Series]:
    """Level of each patient (rows as given) in each subgroup: all, sex, age, and centre where a patient has one.

    Categories in the order of the tables; missing where sex, age or centre is not known.
    """
    named = {EVERYBODY: pd.Series("all patients", patients.index).astype("category")}
    sexes = patients["sex"].astype(pd.CategoricalDtype(["M", "F"]))
    named["sex"] = sexes.cat.rename_categories(["men", "women"])
    ages = [f"below {age:g} years", f"{age:g} years and above"]
    old = (patients["age"] >= age).map(dict(zip((False, True), ages, strict=True)))
    named["age"] = old.where(patients["age"].notna()).astype(pd.CategoricalDtype(ages))
    if "centre" in patients:
        centres = patients["centre"].astype("string").replace("", pd.NA)
        if centres.notna().any():
            named["centre"] = centres.astype("category")
    return named


def subgroups(
    patients: pd.DataFrame,
    risk: pd.Series,
    model_survival: pd.DataFrame,
    cohort: CohortParams,
    statistics: StatisticsParams,
    seed: int,
    kept: Path | None = None,
) -> pd.DataFrame:
    """C-index, and calibration at the last horizon, of each subgroup of each test set that has patients; COLUMNS.

    ``risk`` by patient_id, ``model_survival`` too, with months as columns. Difference and P: the level's C-index less
    that of the set's first level with one. Below ``statistics.subgroup_min_events`` all is NaN, with a note. ``kept``
    is a folder for the intervals of calibration.
    """
    month = max(statistics.horizons_months)
    table = patients.set_index("patient_id")
    table = table.assign(risk=risk, **{MODEL: 1 - model_survival[month]})
    rows = []
    for name in cohort.test_sets:
        part = table[table["split"] == name]
        for subgroup, level_of in levels(part, statistics.subgroup_age).items():
            first = None
            unknown = int(level_of.isna().sum())
            for level in level_of.cat.categories:
                own = part[level_of == level]
                if own.empty:
                    continue
                row, notes = _estimates(own, month, statistics, seed, kept)
                if unknown:
                    notes.append(f"{subgroup} of {unknown} patients is not known")
                if first is not None and "c_index" in row:
                    settings = statistics.bootstrap_replicates, statistics.confidence, seed
                    gap = c_index_gap(_outcome(own), _outcome(first), *settings)
                    names = ("difference", "difference_low", "difference_high", "p")
                    row |= dict(zip(names, gap.values(), strict=True))
                elif "c_index" in row:
                    first = own
                row |= {"set": name, "subgroup": subgroup, "level": str(level), "note": "; ".join(notes)}
                rows.append(row)
    return pd.DataFrame(rows).reindex(columns=COLUMNS)


def _outcome(part: pd.DataFrame) -> tuple[pd.Series, pd.Series, pd.Series]:
    return part["time_months"], part["event"], part["risk"]


def _estimates(
    part: pd.DataFrame, month: float, statistics: StatisticsParams, seed: int, kept: Path | None
) -> tuple[dict[str, Any], list[str]]:
    """The estimates of one subgroup by column, and what there is to say of those that are missing."""
    row: dict[str, Any] = {"n": len(part), "events": int(part["event"].sum()), "month": month}
    least, endpoint = statistics.subgroup_min_events, statistics.endpoint
    if row["events"] < least:
        return row, [f"fewer than {least} {endpoint.plural}"]
    time, event, risk = _outcome(part)
    found = bootstrap_c_index(time, event, risk, statistics.bootstrap_replicates, statistics.confidence, seed).iloc[0]
    row |= {"c_index": found["c_index"], "c_index_low": found["low"], "c_index_high": found["high"]}
    if why := unjudged(part[["time_months", "event", MODEL]], month, MODEL, endpoint):
        return row, [why]
    resampled = statistics.curve_replicates, statistics.confidence, seed
    calibrated, _ = keeping(calibration_interval, kept)(time, event, part[MODEL], month, *resampled)
    row |= {name: value for name, value in calibrated.items() if name in COLUMNS[:-1]}
    notes = [str(calibrated["note"])] if calibrated["note"] else []
    for name, what in (("ratio", "O/E"), ("slope", "slope")):
        if np.isfinite(row[name]) and np.isnan(row[f"{name}_low"]):
            notes.append(f"no interval of the {what}: too few resamples have one")
    return row, notes
