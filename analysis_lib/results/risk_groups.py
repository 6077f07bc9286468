"""Fig. 4c-f: the groups of high and low risk, cut at the training median, and their hazard ratios."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis_lib.core.parameters import CohortParams, StatisticsParams
from analysis_lib.core.question_params import RiskGroups
from analysis_lib.coxnet.cutoff import high_risk, near_cutoff
from analysis_lib.results.cox_options import RATIO, adjusted, binary, late_of, logrank_p, per_unit, without
from analysis_lib.results.kaplan_meier import panels_of
from analysis_lib.results.table2_extended import covariate_table
from analysis_lib.survival import evaluation, survival
from analysis_lib.survival.cox import NoFiniteEstimate, proportional_hazards_test

OUTCOME = ("time_months", "event")
RMST = ("difference", "low", "high", "p")
RISK_GROUPS = {False: "Low risk", True: "High risk"}  # in drawing order


def risk_group_curves(
    table: pd.DataFrame,
    cohort: CohortParams,
    cut_off: float,
    statistics: StatisticsParams,
    ticks: list[float],
    rule: RiskGroups = "",
) -> dict[str, pd.DataFrame]:
    """Kaplan-Meier panels of the endpoint in the risk groups, a panel a split; ``rule`` as ``risk_groups`` has it.

    ``table`` has split, risk, spread, time_months and event. ``annotations`` has a column
    below: how many patients are near the cut-off, empty where that is not known.
    """
    panels, below, names = {}, [], dict[Any, str](RISK_GROUPS)
    cuts = cuts_of(table, rule)
    if cuts:
        names = group_names(cuts)
    for name in cohort.splits:
        part = table[table["split"] == name]
        group = groups_by(part["risk"], cuts) if cuts else high_risk(part["risk"], cut_off)
        frame = pd.DataFrame({"months": part["time_months"], "event": part["event"], "group": group})
        frame = frame.join(part[statistics.cox.columns])
        panels[name] = (f"{cohort.label(name)} (n = {len(part)})", frame)
        near = _near_cutoff(part, cut_off)
        text = f"{near['n_near_cutoff']:.0f} of {len(part)} ({near['share_near_cutoff']:.0%})"
        known = not cuts and not np.isnan(near["share_near_cutoff"])
        below.append(f"Within the ensemble’s spread (SD) of the cut-off: {text}" if known else "")
    frames = panels_of(panels, names, statistics, ticks)
    return frames | {"annotations": frames["annotations"].assign(below=below)}


def risk_group_table(
    table: pd.DataFrame, cohort: CohortParams, cut_off: float, statistics: StatisticsParams
) -> pd.DataFrame:
    """Risk groups at the training median, by split: sizes, events, HR, log-rank P, follow-up in months.

    ``table`` has split, risk, spread, time_months and event. ``n_near_cutoff`` are the patients whose risk lies no
    further from the cut-off than its spread over the networks, NaN where there is no spread (one network alone).
    ``hr_per_sd`` is the hazard ratio of the risk as a continuous score, for one SD of the training patients, or of all
    where nobody was trained on. Medians have intervals; a median or limit that is not reached is NaN.
    """
    rows = []
    trained = table["split"] == "train"
    sd = (table[trained] if cohort.trained else table)["risk"].std()
    for name in cohort.splits:
        part = table[table["split"] == name]
        if part.empty:
            continue
        high = high_risk(part["risk"], cut_off)
        fit = binary(part, OUTCOME, high, statistics)
        score = per_unit(part, OUTCOME, part["risk"] / sd, statistics)
        late = late_of(part, statistics.cox)
        follow_up = survival.median_follow_up(part["time_months"], part["event"], statistics.confidence, **late)
        rows.append(
            {
                "set": name,
                "n": len(part),
                "events": int(part["event"].sum()),
                "n_high_risk": int(high.sum()),
                "events_high_risk": int(part.loc[high, "event"].sum()),
                **_near_cutoff(part, cut_off),
                "hr": fit["hr"],
                "hr_low": fit["low"],
                "hr_high": fit["high"],
                "p": fit["p"],
                "p_logrank": logrank_p(part, OUTCOME, high, statistics.cox),
                **_median("median_follow_up", follow_up),
                "hr_per_sd": score["hr"],
                "hr_per_sd_low": score["low"],
                "hr_per_sd_high": score["high"],
                "p_per_sd": score["p"],
                **_median("median_high_risk", _median_of(part[high], statistics)),
                **_median("median_low_risk", _median_of(part[~high], statistics)),
            }
        )
    return pd.DataFrame(rows)


def cuts_of(table: pd.DataFrame, rule: RiskGroups) -> list[float]:
    """Cuts of the risk by a rule other than the training median, of which there are none."""
    if isinstance(rule, list):
        return rule
    trained = table.loc[table["split"] == "train", "risk"] if (table["split"] == "train").any() else table["risk"]
    return [float(cut) for cut in trained.quantile([1 / 3, 2 / 3])] if rule == "tertiles" else []


def group_names(cuts: Sequence[float]) -> dict[int, str]:
    """Name of each group by its number, from the lowest risk on."""
    middle = ["Intermediate risk"] if len(cuts) == 2 else [f"Risk group {k}" for k in range(2, len(cuts) + 1)]
    return dict(enumerate(["Low risk", *middle, "High risk"]))


def groups_by(risk: pd.Series, cuts: Sequence[float]) -> pd.Series:
    """Number of each patient's group; a risk on a cut is of the lower one, as on the median."""
    return sum((high_risk(risk, cut).astype(int) for cut in cuts), pd.Series(0, risk.index))


