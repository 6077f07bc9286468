"""A paper's printed numbers beside this study's: the letter's, or those that the parameter ``published`` names.

Printed values come from ``params/published.yaml`` and the like and are only ever compared, never used.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import yaml

from analysis_lib.common.distributions import norm, student
from analysis_lib.common.errors import ParameterError, suggest
from analysis_lib.core.parameters import PARAMS_DIR
from analysis_lib.core.question_params import Endpoint
from analysis_lib.results import MODEL
from analysis_lib.survival.survival import cox_continuous

KEYS = ["table", "set", "marker", "outcome", "quantity", "statistic"]
COLUMNS = ["item", "published", "ours", "low", "high", "inside", "difference"]
PRINTED_THRESHOLD_CM = 5.0
NAMES = {
    "age": "age",
    "bmi": "BMI",
    "male": "male",
    "female": "female",
    "tumour_diameter_over_5cm": "tumour diameter > 5 cm",
    "tumour_single": "single tumour",
    "vascular_invasion": "vascular invasion",
}
UNITS = {"age": "years", "bmi": "kg/m²"}
SEXES = {"male": "M", "female": "F"}
UNKNOWN = (np.nan, np.nan, np.nan)


def printed_numbers(name: str = "published", endpoint: Endpoint | None = None) -> dict:
    """Contents of ``params/<name>.yaml``, each table that the paper does not have empty; ParameterError without it.

    A C-index of survival is none of another ``endpoint``.
    """
    path = PARAMS_DIR / f"{name}.yaml"
    if not path.is_file():
        known = sorted(other.stem for other in PARAMS_DIR.glob("published*.yaml"))
        raise ParameterError(f"published: there is no params/{name}.yaml{suggest(name, known)}")
    printed = yaml.safe_load(path.read_text(encoding="utf-8"))
    others: dict = {"c_index": {}} if endpoint not in (None, Endpoint()) else {}
    return dict.fromkeys(("table1", "table2", "c_index", "per_sd"), {}) | printed | others


def letter_c_index(name: str, endpoint: Endpoint | None = None) -> tuple[float, float, float] | None:
    """The letter's C-index in its internal test set with its interval; None beside another paper or endpoint."""
    printed, letter = printed_numbers(name), printed_numbers(endpoint=endpoint)
    return tuple(letter["c_index"]["internal"]) if letter["c_index"] and printed["doi"] == letter["doi"] else None


def compare(
    patients: pd.DataFrame,
    table2: pd.DataFrame,
    c_index: pd.DataFrame,
    confidence: float,
    tumour_threshold_cm: float = PRINTED_THRESHOLD_CM,
    printed: dict | None = None,
) -> pd.DataFrame:
    """Every printed number beside ours.

    Parameters
    ----------
    patients : analysed patients (patients.parquet).
    table2, c_index : as in table2.csv and c_index.csv.
    confidence : level of the intervals of means and percentages.
    tumour_threshold_cm : what a tumour diameter was compared with; at another than the letter's there is none of ours.
    printed : as from ``printed_numbers``, which is the default.

    Returns one row a printed number. What it is: table (of the letter, or figure), set, marker (definition of
    sarcopenia or model), outcome, quantity (patients, a key of NAMES, sarcopenic, HR, HR per SD, C-index) and
    statistic (n, %, mean, SD, estimate, low, high, P), empty where there is none; item says the same in words. Its
    values: published, ours, low, high (our interval), inside (whether the printed value lies in it) and difference
    (ours - published). Counts, interval ends and P values have no interval of their own: low, high and inside are empty
    there. Ours is empty where this run has no such set or value.
    """
    if tumour_threshold_cm != PRINTED_THRESHOLD_CM:
        patients = patients.assign(tumour_diameter_over_5cm=np.nan)
    printed = printed or printed_numbers()
    rows: list[tuple] = []
    for name, cells in printed["table1"].items():
        rows += _table1_rows(name, cells, patients[patients["set"] == name], confidence)
    ours2 = table2.set_index(["set", "definition", "outcome"])
    for name, definitions in printed["table2"].items():
        for definition, cells in definitions.items():
            rows += _table2_rows(name, definition, cells, ours2, confidence)
    ours_c = c_index[c_index["model"] == MODEL].set_index("set")
    for name, values in printed["c_index"].items():
        ours = ours_c.loc[name, ["c_index", "low", "high"]] if name in ours_c.index else UNKNOWN
        rows += _estimate(("Fig. 5", name, MODEL, "", "C-index"), values, ours)
    for name, cells in printed["per_sd"].items():
        rows += _per_sd_rows(name, cells, patients[patients["set"] == name], confidence)
    table = pd.DataFrame(rows, columns=[*KEYS, *COLUMNS[1:5]]).astype(dict.fromkeys(COLUMNS[1:5], float))
    table.insert(len(KEYS), "item", [_item(*key) for key in table[KEYS].itertuples(index=False)])
    known = table[["ours", "low", "high"]].notna().all(axis=1)
    table["inside"] = table["published"].between(table["low"], table["high"]).astype("boolean").mask(~known)
    table["difference"] = table["ours"] - table["published"]
    return table


