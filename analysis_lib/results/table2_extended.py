"""The extended Table 2: each definition as a reviewer would want it.

Notebooks call these functions and show what they return; nothing here draws or writes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis_lib.common.distributions import chi2
from analysis_lib.common.formatting import NOT_AVAILABLE, format_count, format_p, format_ratio, significance
from analysis_lib.common.keep import keeping
from analysis_lib.common.sarcopenia import cut_offs, sarcopenic
from analysis_lib.core.parameters import CohortParams, DefinitionParams, StatisticsParams
from analysis_lib.results.cox_options import (
    RATIO,
    adjusted,
    binary,
    late_of,
    logrank_p,
    observed,
    options_of,
    per_unit,
    without,
)
from analysis_lib.survival import evaluation, survival
from analysis_lib.survival.cox import NoFiniteEstimate, cox_fit, firth_binary, proportional_hazards_test
from analysis_lib.survival.imputation import imputed_ratio

NAN = float("nan")
COVARIATES = {
    "age": "age",
    "male": "sex",
    "bmi": "BMI",
    "tumour_diameter_over_5cm": "tumour size",
    "tumour_single": "tumour number",
    "vascular_invasion": "vascular invasion",
}


def covariate_table(patients: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """The adjustment covariates as numbers (sex as ``male``); one that no patient has, or all alike, is left out."""
    table = pd.DataFrame(index=patients.index)
    for name in names:
        if name == "sex":
            table["male"] = (patients["sex"] == "M").astype(float)
        elif name in patients:
            table[name] = patients[name].astype(float)
    return table.loc[:, table.nunique(dropna=True) > 1]


def extended_table(
    patients: pd.DataFrame,
    definitions: dict[str, DefinitionParams],
    further: dict[str, DefinitionParams],
    cohort: CohortParams,
    statistics: StatisticsParams,
    seed: int,
    kept: Path | None = None,
) -> pd.DataFrame:
    """One row a set, definition and outcome, the paper's definitions first, then the ``further`` ones.

    Counts; univariable hazard ratio (Cox, Wald) with log-rank P and, over the family, Benjamini-Hochberg's;
    Firth's where a group has few events; the Schoenfeld test; the hazard ratio adjusted for
    ``statistics.adjust_for`` in complete cases (cc_) and after multiple imputation (mi_); the index per SD
    (of the distance below the cut-off of the patient's sex, so above 1 means that less muscle is worse) and the
    P value of its curvature; median survival and restricted mean survival. What cannot be estimated is NaN.
    A family is one set and outcome, for the paper's definitions and for all of them (p_bh_all).

    Imputation takes most of the time: ``kept`` is a folder for its answers, so that a new cut-off of one definition
    imputes for that definition alone.
    """
    imputed = keeping(imputed_ratio, kept)
    rows = []
    everyone = {**definitions, **further}
    for name in cohort.sets:
        part = patients[patients["set"] == name]
        for outcome in statistics.outcomes:
            for key, definition in everyone.items():
                row = _row(part, definition, outcome, statistics, seed, imputed)
                if row:
                    first = {
                        "set": name,
                        "definition": key,
                        "source": definition.source,
                        "in_paper": key in definitions,
                    }
                    rows.append(first | row)
    table = pd.DataFrame(rows)
    for column in ("p", "mi_p"):
        place = table.columns.get_loc(column) + 1
        table.insert(place, f"{column}_bh_all", _adjusted(table, column, pd.Series(True, table.index)))
        table.insert(place, f"{column}_bh", _adjusted(table, column, table["in_paper"]))
    return table


def _adjusted(table: pd.DataFrame, column: str, members: pd.Series) -> pd.Series:
    result = pd.Series(NAN, table.index)
    for _, part in table[members].groupby(["set", "outcome"], sort=False):
        result[part.index] = evaluation.benjamini_hochberg(part[column])
    return result


def _row(
    patients: pd.DataFrame,
    definition: DefinitionParams,
    outcome: str,
    statistics: StatisticsParams,
    seed: int,
    imputed: Callable[..., dict],
) -> dict | None:
    months, event = statistics.outcomes[outcome].columns
    group = sarcopenic(patients, definition)
    part = patients[patients[months].notna() & patients[event].notna() & group.notna()]
    part, cox = part[observed(part, months, statistics.cox)], statistics.cox
    if part.empty:
        return None
    group = group[part.index].astype(bool).to_numpy()
    time, dead = part[months].to_numpy(float), part[event].to_numpy(float)
    level = statistics.confidence
    fit = binary(part, (months, event), group, statistics)
    row = {
        "outcome": outcome,
        "n": fit["n"],
        "events": fit["n_events"],
        "n_sarcopenic": fit["n_group"],
        "events_sarcopenic": fit["events_group"],
        "prevalence": fit["n_group"] / fit["n"],
    }
    row |= {"hr": fit["hr"], "hr_low": fit["low"], "hr_high": fit["high"], "p": fit["p"]}
    row["p_logrank"] = logrank_p(part, (months, event), group, cox)
    fewest = min(fit["events_group"], fit["n_events"] - fit["events_group"])
    rare = fewest < statistics.firth_below_events
    firth = firth_binary(time, dead, group, level) if rare else dict.fromkeys(RATIO, NAN)
    row |= {f"firth_{k}": firth[k] for k in RATIO}
    row["p_proportional"] = _schoenfeld(time, dead, group) if np.isfinite(fit["hr"]) else NAN
    row |= _adjusted_ratios(part, (months, event), group, statistics, seed, imputed)
    row |= _continuous(part, (months, event), definition, statistics)
    for label, chosen in (("sarcopenic", group), ("others", ~group)):
        late = late_of(part[chosen], cox)
        median = survival.median_interval(time[chosen], dead[chosen], level, **late) if chosen.any() else (NAN,) * 3
        row |= dict(zip((f"median_{label}{end}" for end in ("", "_low", "_high")), median, strict=True))
    gap = evaluation.restricted_mean_difference(time, dead, group, statistics.rmst_months, level)
    row |= {"rmst_sarcopenic": gap["rmst_group"], "rmst_others": gap["rmst_others"]}
    row |= {f"rmst_{k}": gap[k] for k in ("difference", "low", "high", "p")}
    notes = [fit["note"] or ("Firth: a group has few events" if rare else "")]
    if row["cc_events_per_variable"] < statistics.events_per_variable:
        notes += [f"adjusted: fewer than {statistics.events_per_variable:g} events for each covariate"]
    row["note"] = "; ".join(filter(None, notes))
    return without(row, cox)


def _schoenfeld(time: np.ndarray, dead: np.ndarray, group: np.ndarray) -> float:
    try:
        return float(proportional_hazards_test(time, dead, pd.DataFrame({"group": group}))["p"].iloc[0])
    except NoFiniteEstimate:
        return NAN


def _adjusted_ratios(
    part: pd.DataFrame,
    outcome: tuple[str, str],
    group: np.ndarray,
    statistics: StatisticsParams,
    seed: int,
    imputed: Callable[..., dict],
) -> dict:
    """Adjusted hazard ratio in complete cases (cc_) and pooled over imputed data sets (mi_), with counts."""
    time, dead = (part[column].to_numpy(float) for column in outcome)
    covariates = covariate_table(part, statistics.adjust_for)
    row: dict[str, Any] = {"covariates": " ".join(covariates.columns)}
    row |= {"cc_n": 0, "cc_events": 0, "cc_events_per_variable": NAN} | {f"cc_{k}": NAN for k in RATIO}
    row |= (
        {"mi_events_per_variable": NAN, "mi_n": len(part), "mi_imputed": 0, "mi_m": 0}
        | {f"mi_{k}": NAN for k in RATIO}
        | {"mi_fmi": NAN}
    )
    if covariates.empty or group.all() or not group.any():
        return row
    complete = covariates.notna().all(axis=1).to_numpy()
    row |= {"cc_n": int(complete.sum()), "cc_events": int(dead[complete].sum())}
    variables = covariates.shape[1] + 1
    row |= {"cc_events_per_variable": row["cc_events"] / variables, "mi_events_per_variable": dead.sum() / variables}
    table = covariates.assign(group=group.astype(float))
    fits = adjusted(part[complete], outcome, table[complete], statistics)
    row |= {f"cc_{k}": v for k, v in fits.loc["group", list(RATIO)].items()}
    row["mi_imputed"] = int((~complete).sum())
    if complete.all():  # nothing to impute: the two are one
        return row | {"mi_m": 1, "mi_fmi": 0.0} | {f"mi_{k}": row[f"cc_{k}"] for k in RATIO}
    how = (statistics.imputations, statistics.imputation_rounds, seed)
    options = options_of(part, statistics.cox)
    return row | imputed(time, dead, table.to_numpy(), tuple(table), statistics.confidence, how, options)


def _continuous(
    part: pd.DataFrame, outcome: tuple[str, str], definition: DefinitionParams, statistics: StatisticsParams
) -> dict:
    time, dead = (part[column].to_numpy(float) for column in outcome)
    below = (cut_offs(part, definition) - part[definition.column]).to_numpy(float)
    line = survival.cox_continuous(time, dead, below, statistics.confidence)
    ratio = per_unit(part, outcome, below / (line["sd"] or 1.0), statistics) if statistics.cox.given else line
    row = {f"per_sd_{k}": ratio[k] for k in RATIO} | {"index_sd": line["sd"], "p_curvature": NAN}
    try:
        knots = np.quantile(below, statistics.spline_knots)
        curve = cox_fit(time, dead, evaluation.restricted_cubic_spline(below, knots))
        statistic = 2 * (curve.loglik - cox_fit(time, dead, below).loglik)
        row["p_curvature"] = float(chi2.sf(statistic, len(knots) - 2))
    except (NoFiniteEstimate, ValueError):
        pass
    return row


def adjustment_summary(table: pd.DataFrame, cohort: CohortParams, confidence: float) -> pd.DataFrame:
    """What the paper's adjusted hazard ratios rest on, and what stays: one row a set and outcome, in words."""
    rows = []
    for (name, outcome), part in table[table["in_paper"]].groupby(["set", "outcome"], sort=False):
        row = {"set": cohort.label(name), "outcome": outcome}
        for first in part[part["mi_m"] > 0].head(1).itertuples():
            row["adjusted for"] = ", ".join(COVARIATES[c] for c in first.covariates.split())
            row["complete cases (events)"] = f"{first.cc_n} ({first.cc_events})"
            row["imputed"] = f"{first.mi_imputed} of {first.mi_n} (m = {first.mi_m})"
            few = first.cc_events_per_variable, first.mi_events_per_variable
            row["events for each covariate"] = " / ".join(f"{value:.1f}" for value in few)
        for column, what in (
            ("p_bh", "significant, Benjamini-Hochberg"),
            ("p_proportional", "hazards not proportional"),
        ):
            row[what] = ", ".join(part.loc[part[column] < significance(confidence), "definition"]) or "none"
        rows.append(row)
    return pd.DataFrame(rows)


def extended_for_reading(table: pd.DataFrame, labels: dict[str, str]) -> pd.DataFrame:
    """The extended table as a journal would print it, one row a set, outcome and definition."""

    def ratio(row: pd.Series, prefix: str, low: str = "low", high: str = "high") -> str:
        if pd.isna(row[f"{prefix}hr"]):
            return NOT_AVAILABLE
        interval = format_ratio(row[f"{prefix}hr"], row[f"{prefix}{low}"], row[f"{prefix}{high}"])
        return f"{interval} {format_p(row[f'{prefix}p'])}"

    def months(row: pd.Series, group: str) -> str:
        median, low, high = (row[f"median_{group}{end}"] for end in ("", "_low", "_high"))
        if pd.isna(median):
            return "not reached" + ("" if pd.isna(low) else f" (from {low:.1f})")
        # a curve that falls from 1 to 0 at one death has no variance, and so no limits there
        first = "unknown" if pd.isna(low) else format(low, ".1f")
        return f"{median:.1f} ({first} to {'not reached' if pd.isna(high) else format(high, '.1f')})"

    rows = []
    for _, row in table.iterrows():
        few = f"{row['mi_n']} ({row['mi_imputed']} imputed, m = {row['mi_m']})" if row["mi_m"] else NOT_AVAILABLE
        medians = f"{months(row, 'sarcopenic')} / {months(row, 'others')}"
        both = 0 < row["n_sarcopenic"] < row["n"]
        rows.append(
            {
                "Set": labels[row["set"]],
                "Outcome": row["outcome"],
                "Definition": f"{row['definition']} ({row['source']})" + ("" if row["in_paper"] else " *"),
                "Sarcopenic, N (%)": format_count(row["n_sarcopenic"], row["prevalence"]),
                "Events, sarcopenic / all": f"{row['events_sarcopenic']} / {row['events']}",
                "HR (CI)": ratio(row, "", "hr_low", "hr_high"),
                "P, log-rank": format_p(row["p_logrank"], letter=False),
                "P, Benjamini-Hochberg": format_p(row["p_bh"] if row["in_paper"] else row["p_bh_all"], letter=False),
                "HR, Firth": ratio(row, "firth_"),
                "P, proportional hazards": format_p(row["p_proportional"], letter=False),
                "Adjusted HR, complete cases": ratio(row, "cc_"),
                "Complete cases, n (events)": f"{row['cc_n']} ({row['cc_events']})" if row["cc_n"] else NOT_AVAILABLE,
                "Events for each covariate, complete cases / imputed": NOT_AVAILABLE
                if pd.isna(row["cc_events_per_variable"])
                else f"{row['cc_events_per_variable']:.1f} / {row['mi_events_per_variable']:.1f}",
                "Adjusted HR, imputed": ratio(row, "mi_"),
                "Patients (imputed)": few,
                "Adjusted for": ", ".join(COVARIATES[c] for c in row["covariates"].split()) or NOT_AVAILABLE,
                "HR per SD less": ratio(row, "per_sd_"),
                "P, curvature": format_p(row["p_curvature"], letter=False),
                "Median (CI), months, sarcopenic / others": medians if both else NOT_AVAILABLE,
                "RMST difference, months": NOT_AVAILABLE
                if pd.isna(row["rmst_difference"])
                else f"{row['rmst_difference']:.1f} ({row['rmst_low']:.1f} to {row['rmst_high']:.1f}) "
                f"{format_p(row['rmst_p'])}",
            }
        )
    return pd.DataFrame(rows)