def risk_group_models(
    table: pd.DataFrame, cohort: CohortParams, cut_off: float, statistics: StatisticsParams, rule: RiskGroups
) -> pd.DataFrame:
    """Each risk group against the lowest, by split: hazard ratio, adjusted too, proportional hazards, restricted means.

    ``table`` has split, risk, time_months, event and the covariates. Columns set, group, above (the cut below the
    group), n, events; hr, low, high, p; adjusted_ the same beside ``statistics.adjust_for`` in complete cases (n,
    events); p_proportional and p_logrank of all groups of the set; rmst to ``statistics.rmst_months`` and its
    difference from the lowest group. NaN where there is none.
    """
    cuts, rows = cuts_of(table, rule) or [cut_off], []
    for name in cohort.splits:
        part = table[table["split"] == name].reset_index(drop=True)
        if part.empty:
            continue
        number = groups_by(part["risk"], cuts)
        dummies = pd.get_dummies(number).drop(columns=0, errors="ignore").astype(float).add_prefix("group ")
        time, event, level = part["time_months"], part["event"], statistics.confidence
        covariates = covariate_table(part, statistics.adjust_for)
        complete = covariates.notna().all(axis=1)
        plain, beside, proportional = _no_ratio(), _no_ratio(), np.nan
        if 0 in set(number) and len(dummies.columns):
            plain = adjusted(part, OUTCOME, dummies, statistics)
            beside = adjusted(part[complete], OUTCOME, covariates.join(dummies)[complete], statistics)
            with contextlib.suppress(NoFiniteEstimate):
                proportional = float(proportional_hazards_test(time, event, dummies)["p"].iloc[-1])
        for k, label in group_names(cuts).items():
            own, column = number == k, f"group {k}"
            row = {"set": name, "group": label, "above": cuts[k - 1] if k else np.nan}
            row |= {"n": int(own.sum()), "events": int(event[own].sum())}
            row |= {c: plain[c].get(column, np.nan) for c in RATIO}
            row |= {f"adjusted_{c}": beside[c].get(column, np.nan) for c in ("n", "n_events", *RATIO)}
            row["p_proportional"] = proportional
            row["p_logrank"] = logrank_p(part, OUTCOME, number, statistics.cox)
            both, horizon = own | (number == 0), statistics.rmst_months
            mean = evaluation.restricted_mean_difference(time[both], event[both], own[both], horizon, level)
            row |= {f"rmst_{c}": mean[c] for c in RMST}
            rows.append(without(row, statistics.cox))
    return pd.DataFrame(rows).rename(columns={"adjusted_n_events": "adjusted_events"})


def _no_ratio() -> pd.DataFrame:
    return pd.DataFrame(columns=["n", "n_events", *RATIO], dtype=float)


def _near_cutoff(part: pd.DataFrame, cut_off: float) -> dict[str, float]:
    if part.empty or part["spread"].isna().any():
        return {"n_near_cutoff": np.nan, "share_near_cutoff": np.nan}
    near = near_cutoff(part["risk"], part["spread"], cut_off)
    return {"n_near_cutoff": int(near.sum()), "share_near_cutoff": float(near.mean())}


def _median_of(part: pd.DataFrame, statistics: StatisticsParams) -> tuple[float, float, float]:
    if part.empty:
        return np.nan, np.nan, np.nan
    late = late_of(part, statistics.cox)
    return survival.median_interval(part["time_months"], part["event"], statistics.confidence, **late)


def _median(name: str, interval: tuple[float, float, float]) -> dict[str, float]:
    return dict(zip((f"{name}_months", f"{name}_low", f"{name}_high"), interval, strict=True))
