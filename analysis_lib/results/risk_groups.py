"""Fig. 4c-f: the groups of high and low risk, cut at the training median, and their hazard ratios."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis_lib.core.parameters import CohortParams, StatisticsParams
from analysis_lib.coxnet.cutoff import high_risk, near_cutoff
from analysis_lib.results.kaplan_meier import panels_of
from analysis_lib.survival import survival

RISK_GROUPS = {False: "Low risk", True: "High risk"}  # in drawing order


def risk_group_curves(
    table: pd.DataFrame,
    cohort: CohortParams,
    cut_off: float,
    statistics: StatisticsParams,
    ticks: list[float],
) -> dict[str, pd.DataFrame]:
    """Kaplan-Meier panels of OS in the risk groups, a panel a split; ``table`` has split, risk, spread and os_*.

    ``annotations`` has a column below: how many patients are near the cut-off, empty where that is not known.
    """
    panels, below = {}, []
    for name in cohort.splits:
        part = table[table["split"] == name]
        group = high_risk(part["risk"], cut_off)
        frame = pd.DataFrame({"months": part["os_months"], "event": part["os_event"], "group": group})
        panels[name] = (f"{cohort.label(name)} (n = {len(part)})", frame)
        near = _near_cutoff(part, cut_off)
        text = f"{near['n_near_cutoff']:.0f} of {len(part)} ({near['share_near_cutoff']:.0%})"
        known = not np.isnan(near["share_near_cutoff"])
        below.append(f"Within the ensemble’s spread (SD) of the cut-off: {text}" if known else "")
    frames = panels_of(panels, RISK_GROUPS, statistics, ticks)
    return frames | {"annotations": frames["annotations"].assign(below=below)}


def risk_group_table(
    table: pd.DataFrame, cohort: CohortParams, cut_off: float, statistics: StatisticsParams
) -> pd.DataFrame:
    """Risk groups at the training median, by split: sizes, deaths, HR, log-rank P, follow-up in months.

    ``table`` has split, risk, spread and os_*. ``n_near_cutoff`` are the patients whose risk lies no further from the
    cut-off than its spread over the networks, NaN where there is no spread (one network alone). ``hr_per_sd`` is the
    hazard ratio of the risk as a continuous score, for one SD of the training patients, or of all where nobody was
    trained on. Medians have intervals; a
    median or limit that is not reached is NaN.
    """
    rows = []
    trained = table["split"] == "train"
    sd = (table[trained] if cohort.trained else table)["risk"].std()
    for name in cohort.splits:
        part = table[table["split"] == name]
        if part.empty:
            continue
        high = high_risk(part["risk"], cut_off)
        fit = survival.cox_binary(part["os_months"], part["os_event"], high, statistics.confidence)
        score = survival.cox_continuous(
            part["os_months"], part["os_event"], part["risk"] / sd, statistics.confidence, per_sd=False
        )
        follow_up = survival.median_follow_up(part["os_months"], part["os_event"], statistics.confidence)
        rows.append(
            {
                "set": name,
                "n": len(part),
                "events": int(part["os_event"].sum()),
                "n_high_risk": int(high.sum()),
                "events_high_risk": int(part.loc[high, "os_event"].sum()),
                **_near_cutoff(part, cut_off),
                "hr": fit["hr"],
                "hr_low": fit["low"],
                "hr_high": fit["high"],
                "p": fit["p"],
                "p_logrank": survival.logrank_p(part["os_months"], part["os_event"], high),
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


def _near_cutoff(part: pd.DataFrame, cut_off: float) -> dict[str, float]:
    if part.empty or part["spread"].isna().any():
        return {"n_near_cutoff": np.nan, "share_near_cutoff": np.nan}
    near = near_cutoff(part["risk"], part["spread"], cut_off)
    return {"n_near_cutoff": int(near.sum()), "share_near_cutoff": float(near.mean())}


def _median_of(part: pd.DataFrame, statistics: StatisticsParams) -> tuple[float, float, float]:
    if part.empty:
        return np.nan, np.nan, np.nan
    return survival.median_interval(part["os_months"], part["os_event"], statistics.confidence)


def _median(name: str, interval: tuple[float, float, float]) -> dict[str, float]:
    return dict(zip((f"{name}_months", f"{name}_low", f"{name}_high"), interval, strict=True))
