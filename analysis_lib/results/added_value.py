"""What the model adds to clinical variables and to the best definition of sarcopenia.

Models are fitted on the training patients and judged in the test sets, all on the same patients. Notebooks
call these functions and show what they return; nothing here draws or writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from analysis_lib.common.keep import keeping
from analysis_lib.common.sarcopenia import sarcopenic
from analysis_lib.core.parameters import CohortParams, DefinitionParams, StatisticsParams
from analysis_lib.results import MODEL
from analysis_lib.results.calibration import COLUMNS, ENDS, cells, followed
from analysis_lib.results.table2_extended import covariate_table
from analysis_lib.survival import comparison, evaluation, survival
from analysis_lib.survival.cox import NoFiniteEstimate, cox_fit
from analysis_lib.survival.decision import net_benefit

CLINICAL, DEFINITION = "Clinical", "Best definition"
WITH = {CLINICAL: f"{CLINICAL} + {MODEL}", DEFINITION: f"{DEFINITION} + {MODEL}"}
MODELS = [MODEL, CLINICAL, WITH[CLINICAL], DEFINITION, WITH[DEFINITION]]
HIGHEST_THRESHOLD = 0.95  # at 1 a false alarm would weigh without limit
ADDED = ["set", "added_to", "covariates", "n", "events"]
ADDED += ["chisq", "df", "p", "hr_per_sd", "chisq_base", "share", "note"]


def best_definition(patients: pd.DataFrame, definitions: dict[str, DefinitionParams]) -> str:
    """The definition whose C-index for OS is highest among the training patients who have its index.

    One that nobody in training has, or that has no comparable pair there, comes last; the first if all are so.
    """
    train = patients[patients["split"] == "train"]

    def rank(key: str) -> float:
        group = sarcopenic(train, definitions[key])
        known = group.notna()
        part = train[known]
        if part.empty:
            return -np.inf
        value = survival.c_index(part["time_months"], part["event"], group[known].astype(float))
        return -np.inf if np.isnan(value) else value

    return max(definitions, key=rank)


def predicted_deaths(
    patients: pd.DataFrame,
    model_survival: pd.DataFrame,
    risk: pd.Series,
    training_risk: pd.Series,
    definition: DefinitionParams,
    cohort: CohortParams,
    statistics: StatisticsParams,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Probability of death by each month, for every test patient, by MODELS.

    Parameters
    ----------
    patients : analysed patients.
    model_survival : the model's own survival probabilities, index patient_id, columns months.
    risk : the model's risk, index patient_id. training_risk : of the training patients by the networks that held
        them out; with the risk they were fitted to, every combination would trust the model too much.
    definition : the definition of sarcopenia to set beside the model.

    The other models are Cox models of the training patients. A covariate that a whole test set or all training
    patients lack is left out of that set's models, and where it is the definition's index, so are the models with the
    definition; a patient who lacks one that is used is left out of the set. Returns probabilities (COLUMNS, without
    rows for what cannot be fitted) and counts (set, n, events, left_out, n_train, covariates), both without the sets
    that have nobody.
    """
    indexed = patients.set_index("patient_id")
    months = model_survival.columns.to_numpy(float)
    covariates = covariate_table(indexed, statistics.adjust_for)
    group = sarcopenic(indexed, definition).astype("Float64").to_numpy(dtype=float, na_value=np.nan)
    everything = covariates.assign(group=group, risk=risk.reindex(indexed.index))
    learn = everything[indexed["split"] == "train"].assign(risk=training_risk)
    frames, counts = [], []
    for name in cohort.test_sets:
        part = everything[indexed["split"] == name]
        if part.empty:
            continue
        known = [c for c in everything if part[c].notna().any() and learn[c].notna().any()]
        used = [c for c in covariates if c in known]
        needed = [*used, "group"] if "group" in known else used
        test, train = part.dropna(subset=needed), learn.dropna(subset=[*needed, "risk"])
        truth = indexed.loc[test.index, ["time_months", "event"]].assign(set=name)
        columns = {CLINICAL: used, WITH[CLINICAL]: [*used, "risk"]}
        if "group" in known:
            columns |= {DEFINITION: ["group"], WITH[DEFINITION]: ["group", "risk"]}
        death = {MODEL: 1 - model_survival.loc[test.index].to_numpy()}
        for model, chosen in columns.items():
            death[model] = cox_deaths(indexed.loc[train.index], train[chosen], test[chosen], months)
        for model, values in death.items():
            wide = pd.DataFrame(values, index=test.index, columns=pd.Index(months, name="month"))
            long = wide.stack(future_stack=True).rename("probability").reset_index()
            frames.append(long.merge(truth, left_on="patient_id", right_index=True).assign(model=model))
        counts.append((name, len(test), int(truth["event"].sum()), len(part) - len(test), len(train), " ".join(used)))
    frames = [frame for frame in frames if len(frame)]
    return (
        pd.concat(frames, ignore_index=True)[COLUMNS] if frames else pd.DataFrame(columns=COLUMNS),
        pd.DataFrame(counts, columns=["set", "n", "events", "left_out", "n_train", "covariates"]),
    )