def inside_counts(comparison: pd.DataFrame) -> pd.DataFrame:
    """Printed numbers by table, set and quantity: how many, with an interval here, and inside of it."""
    groups = comparison.groupby(["table", "set", "quantity"], sort=False)["inside"]
    return pd.DataFrame({"printed": groups.size(), "with an interval": groups.count(), "inside": groups.sum()}).astype(
        int
    )


def quantity_text(marker: str, outcome: str, quantity: str) -> str:
    """What was measured, in words: 'age, years', 'PMA sarcopenic', 'PMA OS HR'."""
    named = ", ".join(filter(None, [NAMES.get(quantity, quantity), UNITS.get(quantity)]))
    return " ".join(filter(None, [marker, outcome, named]))


def _item(table: str, name: str, marker: str, outcome: str, quantity: str, statistic: str) -> str:
    if statistic == "P":
        return f"{table} {name} {marker} {outcome} P"
    text = f"{table} {name} {quantity_text(marker, outcome, quantity)}"
    if statistic == "estimate":
        return text
    return f"{text}, interval {statistic}" if statistic in ("low", "high") else f"{text}, {statistic}"


def _estimate(key: tuple, printed: Sequence[float], ours: Sequence[float]) -> list[tuple]:
    """Rows of an estimate, which has an interval, and of the interval's ends, which have none."""
    (value, low, high), mine = printed, tuple(ours)
    rows = [(*key, "estimate", value, *mine)]
    rows.append((*key, "low", low, mine[1], np.nan, np.nan))
    rows.append((*key, "high", high, mine[2], np.nan, np.nan))
    return rows


def _table1_rows(name: str, cells: dict, part: pd.DataFrame, confidence: float) -> list[tuple]:
    def key(quantity: str, statistic: str) -> tuple:
        return ("Table 1", name, "", "", quantity, statistic)

    rows: list[tuple] = [(*key("patients", "n"), cells["n"], len(part) or np.nan, np.nan, np.nan)]
    for quantity in UNITS:
        mean, sd = cells[quantity]
        known = part[quantity].dropna()
        ours = UNKNOWN
        if len(known) > 1:
            half = student.ppf((1 + confidence) / 2, len(known) - 1) * known.std(ddof=1) / np.sqrt(len(known))
            ours = (known.mean(), known.mean() - half, known.mean() + half)
        rows.append((*key(quantity, "mean"), mean, *ours))
        rows.append((*key(quantity, "SD"), sd, known.std(ddof=1), np.nan, np.nan))
    for quantity in NAMES:
        if quantity in UNITS or quantity not in cells:
            continue
        column = part["sex"].eq(SEXES[quantity]).astype(float) if quantity in SEXES else part[quantity]
        known, (n, share) = column.dropna(), cells[quantity]
        rows.append((*key(quantity, "n"), n, known.sum() if len(known) else np.nan, np.nan, np.nan))
        rows.append((*key(quantity, "%"), share, *_percentage(known.sum(), len(known), confidence)))
    return rows


