"""Beyond the letter: calibration, accuracy, clinical use and added value of the model, and competing risks.

Models are fitted on the training patients and judged in the test sets, all on the same patients. Notebooks
call these functions and show what they return; nothing here draws or writes.
"""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
from dcurves import dca

from analysis_lib.params import CohortParams, DefinitionParams, StatisticsParams
from analysis_lib.reporting.results import MODEL
from analysis_lib.reporting.results_extended import covariate_table
from analysis_lib.reporting.tables import format_estimate
from analysis_lib.sarcopenia import sarcopenic
from analysis_lib.statistics import comparison, competing, evaluation, survival
from analysis_lib.statistics.cox import NoFiniteEstimate, cox_fit

CLINICAL, DEFINITION = "Clinical", "Best definition"
WITH = {CLINICAL: f"{CLINICAL} + {MODEL}", DEFINITION: f"{DEFINITION} + {MODEL}"}
MODELS = [MODEL, CLINICAL, WITH[CLINICAL], DEFINITION, WITH[DEFINITION]]
COLUMNS = ["patient_id", "set", "os_months", "os_event", "model", "month", "probability"]
ENDS = ("", "_low", "_high")
CALIBRATION = ["set", "model", "month", "n", "events", "predicted", "observed"]
CALIBRATION += [*(f"{name}{end}" for name in ("ratio", "slope", "ici") for end in ENDS), "note"]
ADDED = ["set", "added_to", "covariates", "n", "events"]
ADDED += ["chisq", "df", "p", "hr_per_sd", "chisq_base", "share", "note"]
CAUSES = {1: "Recurrence", 2: "Death without recurrence"}


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
        value = survival.c_index(part["os_months"], part["os_event"], group[known].astype(float))
        return -np.inf if np.isnan(value) else value

    return max(definitions, key=rank)


def model_deaths(patients: pd.DataFrame, model_survival: pd.DataFrame, cohort: CohortParams) -> pd.DataFrame:
    """The model's probability of death for every test patient; columns as from ``predicted_deaths``."""
    indexed = patients.set_index("patient_id")
    indexed = indexed.loc[[p for name in cohort.test_sets for p in indexed.index[indexed["split"] == name]]]
    wide = (1 - model_survival.loc[indexed.index]).rename_axis(columns="month")
    long = wide.stack().rename("probability").reset_index().assign(model=MODEL)
    truth = indexed[["os_months", "os_event"]].assign(set=indexed["split"])
    return long.merge(truth, left_on="patient_id", right_index=True)[COLUMNS]


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
        truth = indexed.loc[test.index, ["os_months", "os_event"]].assign(set=name)
        columns = {CLINICAL: used, WITH[CLINICAL]: [*used, "risk"]}
        if "group" in known:
            columns |= {DEFINITION: ["group"], WITH[DEFINITION]: ["group", "risk"]}
        death = {MODEL: 1 - model_survival.loc[test.index].to_numpy()}
        for model, chosen in columns.items():
            death[model] = _cox_deaths(indexed.loc[train.index], train[chosen], test[chosen], months)
        for model, values in death.items():
            wide = pd.DataFrame(values, index=test.index, columns=pd.Index(months, name="month"))
            long = wide.stack().rename("probability").reset_index()
            frames.append(long.merge(truth, left_on="patient_id", right_index=True).assign(model=model))
        counts.append(
            (name, len(test), int(truth["os_event"].sum()), len(part) - len(test), len(train), " ".join(used))
        )
    frames = [frame for frame in frames if len(frame)]
    return (
        pd.concat(frames, ignore_index=True)[COLUMNS] if frames else pd.DataFrame(columns=COLUMNS),
        pd.DataFrame(counts, columns=["set", "n", "events", "left_out", "n_train", "covariates"]),
    )


def _cox_deaths(outcome: pd.DataFrame, train: pd.DataFrame, test: pd.DataFrame, months: np.ndarray) -> np.ndarray:
    pair = outcome["os_months"], outcome["os_event"]
    varies = train.columns[train.nunique() > 1]
    try:
        beta = cox_fit(*pair, train[varies].to_numpy()).coefficients
    except NoFiniteEstimate:
        return np.full((len(test), len(months)), np.nan)
    return 1 - evaluation.predicted_survival(
        pair, train[varies].to_numpy() @ beta, test[varies].to_numpy() @ beta, months
    )