def cox_deaths(outcome: pd.DataFrame, train: pd.DataFrame, test: pd.DataFrame, months: np.ndarray) -> np.ndarray:
    """Probability (n, months) of death of ``test`` (n, p) by a Cox model of ``train``; NaN where there is none."""
    pair = outcome["time_months"], outcome["event"]
    varies = train.columns[train.nunique() > 1]
    try:
        beta = cox_fit(*pair, train[varies].to_numpy()).coefficients
    except NoFiniteEstimate:
        return np.full((len(test), len(months)), np.nan)
    deaths = 1 - evaluation.predicted_survival(
        pair, train[varies].to_numpy() @ beta, test[varies].to_numpy() @ beta, months
    )
    deaths[:, months > outcome["time_months"].max()] = np.nan  # where the baseline is flat for want of patients
    return deaths


def brier_scores(
    probabilities: pd.DataFrame, statistics: StatisticsParams, seed: int, kept: Path | None = None
) -> pd.DataFrame:
    """Brier score at the horizons and its integral over all months of ``probabilities``, by set and model.

    Columns set, model, month ('integral' for the integral), from and to (months), n, brier, low, high, null
    (Kaplan-Meier for everybody), skill with interval. Months past a set's follow-up are cut.
    ``kept`` is a folder for the bootstrap's answers.
    """
    intervals = keeping(comparison.brier_intervals, kept)
    tables = []
    for name, part in probabilities.groupby("set", sort=False):
        truth = part.drop_duplicates("patient_id").set_index("patient_id")[["time_months", "event"]]
        predicted = part.dropna(subset="probability")  # past the training patients' follow-up nobody has a prediction
        months = [m for m in sorted(predicted["month"].unique()) if followed(truth, m)]
        if len(months) < 2:
            continue
        curves = {}
        for model, own in part.groupby("model", sort=False):
            wide = own.pivot(index="patient_id", columns="month", values="probability").loc[truth.index, months]
            if wide.notna().all(axis=None):
                curves[model] = 1 - wide.to_numpy()
        table = intervals(
            truth["time_months"].to_numpy(), truth["event"].to_numpy(), curves, months,
            statistics.curve_replicates, statistics.confidence, seed,
        )  # fmt: skip
        table = table[table["month"].isna() | table["month"].isin(statistics.horizons_months)]
        integral = table["month"].isna()
        table = table.assign(set=name, n=len(truth))
        table["from"], table["to"] = table["month"].fillna(months[0]), table["month"].fillna(months[-1])
        table["month"] = table["month"].map("{:g}".format).mask(integral, "integral")
        tables.append(table)
    columns = ["set", "model", "month", "from", "to", "n", "brier", "low", "high", "null"]
    columns += ["skill", "skill_low", "skill_high"]
    return pd.concat(tables, ignore_index=True)[columns] if tables else pd.DataFrame(columns=columns)


