"""Calibration of the model's predicted risk of death.

Nothing here depends on a definition of sarcopenia (``added_value`` does), so a new cut-off leaves it as it is.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from analysis_lib.common.formatting import format_estimate
from analysis_lib.common.keep import keeping
from analysis_lib.core.parameters import CohortParams, StatisticsParams
from analysis_lib.core.question_params import Endpoint
from analysis_lib.results import MODEL
from analysis_lib.survival import comparison, evaluation
from analysis_lib.survival.calibration_tests import d_calibration, one_calibration

COLUMNS = ["patient_id", "set", "time_months", "event", "model", "month", "probability"]
ENDS = ("", "_low", "_high")
UNPREDICTED = "NA: past the follow-up of the training patients, no prediction"
HISTOGRAM_BINS = 50  # of predicted risk from 0 to 1
CALIBRATION = ["set", "model", "month", "n", "events", "predicted", "observed"]
CALIBRATION += [f"{name}{end}" for name in ("ratio", "slope", "ici") for end in ENDS]
CALIBRATION += ["d_calibration_p", "one_calibration_p", "note"]


def model_deaths(patients: pd.DataFrame, model_survival: pd.DataFrame, cohort: CohortParams) -> pd.DataFrame:
    """The model's probability of death for every test patient; columns as from ``predicted_deaths``."""
    indexed = patients.set_index("patient_id")
    indexed = indexed.loc[[p for name in cohort.test_sets for p in indexed.index[indexed["split"] == name]]]
    wide = (1 - model_survival.loc[indexed.index]).rename_axis(columns="month")
    long = wide.stack(future_stack=True).rename("probability").reset_index().assign(model=MODEL)
    truth = indexed[["time_months", "event"]].assign(set=indexed["split"])
    return long.merge(truth, left_on="patient_id", right_index=True)[COLUMNS]


def cells(probabilities: pd.DataFrame, models: list[str]) -> Iterator[tuple[str, pd.DataFrame, float]]:
    """(set, frame by patient of outcome and one column a model, month) for each set and month.

    A model that could not be fitted, and so has no row, is a column of NaN.
    """
    for (name, month), part in probabilities.groupby(["set", "month"], sort=False):
        wide = part.pivot(index="patient_id", columns="model", values="probability")
        wide = wide.reindex(columns=models)
        truth = part.drop_duplicates("patient_id").set_index("patient_id")[["time_months", "event"]]
        yield name, truth.join(wide), float(month)


def followed(frame: pd.DataFrame, month: float) -> bool:
    """Whether anybody is followed beyond the month and anybody died by it."""
    died = (frame["event"] == 1) & (frame["time_months"] <= month)
    return bool((frame["time_months"] > month).any() and died.any())


def unjudged(frame: pd.DataFrame, month: float, model: str, endpoint: Endpoint) -> str:
    """Why a model's predictions in ``frame``, a column of it, cannot be judged by the month; empty where they can."""
    if frame[model].isna().any():
        return UNPREDICTED
    if frame.empty:
        return "no patient"
    few = f"no {endpoint.noun} by the month or nobody followed beyond it"
    return "" if followed(frame, month) else f"{few}; last follow-up {frame['time_months'].max():.1f}"


def calibrations(
    probabilities: pd.DataFrame,
    statistics: StatisticsParams,
    seed: int,
    labels: dict[str, str],
    model: str = MODEL,
    kept: Path | None = None,
) -> tuple[dict[str, pd.DataFrame], pd.DataFrame]:
    """Calibration of the ``model`` at the horizons in each set of ``labels``.

    Returns the frames of the figure (groups, curves with a pointwise band, predictions: a histogram, annotations) and
    the summary (set, model, month, n, events, predicted, observed, ratio, slope and ici with intervals, P of
    D-calibration up to the month and of one-calibration, note). A horizon past the follow-up, and a set in which nobody
    has a prediction, have a note. ``kept`` is the folder of intervals computed before.
    """
    groups, curves, predictions, notes, rows = [], [], [], [], []
    frame_of = {(name, month): frame for name, frame, month in cells(probabilities, [model])}
    nobody = pd.DataFrame(columns=["time_months", "event", model], dtype=float)
    intervals = keeping(comparison.calibration_interval, kept)
    for name, month in itertools.product(labels, sorted(statistics.horizons_months)):
        frame = frame_of.get((name, month), nobody)
        panel, time, event = f"{name} {month:g}", frame["time_months"], frame["event"]
        predicted = frame[model].to_numpy()
        row = {"set": name, "model": model, "month": month, "n": len(frame)}
        row["events"] = int(((time <= month) & (event == 1)).sum())
        text = "NA: too short a follow-up" if len(frame) else "NA: no patient"
        why = unjudged(frame, month, model, statistics.endpoint)
        if not why:
            resampled = statistics.curve_replicates, statistics.confidence, seed
            first, last = np.quantile(predicted, [0.02, 0.98])
            at = np.linspace(first, last, 50)
            found, curve = intervals(time, event, predicted, month, *resampled, at)
            group_count = statistics.calibration_groups
            own = probabilities[(probabilities["set"] == name) & (probabilities["model"] == model)]
            row |= found | {
                "d_calibration_p": d_calibration_by(own, month),
                "one_calibration_p": one_calibration(time, event, predicted, month, group_count)["p"],
            }
            in_groups = evaluation.calibration(time, event, predicted, month, group_count, statistics.confidence)
            groups.append(in_groups.assign(panel=panel))
            if not found["note"]:
                curves.append(curve.assign(panel=panel))
            counts, edges = np.histogram(predicted, HISTOGRAM_BINS, (0, 1))
            middle = (edges[:-1] + edges[1:]) / 2
            predictions.append(pd.DataFrame({"panel": panel, "predicted": middle, "n_predicted": counts}))
            measures = {"O/E": ("ratio", 2), "slope": ("slope", 2), "ICI": ("ici", 3)}
            text = "\n".join(f"{name} {_interval(found, *which)}" for name, which in measures.items())
        else:
            row["note"] = why
            text = UNPREDICTED if why == UNPREDICTED else text
        notes.append((panel, f"{labels[name]}, {month:g} months", text))
        rows.append(row)
    empty = pd.DataFrame(columns=["panel", "predicted", "observed", "low", "high", "n_predicted"])
    frames = {
        name: pd.concat(parts, ignore_index=True) if parts else empty
        for name, parts in (("groups", groups), ("curves", curves), ("predictions", predictions))
    } | {
        "annotations": pd.DataFrame(notes, columns=["panel", "title", "text"]),
    }
    return frames, pd.DataFrame(rows).reindex(columns=CALIBRATION)


def d_calibration_by(probabilities: pd.DataFrame, month: float) -> float:
    """P of D-calibration of one model in one set, whose patients are censored at the month.

    A curve between two months that have a prediction is a straight line.
    """
    own = probabilities[probabilities["month"] <= month]
    dead = own.pivot(index="patient_id", columns="month", values="probability")
    truth = own.drop_duplicates("patient_id").set_index("patient_id").loc[dead.index]
    months, ends = np.append(0, dead.columns), np.minimum(truth["time_months"], month)
    died = (truth["event"] == 1) & (truth["time_months"] <= month)
    curves = np.column_stack([np.ones(len(dead)), 1 - dead.to_numpy()])
    alive = [np.interp(end, months, curve) for end, curve in zip(ends, curves, strict=True)]
    return d_calibration(died, alive)["p"]


def _interval(found: dict, name: str, digits: int) -> str:
    return format_estimate(found[name], found[f"{name}_low"], found[f"{name}_high"], digits)