def _cells(probabilities: pd.DataFrame):
    """(set, frame by patient of outcome and one column a model, month) for each set and month."""
    for (name, month), part in probabilities.groupby(["set", "month"], sort=False):
        wide = part.pivot(index="patient_id", columns="model", values="probability")
        wide = wide.reindex(columns=MODELS)  # a model that could not be fitted has no row
        truth = part.drop_duplicates("patient_id").set_index("patient_id")[["os_months", "os_event"]]
        yield name, truth.join(wide), float(month)


def _followed(frame: pd.DataFrame, month: float) -> bool:
    """Whether anybody is followed beyond the month and anybody died by it."""
    died = (frame["os_event"] == 1) & (frame["os_months"] <= month)
    return bool((frame["os_months"] > month).any() and died.any())


def calibrations(
    probabilities: pd.DataFrame, statistics: StatisticsParams, seed: int, labels: dict[str, str]
) -> tuple[dict[str, pd.DataFrame], pd.DataFrame]:
    """The model's calibration at the horizons in each set of ``labels``.

    Returns the frames of the figure (groups, curves, annotations) and the summary (set, model, month, n, events,
    predicted, observed, ratio, slope and ici with intervals, note). A horizon past the follow-up, and a set in which
    nobody has a prediction, have a note.
    """
    groups, curves, notes, rows = [], [], [], []
    cells = {(name, month): frame for name, frame, month in _cells(probabilities)}
    nobody = pd.DataFrame(columns=["os_months", "os_event", MODEL], dtype=float)
    for name, month in itertools.product(labels, sorted(statistics.horizons_months)):
        frame = cells.get((name, month), nobody)
        panel, time, event = f"{name} {month:g}", frame["os_months"], frame["os_event"]
        predicted = frame[MODEL].to_numpy()
        row = {"set": name, "model": MODEL, "month": month, "n": len(frame)}
        row["events"] = int(((time <= month) & (event == 1)).sum())
        text = "NA: too short a follow-up" if len(frame) else "NA: no patient"
        if _followed(frame, month):
            found = comparison.calibration_interval(
                time, event, predicted, month, statistics.bootstrap_replicates, statistics.confidence, seed
            )
            row |= found
            in_groups = evaluation.calibration(
                time, event, predicted, month, statistics.calibration_groups, statistics.confidence
            )
            groups.append(in_groups.assign(panel=panel))
            if not found["note"]:
                at = np.linspace(*np.quantile(predicted, [0.02, 0.98]), 50)
                curves.append(comparison.calibration_curve(time, event, predicted, month, at).assign(panel=panel))
            text = f"slope {_interval(found, 'slope', 2)}, ICI {_interval(found, 'ici', 3)}"
        else:
            row["note"] = "no patient"
            if len(frame):
                row["note"] = f"no death by the month or nobody followed beyond it; last follow-up {time.max():.1f}"
        notes.append((panel, f"{labels[name]}, {month:g} months", text))
        rows.append(row)
    empty = pd.DataFrame(columns=["panel", "predicted", "observed", "low", "high"])
    frames = {
        "groups": pd.concat(groups, ignore_index=True) if groups else empty,
        "curves": pd.concat(curves, ignore_index=True) if curves else empty[["panel", "predicted", "observed"]],
        "annotations": pd.DataFrame(notes, columns=["panel", "title", "text"]),
    }
    return frames, pd.DataFrame(rows).reindex(columns=CALIBRATION)


def _interval(found: dict, name: str, digits: int) -> str:
    return format_estimate(found[name], found[f"{name}_low"], found[f"{name}_high"], digits)