def decision_curves(
    probabilities: pd.DataFrame,
    statistics: StatisticsParams,
    seed: int,
    kept: Path | None = None,
    compared: Sequence[str] = MODELS,
) -> pd.DataFrame:
    """Net benefit of each of the models ``compared`` by threshold, at each horizon in each test set.

    Columns panel, set, month, model, threshold, net_benefit with its bootstrap interval; models 'all' and 'none' treat
    everybody and nobody. Empty where the patients above a threshold are not followed to the horizon. Unless
    ``statistics.decision_thresholds`` gives them, thresholds span a tenth to twice the share of the set that has died
    by the horizon (Kaplan-Meier). ``kept`` is a folder for the answers, so that a run on the same predictions has them
    at once.
    """
    curves, tables = keeping(net_benefit, kept), []
    at = probabilities[probabilities["month"].isin(statistics.horizons_months)]
    for name, frame, month in cells(at, list(compared)):
        if not followed(frame, month):
            continue
        models = [m for m in compared if frame[m].notna().all()]
        if not models:
            continue
        outcome = frame["time_months"].to_numpy(), frame["event"].to_numpy()
        died = 1 - evaluation.survived(*outcome, month)
        lowest, highest = statistics.decision_thresholds or (died / 10, min(2 * died, HIGHEST_THRESHOLD))
        thresholds = tuple(np.unique(np.linspace(lowest, highest, 30).round(4)).tolist())
        resampled = statistics.curve_replicates, statistics.confidence, seed
        found = curves(*outcome, frame[models].to_numpy(), models, thresholds, month, *resampled)
        tables.append(found.assign(panel=f"{name} {month:g}", set=name, month=month))
    columns = ["panel", "set", "month", "model", "threshold", *(f"net_benefit{end}" for end in ENDS)]
    return pd.concat(tables, ignore_index=True)[columns] if tables else pd.DataFrame(columns=columns)


def panel_titles(cohort: CohortParams, statistics: StatisticsParams) -> dict[str, str]:
    """Title of each panel of the decision curves, a test set at a horizon, by the panel's name.

    Without the earliest of several horizons, by which too few have died for a curve to say anything: the table has it.
    """
    months = sorted(statistics.horizons_months)
    return {
        f"{name} {month:g}": f"{cohort.label(name)}, {month:g} months"
        for name in cohort.test_sets
        for month in months[1:] or months
    }


def reclassification(
    probabilities: pd.DataFrame, statistics: StatisticsParams, seed: int, kept: Path | None = None
) -> pd.DataFrame:
    """Continuous NRI of adding the model, event and non-event parts apart, at each horizon in each test set.

    Columns set, month, added_to, n, events, nri_event, nri_nonevent and nri with intervals. ``kept`` is a
    folder for the bootstrap's answers.
    """
    intervals = keeping(comparison.reclassification_intervals, kept)
    rows = []
    for name, frame, month in cells(probabilities[probabilities["month"].isin(statistics.horizons_months)], MODELS):
        for base, combined in WITH.items():
            row = {"set": name, "month": month, "added_to": base, "n": len(frame)}
            row["events"] = int(((frame["event"] == 1) & (frame["time_months"] <= month)).sum())
            if followed(frame, month) and frame[[base, combined]].notna().all(axis=None):
                columns = (frame[c].to_numpy() for c in ("time_months", "event", base, combined))
                row |= intervals(
                    *columns, month,
                    statistics.curve_replicates, statistics.confidence, seed,
                )  # fmt: skip
            rows.append(row)
    parts = [f"{p}{end}" for p in ("nri_event", "nri_nonevent", "nri") for end in ENDS]
    return pd.DataFrame(rows).reindex(columns=["set", "month", "added_to", "n", "events", *parts])


def added_values(
    patients: pd.DataFrame,
    risk: pd.Series,
    definition: DefinitionParams,
    cohort: CohortParams,
    statistics: StatisticsParams,
) -> pd.DataFrame:
    """Likelihood-ratio test of the model's risk beside clinical covariates and beside the best definition.

    Fitted in each test set that has patients, in complete cases. Columns ADDED.
    """
    indexed = patients.set_index("patient_id")
    rows = []
    for name in cohort.test_sets:
        part = indexed[indexed["split"] == name]
        if part.empty:
            continue
        group = sarcopenic(part, definition).astype("Float64").to_numpy(dtype=float, na_value=np.nan)
        bases = {CLINICAL: covariate_table(part, statistics.adjust_for)}
        bases |= {DEFINITION: pd.DataFrame({"sarcopenic": group}, index=part.index)}
        for label, base in bases.items():
            base = base.dropna()
            truth = part.loc[base.index]
            row = {"set": name, "added_to": label, "covariates": " ".join(base.columns), "n": len(base)}
            row["events"] = int(truth["event"].sum())
            rows.append(row | comparison.added_value(truth["time_months"], truth["event"], base, risk.loc[base.index]))
    return pd.DataFrame(rows, columns=ADDED)
