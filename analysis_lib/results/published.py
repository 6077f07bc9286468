"""The letter's printed numbers beside this study's.

Printed values come from ``params/published.yaml`` and are only ever compared, never used.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import yaml
from scipy import stats

from analysis_lib.core.parameters import PARAMS_DIR
from analysis_lib.results import MODEL

COLUMNS = ["item", "published", "ours", "low", "high", "inside", "difference"]
NAMES = {
    "age": "age, years",
    "bmi": "BMI, kg/m²",
    "male": "male",
    "female": "female",
    "tumour_diameter_over_5cm": "tumour diameter > 5 cm",
    "tumour_single": "single tumour",
    "vascular_invasion": "vascular invasion",
}


def printed_numbers() -> dict:
    """Contents of ``params/published.yaml``."""
    return yaml.safe_load((PARAMS_DIR / "published.yaml").read_text(encoding="utf-8"))


def compare(
    patients: pd.DataFrame,
    table2: pd.DataFrame,
    c_index: pd.DataFrame,
    confidence: float,
    model: str = "TFDeepSurv",
) -> pd.DataFrame:
    """Every printed number beside ours.

    Parameters
    ----------
    patients : analysed patients (patients.parquet).
    table2, c_index : as in table2.csv and c_index.csv.
    confidence : level of the intervals of means and percentages.

    Returns columns item, published, ours, low, high (our interval), inside (whether the printed value lies
    in it) and difference (ours - published). Counts, interval ends and P values have no interval of their
    own: low, high and inside are empty there. Ours is empty where this run has no such set or value.
    """
    printed = printed_numbers()
    rows: list[list] = []
    for name, cells in printed["table1"].items():
        rows += _table1_rows(name, cells, patients[patients["set"] == name], confidence)
    ours2 = table2.set_index(["set", "definition", "outcome"])
    for name, definitions in printed["table2"].items():
        for definition, cells in definitions.items():
            rows += _table2_rows(name, definition, cells, ours2, confidence)
    ours_c = c_index[c_index["model"] == model].set_index("set")
    for name, (value, low, high) in printed["c_index"].items():
        ours = ours_c.loc[name] if name in ours_c.index else pd.Series(np.nan, index=["c_index", "low", "high"])
        label = f"Fig. 5 {name} {model} C-index"
        rows.append([label, value, ours["c_index"], ours["low"], ours["high"]])
        rows.append([f"{label}, interval low", low, ours["low"], np.nan, np.nan])
        rows.append([f"{label}, interval high", high, ours["high"], np.nan, np.nan])
    table = pd.DataFrame(rows, columns=COLUMNS[:5]).astype(dict.fromkeys(COLUMNS[1:5], float))
    known = table[["ours", "low", "high"]].notna().all(axis=1)
    table["inside"] = table["published"].between(table["low"], table["high"]).astype("boolean").mask(~known)
    table["difference"] = table["ours"] - table["published"]
    return table


def _table1_rows(name: str, cells: dict, part: pd.DataFrame, confidence: float) -> list[list]:
    rows: list[list] = [[f"Table 1 {name} patients, n", cells["n"], len(part) or np.nan, np.nan, np.nan]]
    for key in ("age", "bmi"):
        mean, sd = cells[key]
        known = part[key].dropna()
        ours = [np.nan] * 3
        if len(known) > 1:
            half = stats.t.ppf((1 + confidence) / 2, len(known) - 1) * known.std(ddof=1) / np.sqrt(len(known))
            ours = [known.mean(), known.mean() - half, known.mean() + half]
        rows.append([f"Table 1 {name} {NAMES[key]}, mean", mean, *ours])
        rows.append([f"Table 1 {name} {NAMES[key]}, SD", sd, known.std(ddof=1), np.nan, np.nan])
    for key, label in list(NAMES.items())[2:]:
        if key not in cells:
            continue
        column = part["sex"].eq(key[0].upper()).astype(float) if key in ("male", "female") else part[key]
        known = column.dropna()
        rows.append(
            [
                f"Table 1 {name} {label}, n",
                cells[key][0],
                known.sum() if len(known) else np.nan,
                np.nan,
                np.nan,
            ]
        )
        rows.append([f"Table 1 {name} {label}, %", cells[key][1], *_percentage(known.sum(), len(known), confidence)])
    return rows


def _table2_rows(name: str, definition: str, cells: dict, ours: pd.DataFrame, confidence: float) -> list[list]:
    label = f"Table 2 {name} {definition}"
    empty = pd.Series(np.nan, index=ours.columns)

    def row_of(outcome: str) -> pd.Series:
        return ours.loc[(name, definition, outcome)] if (name, definition, outcome) in ours.index else empty

    os = row_of("OS")
    rows: list[list] = [[f"{label} sarcopenic, n", cells["n"][0], os["n_sarcopenic"], np.nan, np.nan]]
    rows.append([f"{label} sarcopenic, %", cells["n"][1], *_percentage(os["n_sarcopenic"], os["n"], confidence)])
    for outcome in ("RFS", "OS"):
        if outcome not in cells:
            continue
        hr, low, high, p = cells[outcome]
        row = row_of(outcome)
        rows.append([f"{label} {outcome} HR", hr, row["hr"], row["hr_low"], row["hr_high"]])
        rows.append([f"{label} {outcome} HR, interval low", low, row["hr_low"], np.nan, np.nan])
        rows.append([f"{label} {outcome} HR, interval high", high, row["hr_high"], np.nan, np.nan])
        rows.append([f"{label} {outcome} P", p, row["p"], np.nan, np.nan])
    return rows


def _percentage(count: float, total: float, confidence: float) -> list[float]:
    """Percentage with its Wilson interval."""
    if not total > 0 or np.isnan(count):
        return [np.nan] * 3
    interval = stats.binomtest(int(count), int(total)).proportion_ci(confidence, method="wilson")
    return [100 * count / total, 100 * interval.low, 100 * interval.high]


def published_intervals(intervals: pd.DataFrame, printed: dict[str, list[float]]) -> pd.DataFrame:
    """The letter's C-indices with their intervals beside this run's, and the width of each.

    ``intervals`` as from ``discrimination.c_index_intervals``; ``printed`` maps set to value, low, high.
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
