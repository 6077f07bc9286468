"""The clinical model of a saved model's folder, judged on the same patients as the model (notebook 17).

Who lacks one of its covariates is left out of its rows alone; the saved model's own rows stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from analysis_lib.core.parameters import StatisticsParams
from analysis_lib.results import MODEL
from analysis_lib.results.added_value import CLINICAL, brier_scores
from analysis_lib.results.calibration import CALIBRATION, COLUMNS, calibrations
from analysis_lib.results.discrimination import c_index_intervals, differences, discrimination, with_rows_of
from analysis_lib.results.validation import Judged
from analysis_lib.stages.clinical_model import ClinicalModel, covariates

ABSENT = "not in this model folder"


@dataclass(frozen=True)
class Clinical:
    """``risk`` : log-risk by patient_id, NaN of whom it is not known; ``deaths`` : COLUMNS; ``notes`` : by set."""

    risk: pd.Series
    deaths: pd.DataFrame
    notes: dict[str, str]

    def noted(self, table: pd.DataFrame) -> pd.DataFrame:
        """The table with what its clinical rows rest on in a column ``note``; other rows keep theirs."""
        mine = table["set"].map(self.notes)
        old = table["note"] if "note" in table else pd.Series("", table.index)
        mine = mine.where(old.isna() | (old == ""), mine + "; " + old.fillna(""))
        return table.assign(note=mine.where(table["model"] == CLINICAL, old))


def clinical_model(found: Judged) -> Clinical:
    """In each judged set the model of most covariates that the set has, with no word of its outcomes."""
    models = [ClinicalModel.model_validate(told) for told in found.about.get("clinical", [])]
    indexed, months = found.patients.set_index("patient_id"), found.survival.columns.to_numpy(float)
    risks, frames, notes = [pd.Series(dtype=float)], [pd.DataFrame(columns=COLUMNS)], {}
    for name in found.cohort.test_sets:
        part, lacking = indexed[indexed["split"] == name], ""
        usable = None
        for model in models:
            known = covariates(part, list(model.coefficients)).notna()
            if known.any().all() and known.all(axis=1).any():
                usable = model
            elif not lacking:
                lacking = ", ".join(known.columns[~known.any()]) or "covariates that one patient has together"
        if usable is None:
            notes[name] = f"the set lacks {lacking}" if models else ABSENT
            continue
        risk = usable.log_risk(part).dropna()
        notes[name] = f"of {', '.join(usable.coefficients)}"
        notes[name] += f"; left out who lacks one: {len(part) - len(risk)}" if len(risk) < len(part) else ""
        long = usable.deaths(risk, months).stack(future_stack=True).rename("probability").reset_index()
        truth = part[["time_months", "event"]].assign(set=name, model=CLINICAL)
        risks.append(risk)
        frames.append(long.merge(truth, left_on="patient_id", right_index=True)[COLUMNS])
    filled = [frame for frame in frames if len(frame)] or frames[:1]
    return Clinical(pd.concat([r for r in risks if len(r)] or risks[:1]), pd.concat(filled, ignore_index=True), notes)


def ranked_too(
    ranked: dict[str, pd.DataFrame], found: Judged, clinical: Clinical, statistics: StatisticsParams, seed: int
) -> dict[str, pd.DataFrame]:
    """``ranked``, as of ``discrimination``, with the rows of the clinical model, on the patients who have it."""
    beside = discrimination(found.patients, _markers(found, clinical), found.cohort, statistics, seed)
    both = {key: with_rows_of(ranked[key], beside[key], found.cohort) for key in ranked if key != "notes"}
    return both | {"notes": ranked["notes"], "c_index": clinical.noted(both["c_index"])}


def differences_too(
    table: pd.DataFrame, found: Judged, clinical: Clinical, statistics: StatisticsParams, seed: int
) -> pd.DataFrame:
    """``table``, as of ``differences``, with the rows of the clinical model."""
    beside = differences(found.patients, _markers(found, clinical), found.cohort, statistics, seed)
    return with_rows_of(table, beside, found.cohort)


def intervals_too(
    table: pd.DataFrame, found: Judged, clinical: Clinical, statistics: StatisticsParams, seed: int
) -> pd.DataFrame:
    """``table``, as of ``c_index_intervals``, with the rows of the clinical model."""
    beside = c_index_intervals(found.patients, _markers(found, clinical), found.cohort, statistics, seed)
    return with_rows_of(table, beside, found.cohort)


def _markers(found: Judged, clinical: Clinical) -> pd.DataFrame:
    return pd.DataFrame({MODEL: found.risk, CLINICAL: clinical.risk.reindex(found.risk.index)})


def calibrated_too(
    summary: pd.DataFrame, found: Judged, clinical: Clinical, statistics: StatisticsParams, seed: int
) -> pd.DataFrame:
    """``summary``, as of ``calibrations``, with the rows of the clinical model."""
    _, beside = calibrations(clinical.deaths, statistics, seed, found.labels, CLINICAL)
    return clinical.noted(with_rows_of(summary, beside, found.cohort))[CALIBRATION]


def scored_too(
    scores: pd.DataFrame,
    found: Judged,
    clinical: Clinical,
    statistics: StatisticsParams,
    seed: int,
    kept: Path | None = None,
) -> pd.DataFrame:
    """``scores``, as of ``brier_scores``, with those of the clinical model, or one that says why not."""
    beside = brier_scores(clinical.deaths, statistics, seed, kept)
    none = [name for name in clinical.notes if name not in set(beside["set"])]
    if none:
        empty = pd.DataFrame({"set": none, "model": CLINICAL, "month": "integral", "n": 0})
        beside = pd.concat([beside, empty]) if len(beside) else empty.reindex(columns=beside.columns)
    return clinical.noted(with_rows_of(scores, beside, found.cohort))