def _table2_rows(name: str, definition: str, cells: dict, ours: pd.DataFrame, confidence: float) -> list[tuple]:
    empty = pd.Series(np.nan, index=ours.columns)

    def row_of(outcome: str) -> pd.Series:
        return ours.loc[(name, definition, outcome)] if (name, definition, outcome) in ours.index else empty

    os, (n, share) = row_of("OS"), cells["n"]
    key = ("Table 2", name, definition, "", "sarcopenic")
    rows: list[tuple] = [(*key, "n", n, os["n_sarcopenic"], np.nan, np.nan)]
    rows.append((*key, "%", share, *_percentage(os["n_sarcopenic"], os["n"], confidence)))
    for outcome in ("RFS", "OS"):
        if outcome not in cells:
            continue
        *ratio, p = cells[outcome]
        key, row = ("Table 2", name, definition, outcome, "HR"), row_of(outcome)
        rows += _estimate(key, ratio, row[["hr", "hr_low", "hr_high"]])
        rows.append((*key, "P", p, row["p"], np.nan, np.nan))
    return rows


def _per_sd_rows(name: str, cells: dict, part: pd.DataFrame, confidence: float) -> list[tuple]:
    """Hazard ratio of death for one SD more of an index, its mean and SD taken within each sex."""
    known = part[[cells["column"], "sex", "os_months", "os_event"]].dropna()
    by_sex = known.groupby("sex")[cells["column"]]
    score = ((known[cells["column"]] - by_sex.transform("mean")) / by_sex.transform("std")).dropna()
    fit = dict.fromkeys(("hr", "low", "high", "p"), np.nan)
    if len(score):
        time, dead = (known.loc[score.index, column] for column in ("os_months", "os_event"))
        fit = cox_continuous(time, dead, score, confidence, per_sd=False)
    key, (ratio, p) = ("Abstract", name, cells["marker"], "OS", "HR per SD"), cells["OS"]
    return [
        ("Abstract", name, "", "", "patients", "n", cells["n"], len(score) or np.nan, np.nan, np.nan),
        (*key, "estimate", ratio, fit["hr"], fit["low"], fit["high"]),
        (*key, "P", p, fit["p"], np.nan, np.nan),
    ]


def _percentage(count: float, total: float, confidence: float) -> tuple[float, float, float]:
    """Percentage with its Wilson interval (Newcombe 1998, without correction)."""
    if not total > 0 or np.isnan(count):
        return UNKNOWN
    n, share, z = int(total), int(count) / int(total), norm.ppf(0.5 + 0.5 * confidence)
    center, scale = (2 * n * share + z**2) / (2 * (n + z**2)), z / (2 * (n + z**2))
    half = scale * np.sqrt(4 * n * share * (1 - share) + z**2)
    low, high = 0.0 if share == 0 else center - half, 1.0 if share == 1 else center + half
    return 100 * count / total, 100 * low, 100 * high


def published_intervals(intervals: pd.DataFrame, printed: dict[str, list[float]]) -> pd.DataFrame:
    """The letter's C-indices with their intervals beside this run's, and the width of each.

    ``intervals`` as from ``discrimination.c_index_intervals``; ``printed`` maps set to value, low, high.
    """
    ours = intervals[intervals["model"] == MODEL].set_index("set")
    ends = ["percentile_low", "percentile_high", "analytic_low", "analytic_high"]
    rows = []
    for name, (value, low, high) in printed.items():
        if name in ours.index:
            n, events, mine, *limits = ours.loc[name, ["n", "events", "harrell", *ends]]
            widths = (high - low, limits[1] - limits[0], limits[3] - limits[2])
            rows.append((name, n, events, value, low, high, mine, *limits, *widths))
    columns = ["set", "n", "events", "published", "published_low", "published_high", "ours", "low", "high"]
    columns += ["analytic_low", "analytic_high", "width_published", "width_bootstrap", "width_analytic"]
    return pd.DataFrame(rows, columns=columns)
