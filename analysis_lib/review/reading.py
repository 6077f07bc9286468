"""Tables as a report shows them: columns in words, an estimate with its interval in one cell, and no digit too many."""

from __future__ import annotations

import math
import re

import pandas as pd

from analysis_lib.common.formatting import NOT_AVAILABLE, absent, format_p
from analysis_lib.core.parameters import CohortParams

# What a column is called; others are named by their own words.
WORDS = {
    "set": "Set",
    "split": "Set",
    "n": "Patients",
    "events": "Events",
    "hr": "Hazard ratio",
    "p": "P",
    "auc": "AUC",
    "c_index": "C-index",
    "harrell": "Harrell's C-index",
    "uno": "Uno's C-index",
    "icc": "ICC",
    "ici": "Integrated calibration index",
    "nri": "Net reclassification",
    "nri_event": "of events",
    "nri_nonevent": "of non-events",
    "chisq": "Chi-squared",
    "chisq_base": "Chi-squared without it",
    "df": "Degrees of freedom",
    "null": "Kaplan-Meier's score",
    "brier": "Brier score",
    "pca": "Principal components",
    "autoencoder": "AutoEncoder",
    "ours": "This run",
    "inside": "Printed value in our interval",
    "ratio": "Observed over predicted",
    "slope": "Calibration slope",
    "tau_months": "Up to, months",
    "from": "From, months",
    "to": "To, months",
    "month": "Month",
    "n_near_cutoff": "Near the cut-off",
    "share_near_cutoff": "Share near the cut-off",
    "hr_per_sd": "Hazard ratio per SD",
    "p_per_sd": "P per SD",
    "p_logrank": "Log-rank P",
    "p_permutation": "Permutation P",
    "known_by_rule": "Cause by rule",
    "naive": "Naive estimate",
    "n_sarcopenic": "Sarcopenic",
    "seconds": "Seconds",
}
ABBREVIATIONS = {
    "hr": "HR",
    "auc": "AUC",
    "p": "P",
    "sd": "SD",
    "icc": "ICC",
    "rmst": "RMST",
    "bca": "BCa",
    "c": "C",
    "n": "N",
    "d": "D",
}
ABBREVIATIONS |= {"logrank": "log-rank", "cutoff": "cut-off"}
IS_P = re.compile(r"(p|p_.*|.*_p)")


def for_reading(table: pd.DataFrame, cohort: CohortParams, confidence: float) -> pd.DataFrame:
    """A table of text: sets by their labels, columns in words, interval ends beside their estimate, P as printed.

    An end belongs to the column before it (``auc, low, high`` or ``hr, hr_low, hr_high``); further intervals of
    the same estimate (``bca_low``) are columns of their own. A column without any value is left out.
    """
    names = {*cohort.sets, "train", "internal"}
    said: dict[str, list[str]] = {}
    columns = [c for c in table.columns if table[c].notna().any() or c.endswith(("_low", "_high", "_months"))]
    ends = f"({100 * confidence:g}% interval)"
    k = 0
    while k < len(columns):
        column = columns[k]
        values = table[column]
        following = columns[k + 1 : k + 3]
        title = _title(column, cohort, names)
        stem = column.removesuffix("_months")
        if following in ([f"{stem}_low", f"{stem}_high"], ["low", "high"]):
            digits = _digits(values)
            said[f"{title} {ends}"] = [_estimate(row, digits) for row in table[[column, *following]].to_numpy()]
            k += 3
            continue
        other = re.sub("low", "high", column)
        if other != column and following[:1] == [other] and column.startswith("low_") | column.endswith("_low"):
            which = _title(column.removesuffix("_low").removeprefix("low_"), cohort, names)
            digits = _digits(values)
            said[f"{which} interval"] = [_span(row, digits) for row in table[[column, following[0]]].to_numpy()]
            k += 2
            continue
        if column in ("set", "split"):
            said[title] = [cohort.label(v) if v in names else str(v) for v in values]
        elif IS_P.fullmatch(column) and pd.api.types.is_numeric_dtype(values):
            said[title] = [format_p(v, letter=False) for v in values]
        else:
            said[title] = [_text(v, column) for v in values]
        k += 1
    return pd.DataFrame(said)


def number(value: object) -> str:
    """A cell: three significant digits and no exponent, whole numbers whole, yes and no, 'NA' for what is missing."""
    if absent(value):
        return NOT_AVAILABLE
    if str(value) in ("True", "False"):
        return "yes" if str(value) == "True" else "no"
    if not isinstance(value, float):
        return str(value)
    if not math.isfinite(value):
        return "infinite"
    if value == int(value):
        return f"{value:.0f}"
    if abs(value) < 0.001:
        return "<0.001" if value > 0 else ">−0.001"
    return f"{value:.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"


def _text(value: object, column: str) -> str:
    if column == "note" and absent(value):
        return ""
    return number(value).replace("_", " ") if column == "covariates" else number(value)


def _title(column: str, cohort: CohortParams, names: set[str]) -> str:
    if column in names:
        return cohort.label(column)
    if column in WORDS:
        return WORDS[column]
    words = [ABBREVIATIONS.get(word, word) for word in column.split("_")]
    text = " ".join(words)
    return text if text[:3] == "BCa" else text[:1].upper() + text[1:]


def _digits(values: pd.Series) -> int:
    """Decimals of an estimate and its interval: two, three where most lie below 1."""
    return 2 if values.abs().quantile(0.5) >= 1 else 3  # median() warns where there is none


def _cell(value: float, digits: int) -> str:
    if absent(value):
        return NOT_AVAILABLE
    return f"{value:.{digits}f}" if abs(value) < 1000 else f"{value:.0f}"


def _span(row, digits: int) -> str:
    return NOT_AVAILABLE if absent(row[0]) and absent(row[1]) else "–".join(_cell(value, digits) for value in row)


def _estimate(row, digits: int) -> str:
    if absent(row[0]):
        return NOT_AVAILABLE
    if absent(row[1]) and absent(row[2]):
        return number(row[0])
    return f"{_cell(row[0], digits)} ({_span(row[1:], digits)})"
