"""How many patients and deaths a study would have needed to find what the stand-in puts in.

Cohorts are drawn by the stand-in's generator at several multiples of the discovery set, without the conditions
that keep a draw near the published figures. The draws of each size are kept, so that an interrupted run resumes.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis_lib.common.errors import ParameterError
from analysis_lib.common.keep import keeping
from analysis_lib.common.pool import map_patients
from analysis_lib.core.parameters import DefinitionParams, Params, load_params
from analysis_lib.results import MODEL
from analysis_lib.standin.patients import DRAWN, calibrated, draw_patients, sarcopenia_status
from analysis_lib.standin.settings import FLAGS, StandinParams
from analysis_lib.survival import survival

NAN = float("nan")


def power(params: Params, folder: Path, quiet: bool = False) -> pd.DataFrame:
    """How often a study of each size would find what the stand-in puts in: the discovery set, smaller and larger.

    Returns measure (HR: a definition's hazard ratio of OS; C-index: the model's above a definition's), definition, n,
    events, estimate (median over the draws), power (share of draws with P below 1 - confidence), low, high (Wilson's
    interval of that share), draws. The model is stood for by a score that sees the true infiltration with the error
    ``multiverse.power_score_error``.
    """
    from statsmodels.stats.proportion import proportion_confint

    draws = pd.concat([_draws(params, factor, folder, quiet) for factor in params.multiverse.power_factors])
    level = 1 - params.statistics.confidence
    rows = []
    for key, part in draws.groupby(["measure", "definition", "n", "events"], sort=False):
        found = int((part["p"] < level).sum())
        low, high = proportion_confint(found, len(part), alpha=level, method="wilson")
        rows.append((*key, part["estimate"].median(), found / len(part), low, high, len(part)))
    return pd.DataFrame(
        rows, columns=["measure", "definition", "n", "events", "estimate", "power", "low", "high", "draws"]
    )


def sizes_needed(table: pd.DataFrame, wanted: float) -> pd.DataFrame:
    """Patients and events at which each finding of ``power`` reaches the power ``wanted``.

    Returns measure, definition, patients and events with _low and _high (from the limits of the power), and note.
    Between two sizes the power is interpolated over the logarithm of the size; a size beyond those drawn is not
    guessed, but NaN, and the note says beyond which number of events.
    """
    rows = []
    for (measure, definition), part in table.groupby(["measure", "definition"], sort=False):
        part = part.sort_values("events")
        row: dict[str, object] = {"measure": measure, "definition": definition}
        for name, column in (("patients", "n"), ("events", "events")):
            size = part[column].to_numpy(float)
            for end, curve in (("", "power"), ("_low", "high"), ("_high", "low")):
                row[f"{name}{end}"] = _reaches(size, part[curve].to_numpy(float), wanted)
        first, last = part["events"].iloc[[0, -1]]
        row["note"] = ""
        if np.isnan(float(row["events"])):  # type: ignore[arg-type]
            beyond = part["power"].iloc[-1] < wanted
            row["note"] = f"more than {last}" if beyond else f"fewer than {first}"
        rows.append(row)
    return pd.DataFrame(rows)


def _reaches(size: np.ndarray, power: np.ndarray, wanted: float) -> float:
    """The size from which the power stays at or above ``wanted``; NaN outside the sizes given."""
    below = np.flatnonzero(power < wanted)
    if len(below) == 0 or below[-1] == len(size) - 1:
        return NAN
    k = below[-1]
    share = (wanted - power[k]) / (power[k + 1] - power[k])
    return float(np.exp(np.log(size[k]) + share * np.log(size[k + 1] / size[k])))


def standin_of(params: Params) -> StandinParams:
    """How the cohort is drawn. Raises ParameterError for a study of real patients, which has no power page."""
    if params.standin is None:
        raise ParameterError("the power calculation draws synthetic patients; the study has no section standin")
    return params.standin


def _draws(params: Params, factor: float, folder: Path, quiet: bool) -> pd.DataFrame:
    """All draws of one size: measure, definition, n, events, estimate, p."""
    # The published cut-offs, not the study's own: the patients are the same whatever they are judged by.
    published, statistics = load_params("defaults").definitions, params.statistics
    cohort = standin_of(params), params.cohort.discovery, published, params.definitions
    measured = params.multiverse.power_score_error, statistics.curve_replicates, statistics.confidence
    jobs = [(*cohort, *measured, factor, params.seed + 1 + draw) for draw in range(params.multiverse.power_draws)]
    kept, label = keeping(one_draw, folder), f"cohorts of {factor:g} times the size"
    rows = map_patients(kept, jobs, workers=params.workers, label=label, quiet=quiet, unit="cohort")
    return pd.DataFrame(itertools.chain.from_iterable(rows))


def one_draw(
    standin: StandinParams,
    name: str,
    published: dict[str, DefinitionParams],
    definitions: dict[str, DefinitionParams],
    score_error: float,
    replicates: int,
    confidence: float,
    factor: float,
    seed: int,
) -> list[dict]:
    """Findings of one cohort ``factor`` times as large as the set ``name``, one row each as of ``_draws``."""
    one = standin.sets[name]

    def scaled(count: int | None) -> int | None:
        return None if count is None else round(factor * count)

    update: dict[str, Any] = {
        "n": scaled(one.n),
        "men": scaled(one.men),
        "deaths": scaled(one.deaths),
        "rfs_events": scaled(one.rfs_events),
    }
    update["sarcopenic"] = {key: scaled(count) for key, count in one.sarcopenic.items()}
    for flag in FLAGS:
        wanted = getattr(one, flag)
        update[flag] = wanted.model_copy(update={"count": scaled(wanted.count), "missing": 0})
    conditions = standin.conditions.model_copy(
        update={"hazard_ratios": False, "significance": False, "c_index": False, "prevalence_points": 5.0}
    )
    standin = standin.model_copy(update={"sets": {name: one.model_copy(update=update)}, "conditions": conditions})
    frame = draw_patients(standin, calibrated(standin, published), seed)
    time, event = frame["os_months"].to_numpy(), frame["os_event"].to_numpy()
    error = score_error * np.random.default_rng([seed, 7]).standard_normal(len(frame))
    score = frame["infiltration_z"] + error
    size = {"n": len(frame), "events": int(event.sum())}
    drawn = {key: d for key, d in definitions.items() if d.column in DRAWN}
    status = sarcopenia_status(frame, drawn)
    rows = []
    for key, group in status.items():
        fit = survival.cox_binary(time, event, group, confidence)
        rows.append(size | {"measure": "HR", "definition": key, "estimate": fit["hr"], "p": fit["p"]})
    markers = {MODEL: score.to_numpy()} | {key: group.astype(float) for key, group in status.items()}
    gaps = survival.bootstrap_c_index_difference(time, event, markers, MODEL, replicates, confidence, seed)
    for gap in gaps.itertuples():
        rows.append(size | {"measure": "C-index", "definition": gap.model, "estimate": gap.difference, "p": gap.p})
    return rows
