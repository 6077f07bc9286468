"""A saved model judged on patients whom it was not trained on (notebook 17): what is asked only there.

Discrimination, calibration, Brier score, decision curves, risk groups and added value are those of the other modules,
given the judged patients as test sets (``CohortParams.judged``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis_lib.common.formatting import format_estimate
from analysis_lib.common.sarcopenia import sarcopenic
from analysis_lib.core.parameters import CohortParams, DefinitionParams, StatisticsParams, ValidationParams
from analysis_lib.core.question_params import Endpoint
from analysis_lib.results import MODEL
from analysis_lib.results.added_value import DEFINITION, added_values, cox_deaths
from analysis_lib.results.calibration import CALIBRATION, COLUMNS, calibrations, model_deaths
from analysis_lib.stages.export import CASE_MIX, case_mix, quantile
from analysis_lib.survival.cox import NoFiniteEstimate, cox_fit
from analysis_lib.survival.folds import stratified_folds

# Without the tests of calibration: the cross-fitted curves have the horizons alone, and are fitted to these patients.
RECALIBRATION = [c for c in CALIBRATION if not c.endswith("_p")]
RECALIBRATION[5:5] = ["intercept", "slope_fitted"]
TRIPOD = ["item", "asked", "state", "answer"]
TRAINING = "training patients"


@dataclass(frozen=True)
class Judged:
    """Patients as patients.parquet, ``split`` their set, with risk, spread and what ``predict`` says of their features.

    ``survival`` : by patient_id, columns months. ``cohort`` : their sets, all tests. ``about`` : of the model.
    """

    patients: pd.DataFrame
    survival: pd.DataFrame
    cohort: CohortParams
    about: dict[str, Any]

    @property
    def risk(self) -> pd.Series:
        """Risk by patient_id."""
        return self.patients.set_index("patient_id")["risk"]

    @property
    def labels(self) -> dict[str, str]:
        """Label of each judged set."""
        return self.cohort.labels


def judged(patients: pd.DataFrame, predictions: pd.DataFrame, about: dict[str, Any], cohort: CohortParams) -> Judged:
    """The patients with their predictions (``Study.validation``); a set that has nobody is left out."""
    told = predictions[["patient_id", "set", "risk", "spread", "share_outside", "reconstruction_error", "warning"]]
    table = patients.drop(columns="set").merge(told.fillna({"warning": ""}), on="patient_id", validate="one_to_one")
    table["split"] = table["set"]
    survival = predictions.set_index("patient_id").filter(like="survival_")
    months = [float(name.removeprefix("survival_").removesuffix("_months")) for name in survival]
    return Judged(table, survival.set_axis(months, axis=1), cohort.judged(set(table["set"])), about)


def case_mixes(found: Judged) -> pd.DataFrame:
    """Case mix of the training patients, as far as the model's folder tells it, and of each judged set.

    Columns set and CASE_MIX. Below the characteristics: share of patients whose features the model warns of, and
    median and quartiles of the share of features outside the training span and of the risk.
    """
    tables = [pd.DataFrame(found.about["case_mix"], columns=CASE_MIX).assign(set=TRAINING)]
    for name in found.cohort.test_sets:
        part = found.patients[found.patients["set"] == name]
        rows: list[tuple[Any, ...]] = [("unlike_training", len(part), (part["warning"] != "").mean(), np.nan, np.nan)]
        for column in ("share_outside", "risk"):
            rows.append((column, len(part), *(quantile(part[column].to_numpy(), q) for q in (0.5, 0.25, 0.75))))
        more = pd.DataFrame(rows, columns=CASE_MIX)
        tables.append(pd.concat([case_mix(part), more], ignore_index=True).assign(set=name))
    return pd.concat([t for t in tables if len(t)], ignore_index=True)[["set", *CASE_MIX]]


def with_rules(
    found: Judged, deaths: pd.DataFrame, definitions: dict[str, DefinitionParams], months: list[float]
) -> pd.DataFrame:
    """Predicted deaths of the model, those of another one, and of each definition as a rule.

    The rule treats the sarcopenic at any threshold.
    """
    own = model_deaths(found.patients, found.survival, found.cohort)
    frames, indexed = [own, deaths] if len(deaths) else [own], found.patients.set_index("patient_id")
    for key, definition in definitions.items():
        group = sarcopenic(indexed, definition).astype("Float64")
        rows = own[own["month"].isin(months)].drop(columns="probability")
        known = rows["patient_id"].map(group).to_numpy(dtype=float, na_value=np.nan)
        frames.append(rows.assign(model=key, probability=known))
    return pd.concat(frames, ignore_index=True)[COLUMNS]


def added_to_each(
    found: Judged, definitions: dict[str, DefinitionParams], statistics: StatisticsParams
) -> pd.DataFrame:
    """``added_values`` beside the clinical covariates and beside each definition, fitted to the judged patients."""
    tables = [
        added_values(found.patients, found.risk, definition, found.cohort, statistics).replace(
            {"added_to": {DEFINITION: key}}
        )
        for key, definition in definitions.items()
    ]
    table = pd.concat(tables).drop_duplicates(["set", "added_to"])
    rank = {name: k for k, name in enumerate(found.cohort.test_sets)}
    return table.sort_values("set", key=lambda names: names.map(rank), kind="stable", ignore_index=True)


def recalibrated(found: Judged, validation: ValidationParams, statistics: StatisticsParams, seed: int) -> pd.DataFrame:
    """Calibration after intercept and slope are fitted to the judged patients; columns RECALIBRATION.

    ``slope_fitted`` is the Cox coefficient of the risk in a set, with a baseline hazard of that set; ``intercept`` what
    this adds at a month: log cumulative hazard = intercept + slope_fitted x that of the model (van Houwelingen 2000,
    doi 10.1002/1097-0258(20001230)19:24<3401::AID-SIM554>3.0.CO;2-2). The calibration beside them is of predictions of
    each patient by the fit to the other folds. A set without deaths enough for them has no row.
    """
    months, rows, frames = np.array(sorted(statistics.horizons_months)), [], []
    indexed = found.patients.set_index("patient_id")
    for name in found.cohort.test_sets:
        part = indexed[indexed["set"] == name]
        risk, outcome = part[["risk"]], part[["time_months", "event"]]
        fold = stratified_folds(part["event"] == 1, validation.folds, np.random.default_rng(seed))
        try:
            slope = float(cox_fit(part["time_months"], part["event"], risk.to_numpy()).coefficients[0])
            deaths = np.full((len(part), len(months)), np.nan)
            for k in np.unique(fold):
                deaths[fold == k] = cox_deaths(outcome[fold != k], risk[fold != k], risk[fold == k], months)
        except (NoFiniteEstimate, ValueError):
            continue
        given = cox_deaths(outcome, risk, risk, months), 1 - found.survival.loc[part.index, months]
        # nobody has died by the month, or there is no prediction: no logarithm
        new, old = (np.log(-np.log1p(-np.where((p > 0) & (p < 1), p, np.nan))) for p in given)
        rows += [
            (name, month, slope, level) for month, level in zip(months, (new - slope * old).mean(axis=0), strict=True)
        ]
        wide = pd.DataFrame(deaths, part.index, pd.Index(months, name="month"))
        long = wide.stack(future_stack=True).rename("probability").reset_index()
        frames.append(long.merge(outcome, left_on="patient_id", right_index=True).assign(set=name, model=MODEL))
    if not frames:
        return pd.DataFrame(columns=RECALIBRATION)
    fitted = pd.DataFrame(rows, columns=["set", "month", "slope_fitted", "intercept"])
    _, summary = calibrations(pd.concat(frames), statistics, seed, {name: name for name in fitted["set"].unique()})
    return summary.merge(fitted, on=["set", "month"])[RECALIBRATION]


def tripod(
    found: Judged,
    c_index: pd.DataFrame,
    calibration: pd.DataFrame,
    exclusions: pd.DataFrame,
    recalibrate: bool,
    endpoint: Endpoint | None = None,
) -> pd.DataFrame:
    """The items of TRIPOD+AI that an external validation answers (Collins 2024, doi 10.1136/bmj-2023-078378).

    Columns TRIPOD; ``state`` as in docs/reporting.md: yes, part, or site: only those who have the patients know.
    """
    about, n, events = found.about, len(found.patients), int(found.patients["event"].sum())
    endpoint = endpoint or Endpoint()
    sets = "; ".join(
        f"{found.cohort.label(row.set)} {format_estimate(row.c_index, row.low, row.high)}"
        for row in c_index[c_index["model"] == MODEL].itertuples()
    )
    ratios = "; ".join(
        f"{found.cohort.label(row.set)} at {row.month:g} months "
        f"{format_estimate(row.ratio, row.ratio_low, row.ratio_high)}"
        for row in calibration[calibration["ratio"].notna()].itertuples()
    )
    told = bool(about["case_mix"]["n"])
    outside = int((found.patients["warning"] != "").sum())
    rows = [
        ("4", "aim", "yes", f"evaluation of the saved model of study {about['study']}; nothing is developed"),
        ("5a, 5b, 6a, 6c", "source, dates, setting, treatment", "site", "docs/data_statement.md has the place"),
        ("6b, 20a", "eligibility and flow", "yes", f"{n} judged, {len(exclusions)} in the list of exclusions"),
        ("8a", "outcome", "part", f"{endpoint.name} in months; how patients are followed is the site's"),
        ("9b", "predictors, measured as in development", "yes", "other settings or versions are refused"),
        ("10", "size", "yes", f"{n} patients, {events} {endpoint.plural}; what they suffice for, the intervals say"),
        ("11", "missing data", "yes", "nothing is imputed; a patient without features is not judged"),
        ("12a", "use of the data", "yes", "evaluation alone; each set by itself"),
        ("12e", "measures of performance", "yes", "C-index, AUC, calibration, Brier score, net benefit, risk groups"),
        ("12f, 24", "updating", "yes", "validation_recalibration" if recalibrate else "the model is not updated"),
        ("12g", "how predictions were computed", "yes", f"model folder with SHA256SUMS {about['sums_sha256'][:12]}"),
        ("15", "output and threshold", "yes", f"risk and survival; high risk above {about['cutoff']:.3f}"),
        ("16, 20c", "development and evaluation data compared", "yes" if told else "part",
         f"validation_case_mix; {outside} of {n} patients are unlike the training patients"
         + ("" if told else "; the folder does not tell the training patients' case mix")),
        ("20b, 21", "characteristics, n, events", "yes", "validation_case_mix; n and events of each table"),
        ("23a", "performance with intervals", "yes",
         f"C-index {sets or 'NA'}; observed over predicted {ratios or 'NA'}"),
        ("23b", "differences between clusters", "part", f"by set ({len(found.cohort.test_sets)})"),
        ("14, 25, 26", "fairness, interpretation, limitations", "site", "nothing here knows them"),
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=TRIPOD)