def brier_scores(probabilities: pd.DataFrame, statistics: StatisticsParams, seed: int) -> pd.DataFrame:
    """Brier score at the horizons and its integral over all months of ``probabilities``, by set and model.

    Columns set, model, month ('integral' for the integral), from and to (months), n, brier, low, high, null
    (Kaplan-Meier for everybody), skill with interval. Months past a set's follow-up are cut.
    """
    tables = []
    for name, part in probabilities.groupby("set", sort=False):
        truth = part.drop_duplicates("patient_id").set_index("patient_id")[["os_months", "os_event"]]
        months = [m for m in sorted(part["month"].unique()) if _followed(truth, m)]
        if len(months) < 2:
            continue
        curves = {}
        for model, own in part.groupby("model", sort=False):
            wide = own.pivot(index="patient_id", columns="month", values="probability").loc[truth.index, months]
            if wide.notna().all(axis=None):
                curves[model] = 1 - wide.to_numpy()
        table = comparison.brier_intervals(
            truth["os_months"], truth["os_event"], curves, months, statistics.bootstrap_replicates,
            statistics.confidence, seed,
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


def decision_curves(probabilities: pd.DataFrame, statistics: StatisticsParams) -> pd.DataFrame:
    """Net benefit of each model by threshold, at each horizon in each test set (package dcurves).

    Columns panel, set, month, model, threshold, net_benefit; models 'all' and 'none' treat everybody and nobody.
    Empty where the patients above a threshold are not followed to the horizon.
    """
    first, last = statistics.decision_thresholds
    thresholds = np.round(np.linspace(first, last, 30), 4)
    tables = []
    for name, frame, month in _cells(probabilities[probabilities["month"].isin(statistics.horizons_months)]):
        if not _followed(frame, month):
            continue
        models = [m for m in MODELS if frame[m].notna().all()]
        found = dca(
            data=frame.reset_index(drop=True).astype({"os_event": bool}),
            outcome="os_event",
            modelnames=models,
            thresholds=thresholds,
            time=month,
            time_to_outcome_col="os_months",
        )
        found = found[["model", "threshold", "net_benefit"]]
        tables.append(found.assign(panel=f"{name} {month:g}", set=name, month=month))
    columns = ["panel", "set", "month", "model", "threshold", "net_benefit"]
    return pd.concat(tables, ignore_index=True)[columns] if tables else pd.DataFrame(columns=columns)


def reclassification(probabilities: pd.DataFrame, statistics: StatisticsParams, seed: int) -> pd.DataFrame:
    """Continuous NRI of adding the model, event and non-event parts apart, at each horizon in each test set.

    Columns set, month, added_to, n, events, nri_event, nri_nonevent and nri with intervals.
    """
    rows = []
    for name, frame, month in _cells(probabilities[probabilities["month"].isin(statistics.horizons_months)]):
        for base, combined in WITH.items():
            row = {"set": name, "month": month, "added_to": base, "n": len(frame)}
            row["events"] = int(((frame["os_event"] == 1) & (frame["os_months"] <= month)).sum())
            if _followed(frame, month) and frame[[base, combined]].notna().all(axis=None):
                row |= comparison.reclassification_intervals(
                    frame["os_months"], frame["os_event"], frame[base], frame[combined], month,
                    statistics.bootstrap_replicates, statistics.confidence, seed,
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
            row["events"] = int(truth["os_event"].sum())
            rows.append(row | comparison.added_value(truth["os_months"], truth["os_event"], base, risk.loc[base.index]))
    return pd.DataFrame(rows, columns=ADDED)


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


def published_intervals(intervals: pd.DataFrame, printed: dict[str, list[float]]) -> pd.DataFrame:
    """The letter's C-indices with their intervals beside this run's, and the width of each.

    ``intervals`` as from ``results.c_index_intervals``; ``printed`` maps set to value, low, high.
    """
    ours = intervals[intervals["model"] == MODEL].set_index("set")
    rows = []
    for name, (value, low, high) in printed.items():
        if name not in ours.index:
            continue
        row = ours.loc[name]
        mine = [
            row["harrell"],
            row["percentile_low"],
            row["percentile_high"],
            row["analytic_low"],
            row["analytic_high"],
        ]
        widths = [high - low, mine[2] - mine[1], mine[4] - mine[3]]
        rows.append((name, row["n"], row["events"], value, low, high, *mine, *widths))
    columns = ["set", "n", "events", "published", "published_low", "published_high", "ours", "low", "high"]
    columns += ["analytic_low", "analytic_high", "width_published", "width_bootstrap", "width_analytic"]
    return pd.DataFrame(rows, columns=columns)
