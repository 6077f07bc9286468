"""The verdict on a run: on whose data, what was reproduced, and every conclusion that is another than the letter's.

It takes tables as their CSV has them, of a run or of a committed expectation, so README, report, terminal and package
say the same words of the same numbers.
"""

from __future__ import annotations

import pandas as pd

from analysis_lib.common.formatting import format_estimate, format_p, significance
from analysis_lib.core.parameters import Params
from analysis_lib.results import MODEL
from analysis_lib.results.answers import last_horizon, listed

BY_CONSTRUCTION = (
    "The synthetic outcomes were drawn until they agreed with the letter's tables, so agreement shows that the "
    "analysis computes what it claims, and says nothing about patients."
)
SYNTHETIC = "They show that the analysis runs, and say nothing about patients."
NULLS = {"HR": 1.0, "HR per SD": 1.0, "C-index": 0.5}


def conclusions(comparison: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """Each printed ratio and C-index with its interval and P beside ours, and whether they conclude the same.

    ``comparison`` as from ``published.compare``. Columns set, marker, outcome, quantity, then published and ours, each
    with _low, _high and _p, and ``same``: a hazard ratio is significant in both (P below 1 - ``confidence``) and on the
    same side of 1, or in neither; an interval of a C-index leaves 0.5 out in both or in neither. ``same`` is empty
    where there is nothing to compare.
    """
    wanted = comparison[comparison["quantity"].isin(list(NULLS))]
    rows = []
    for key, part in wanted.groupby(["set", "marker", "outcome", "quantity"], sort=False):
        values = part.set_index("statistic")
        row: dict = dict(zip(["set", "marker", "outcome", "quantity"], key, strict=True))
        for whose in ("published", "ours"):
            cells = values[whose].reindex(["estimate", "low", "high", "P"]).to_list()
            row |= dict(zip((whose, f"{whose}_low", f"{whose}_high", f"{whose}_p"), cells, strict=True))
        if "low" not in values.index:  # a paper may print no interval; ours is there all the same
            row |= {f"ours_{end}": values[end].get("estimate") for end in ("low", "high")}
        sides = [_side(row, whose, NULLS[key[-1]], confidence) for whose in ("published", "ours")]
        row["same"] = pd.NA if None in sides else sides[0] == sides[1]
        rows.append(row)
    columns = ["set", "marker", "outcome", "quantity"]
    columns += [f"{whose}{end}" for whose in ("published", "ours") for end in ("", "_low", "_high", "_p")]
    return pd.DataFrame(rows, columns=[*columns, "same"]).astype({"same": "boolean"})


def _side(row: dict, whose: str, null: float, confidence: float) -> int | None:
    """-1 or 1: significantly below or above its null; 0: not; None: not known."""
    value, low, high, p = (row[f"{whose}{end}"] for end in ("", "_low", "_high", "_p"))
    if pd.isna(value) or (pd.isna(p) and (pd.isna(low) or pd.isna(high))):
        return None
    if pd.isna(p):
        significant = not low <= null <= high
    else:
        significant = said_significant(p, confidence) if whose == "published" else p < significance(confidence)
    return (1 if value > null else -1) if significant else 0


def said_significant(printed_p: pd.Series | float, confidence: float) -> pd.Series | bool:
    """Whether a printed P counts as significant; the level itself does: so the letter tells its 0.05 (SMI, Fig. 2)."""
    return printed_p <= significance(confidence)


def changed_p(comparison: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """P values on another side of 1 - ``confidence`` than the printed one: item, published, ours.

    ``comparison`` has the columns of paper_comparison.csv.
    """
    known = printed_p(comparison)
    other = said_significant(known["published"], confidence) != (known["ours"] < significance(confidence))
    return known.loc[other, ["item", "published", "ours"]].reset_index(drop=True)


def printed_p(comparison: pd.DataFrame) -> pd.DataFrame:
    """The rows of printed P values that have one of ours beside them."""
    rows = comparison[comparison["item"].str.endswith(" P")]
    return rows[rows[["published", "ours"]].notna().all(axis=1)]


def sentences(
    counts: pd.DataFrame,
    params: Params,
    comparison: pd.DataFrame | None = None,
    c_index: pd.DataFrame | None = None,
    difference: pd.DataFrame | None = None,
    calibration: pd.DataFrame | None = None,
) -> list[str]:
    """Five sentences: the data, what lies inside, whose conclusions changed, discrimination, calibration.

    ``counts`` [set, n, events]; the others have the columns of paper_comparison.csv, c_index.csv,
    c_index_difference.csv and calibration_summary.csv, and a sentence is left out where its table is None. Of
    synthetic data the first sentence says what agreement is worth.
    """
    cohort = params.cohort
    parts = [f"{cohort.label(row.set)} {row.n:.0f}" for row in counts.itertuples()]
    kind = "synthetic patients" if params.synthetic else "patients"
    had = f"{counts['events'].sum():.0f} {params.endpoint.had}"
    first = f"{counts['n'].sum():.0f} {kind} ({', '.join(parts)}), of whom {had}."
    if params.synthetic:
        conditioned = params.standin is not None and params.standin.conditions.hazard_ratios
        first += f" {BY_CONSTRUCTION if conditioned else SYNTHETIC}"
    said = [first]
    if comparison is not None and len(comparison):
        said += [_inside(comparison), changes(comparison, params)]
    if c_index is not None:
        said.append(_discrimination(c_index, difference, params))
    if calibration is not None and len(calibration):
        said.append(last_horizon(calibration[calibration["model"] == MODEL], cohort, params.endpoint))
    return said


def _inside(comparison: pd.DataFrame) -> str:
    known = comparison["inside"].dropna().astype(bool)
    n, inside = len(known), known.sum()
    return f"Of {len(comparison)} printed numbers {n} have an interval here, and {inside} of these lie inside it."


def changes(comparison: pd.DataFrame, params: Params) -> str:
    """How many P values lie on the printed side of the level, and each that does not."""
    confidence = params.statistics.confidence
    known, changed = printed_p(comparison), changed_p(comparison, confidence)
    limit = f"{significance(confidence):g}"
    if known.empty:
        return "No printed P value has one of ours beside it."
    text = f"{len(known) - len(changed)} of {len(known)} P values lie on the printed side of {limit}"
    lost = said_significant(changed["published"], confidence)
    for rows, what in ((changed[lost], "significant in print alone"), (changed[~lost], "significant here alone")):
        if len(rows):
            cells = (
                f"{item_text(row.item, params)} (printed P={row.published:g}, here {format_p(row.ours)})"
                for row in rows.itertuples()
            )
            text += f"; {what}: {listed(cells)}"
    return f"{text}."


def item_text(item: str, params: Params) -> str:
    """'Table 2 discovery PMA OS P' as 'Discovery PMA OS'."""
    words = item.removesuffix(" P").split(" ")
    place = next((k for k, word in enumerate(words) if word in params.cohort.sets), None)
    if place is None:
        return " ".join(words)
    return " ".join([params.cohort.label(words[place]), *words[place + 1 :]])


def _discrimination(c_index: pd.DataFrame, difference: pd.DataFrame | None, params: Params) -> str:
    own = c_index[(c_index["model"] == MODEL) & (c_index["set"] != "train")]
    if own.empty:
        return "There is no test set, so the model's C-index in unseen patients is not known."
    label = params.cohort.label
    values = listed(f"{format_estimate(r.c_index, r.low, r.high)} in {label(r.set)}" for r in own.itertuples())
    text = f"The C-index of {MODEL} in patients it has not seen is {values}"
    if difference is None:
        return f"{text}."
    pairs = difference[(difference["set"] != "train") & difference["difference"].notna()]
    pairs = pairs[~pairs["model"].str.endswith(" continuous")]
    better = (pairs["p"] < significance(params.statistics.confidence)) & (pairs["difference"] > 0)
    return (
        f"{text}, significantly above that of a definition of sarcopenia in {better.sum()} of {len(pairs)} comparisons."
    )
