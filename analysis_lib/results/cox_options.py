"""Hazard ratios of a study with strata, delayed entry or case weights (section ``cox``), and of competing events."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from analysis_lib.cohort.question import first_events
from analysis_lib.common.distributions import norm
from analysis_lib.common.sarcopenia import sarcopenic
from analysis_lib.core.parameters import CohortParams, DefinitionParams, StatisticsParams
from analysis_lib.core.question_params import CoxParams
from analysis_lib.survival import survival
from analysis_lib.survival.cox import NoFiniteEstimate
from analysis_lib.survival.cox_weighted import WeightedFit, cox_weighted, fine_gray, gray_test, varying_within

RATIO = ("hr", "low", "high", "p")
NAN = float("nan")
# What these options leave without a number, since its estimator cannot honour them.
WITHOUT = ("firth_hr", "firth_low", "firth_high", "firth_p", "p_proportional", "p_curvature")


def options_of(part: pd.DataFrame, cox: CoxParams) -> dict[str, np.ndarray]:
    """What ``cox`` asks of an estimator for the patients ``part`` (n): entry, weights and strata (n,), those given."""
    found = {"entry": part[cox.entry].to_numpy(float)} if cox.entry else {}
    found |= {"weights": part[cox.weights].to_numpy(float)} if cox.weights else {}
    found |= {"strata": part[cox.strata].astype(str).agg(" ".join, axis=1).to_numpy()} if cox.strata else {}
    return found


def late_of(part: pd.DataFrame, cox: CoxParams) -> dict[str, np.ndarray]:
    """The same for a curve, which is of all strata together."""
    return {name: values for name, values in options_of(part, cox).items() if name != "strata"}


def observed(part: pd.DataFrame, months: str, cox: CoxParams) -> pd.Series:
    """Who (n,) is under observation before the time in the column ``months`` ends, as R's ``Surv`` has it."""
    return part[cox.entry] < part[months] if cox.entry else pd.Series(True, part.index)


def adjusted(part: pd.DataFrame, outcome: tuple[str, str], x: pd.DataFrame, statistics: StatisticsParams):
    """As ``survival.cox_adjusted``, by the covariates ``x`` (n, p), with what ``cox`` asks for; index covariate.

    ``part`` are the patients (n), ``outcome`` their columns of time and event. With weights the intervals are by the
    robust variance, as R has it; NaN with a note where there is no finite estimate.
    """
    months, event = outcome
    options = options_of(part, statistics.cox)
    if not options:
        return survival.cox_adjusted(part[months], part[event], x, statistics.confidence).set_index("covariate")
    rows = pd.DataFrame(NAN, x.columns, RATIO).assign(n=len(x), n_events=int(part[event].sum()), note="")
    used = varying_within(x, options.get("strata"))
    try:
        fit = cox_weighted(part[months], part[event], x[used].to_numpy(float), **options)
    except NoFiniteEstimate as error:
        return rows.assign(note=str(error))
    for k, name in enumerate(used):
        found = _wald(fit, bool(statistics.cox.weights), statistics.confidence, k)
        rows.loc[name, list(RATIO)] = [found[column] for column in RATIO]
    return rows


def binary(part: pd.DataFrame, outcome: tuple[str, str], group: ArrayLike, statistics: StatisticsParams) -> dict:
    """As ``survival.cox_binary`` of ``group`` (n,), with what ``cox`` asks for."""
    columns = part[outcome[0]], part[outcome[1]]
    fit = survival.cox_binary(*columns, group, statistics.confidence)
    if not statistics.cox.given:
        return fit
    member = pd.DataFrame({"group": np.asarray(group, dtype=float)}, part.index)
    found = adjusted(part, outcome, member, statistics).loc["group", [*RATIO, "note"]].to_dict()
    return fit | found | {"note": fit["note"] or found["note"]}


def per_unit(part: pd.DataFrame, outcome: tuple[str, str], value: ArrayLike, statistics: StatisticsParams) -> dict:
    """hr, low, high and p of one unit more of ``value`` (n,), as ``survival.cox_continuous``, by ``cox``."""
    if not statistics.cox.given:
        columns = part[outcome[0]], part[outcome[1]]
        return survival.cox_continuous(*columns, value, statistics.confidence, per_sd=False)
    return adjusted(part, outcome, pd.DataFrame({"value": np.asarray(value)}, part.index), statistics).loc["value"]


def logrank_p(part: pd.DataFrame, outcome: tuple[str, str], group: ArrayLike, cox: CoxParams) -> float:
    """P of the log-rank test between the groups (n,), with what ``cox`` asks for."""
    return survival.logrank_p(part[outcome[0]], part[outcome[1]], group, **options_of(part, cox))


def without(row: dict[str, Any], cox: CoxParams) -> dict[str, Any]:
    """A row of a table with NaN for what cannot honour ``cox``."""
    lost = [name for name in row if name in WITHOUT] if cox.given else []
    if cox.entry or cox.weights:
        lost += [name for name in row if name.startswith("rmst")]
    return row | dict.fromkeys(lost, NAN)


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


def _wald(fit: WeightedFit, robust: bool, confidence: float, k: int = -1) -> dict[str, float]:
    value, covariance = fit.coefficients[k], fit.robust if robust else fit.covariance
    error = float(np.sqrt(covariance[k, k]))
    width = norm.ppf((1 + confidence) / 2) * error
    low, high = np.exp([value - width, value + width])
    return {
        "hr": float(np.exp(value)),
        "low": float(low),
        "high": float(high),
        "p": 2 * float(norm.sf(abs(value) / error)),
    }
