"""Hazard ratios of a study with strata, delayed entry or case weights (section ``cox``), and of competing events."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from analysis_lib.cohort.question import first_events
from analysis_lib.common.distributions import norm
from analysis_lib.common.sarcopenia import sarcopenic
from analysis_lib.core.parameters import CohortParams, DefinitionParams, StatisticsParams
from analysis_lib.survival import survival
from analysis_lib.survival.cox import NoFiniteEstimate
from analysis_lib.survival.cox_weighted import WeightedFit, cox_weighted, fine_gray, gray_test

RATIO = ("hr", "low", "high", "p")
NAN = float("nan")
# What Table 2 and its extension do not have with these options, since their estimators cannot honour them.
WITHOUT = ("p_logrank", "firth_hr", "firth_low", "firth_high", "firth_p", "p_proportional", "p_curvature")
OF_CURVES = ("median_sarcopenic", "median_others", "rmst")


def ratio(part: pd.DataFrame, outcome: tuple[str, str], x: pd.DataFrame, statistics: StatisticsParams) -> dict:
    """hr, low, high, p and note of the last column of ``x`` (n, p), by Cox regression as ``cox`` asks for it.

    ``part`` are the patients (n), ``outcome`` their columns of time and event. With weights the interval is by the
    robust variance, as R has it; NaN with a note where there is no finite estimate.
    """
    cox, (months, event) = statistics.cox, outcome
    strata = part[cox.strata].astype(str).agg(" ".join, axis=1) if cox.strata else None
    try:
        fit = cox_weighted(
            part[months],
            part[event],
            x.to_numpy(float),
            entry=part[cox.entry] if cox.entry else None,
            weights=part[cox.weights] if cox.weights else None,
            strata=strata,
        )
    except NoFiniteEstimate as error:
        return dict.fromkeys(RATIO, NAN) | {"note": str(error)}
    return _wald(fit, bool(cox.weights), statistics.confidence) | {"note": ""}


def overridden(
    row: dict[str, Any],
    part: pd.DataFrame,
    outcome: tuple[str, str],
    group: np.ndarray,
    below: np.ndarray,
    covariates: pd.DataFrame,
    statistics: StatisticsParams,
) -> dict[str, Any]:
    """A row of the extended table as ``cox`` asks for it: what can be had by it, and NaN for what cannot.

    ``group`` (n,) bool, ``below`` (n,) the index below its cut-off, ``covariates`` (n, p) of the adjusted ratios.
    """
    member = pd.DataFrame({"group": group.astype(float)}, part.index)
    plain = ratio(part, outcome, member, statistics)
    found = {"hr": plain["hr"], "hr_low": plain["low"], "hr_high": plain["high"], "p": plain["p"]}
    sd = float(np.std(below, ddof=1)) if len(below) > 1 else 0.0
    line = ratio(part, outcome, pd.DataFrame({"below": below / (sd or 1.0)}, part.index), statistics)
    found |= {f"per_sd_{k}": line[k] for k in RATIO}
    complete = covariates.notna().all(axis=1)
    if len(covariates.columns) and row["cc_n"]:
        varying = covariates.loc[complete, covariates[complete].nunique() > 1]
        adjusted = ratio(part[complete], outcome, varying.assign(group=member["group"]), statistics)
        found |= {f"cc_{k}": adjusted[k] for k in RATIO}
        found |= {f"mi_{k}": adjusted[k] if complete.all() else NAN for k in RATIO}
    lost = [name for name in row if name in WITHOUT]
    if statistics.cox.entry or statistics.cox.weights:
        lost += [name for name in row if name.startswith(OF_CURVES)]
    note = "; ".join(filter(None, (row["note"], plain["note"])))
    return row | dict.fromkeys(lost, NAN) | found | {"note": note}


def competing_ratios(
    patients: pd.DataFrame,
    definitions: dict[str, DefinitionParams],
    cohort: CohortParams,
    statistics: StatisticsParams,
) -> pd.DataFrame:
    """Recurrence and death before it by definition and set: hazard ratios of both kinds, and Gray's test.

    Columns set, definition, cause, n, events, events_sarcopenic; cs_ the cause-specific hazard ratio (the other event
    censors), sub_ that of the subdistribution (Fine and Gray: the other event stays at risk); gray_chisq, gray_p.
    """
    events = first_events(patients)
    rows = []
    for name in cohort.sets:
        part = events[events["set"] == name]
        for key, definition in definitions.items():
            group = sarcopenic(patients.loc[part.index], definition).dropna().astype(bool)
            known = part.loc[group.index]
            for of, cause in ((1, "Recurrence"), (2, "Death without recurrence")):
                own = known["cause"] == of
                row: dict[str, Any] = {"set": name, "definition": key, "cause": cause, "n": len(known)}
                row |= {"events": int(own.sum()), "events_sarcopenic": int((own & group).sum())}
                if known.empty:
                    continue
                fit = survival.cox_binary(known["months"], own, group, statistics.confidence)
                row |= {f"cs_{k}": fit[k] for k in RATIO}
                row |= {f"sub_{k}": NAN for k in RATIO}
                if not fit["note"]:
                    sub = fine_gray(known["months"], known["cause"], group.to_numpy(float), of)
                    row |= {f"sub_{k}": v for k, v in _wald(sub, True, statistics.confidence).items()}
                row["gray_chisq"], row["gray_p"] = gray_test(known["months"], known["cause"], group, of)
                rows.append(row | {"note": fit["note"]})
    return pd.DataFrame(rows)


def _wald(fit: WeightedFit, robust: bool, confidence: float) -> dict[str, float]:
    value, covariance = fit.coefficients[-1], fit.robust if robust else fit.covariance
    error = float(np.sqrt(covariance[-1, -1]))
    width = norm.ppf((1 + confidence) / 2) * error
    low, high = np.exp([value - width, value + width])
    return {
        "hr": float(np.exp(value)),
        "low": float(low),
        "high": float(high),
        "p": 2 * float(norm.sf(abs(value) / error)),
    }
