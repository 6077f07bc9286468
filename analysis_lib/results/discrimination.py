"""Fig. 5: C-index and time-dependent AUC of the model and of each definition.

Notebooks call these functions and show what they return; nothing here draws or writes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis_lib.common.keep import keeping
from analysis_lib.common.sarcopenia import cut_offs, sarcopenic
from analysis_lib.core.parameters import CohortParams, DefinitionParams, StatisticsParams
from analysis_lib.results import MODEL
from analysis_lib.survival import survival
from analysis_lib.survival.analytic import c_index_analytic, c_index_difference_analytic

DIFFERENCE_COLUMNS = ["set", "model", "difference", "low", "high", "p"]
DIFFERENCE_COLUMNS += ["bca_low", "bca_high", "analytic_low", "analytic_high", "analytic_p"]


def marker_table(patients: pd.DataFrame, risk: pd.Series, definitions: dict[str, DefinitionParams]) -> pd.DataFrame:
    """One column a marker, higher is worse: the model's risk and each definition as 0 or 1; index patient_id."""
    indexed = patients.set_index("patient_id")
    markers = {MODEL: risk.reindex(indexed.index)}
    for key, definition in definitions.items():
        markers[key] = sarcopenic(indexed, definition).astype(float)
    return pd.DataFrame(markers)


def continuous_markers(patients: pd.DataFrame, definitions: dict[str, DefinitionParams]) -> pd.DataFrame:
    """The indices behind the definitions as continuous markers, sign turned so that higher is worse.

    Each index is taken relative to the cut-off of the patient's sex, so that men and women are on one scale,
    as they are in the definition.
    """
    indexed = patients.set_index("patient_id")
    columns = {}
    for key, definition in definitions.items():
        columns[f"{key} continuous"] = cut_offs(indexed, definition) - indexed[definition.column]
    return pd.DataFrame(columns)


def discrimination(
    patients: pd.DataFrame,
    markers: pd.DataFrame,
    cohort: CohortParams,
    statistics: StatisticsParams,
    seed: int,
    kept: Path | None = None,
) -> dict[str, pd.DataFrame]:
    """C-index and AUC over time, for every marker in every split; ``differences`` has those of the C-index.

    Returns c_index (set, model, c_index, low, high, n, events), auc (set, model, month, cases, auc, low, high;
    test sets only; cases: deaths by then), bands (the same with simultaneous bands), horizons (the rows of ``bands`` at
    the horizons, empty with a note where a set is not followed so far or too few have died, with controls followed
    beyond) and notes (set, note: months left out of the AUC). A marker that a patient lacks leaves that patient out of
    every marker's row in that set, so that all are compared on the same patients. A marker that nobody of a set has, or
    that is the same in everybody, gives rows of NaN there. ``kept`` is the folder of what was computed before, marker
    by marker.
    """
    c_index, auc, horizons, notes = [], [], [], []
    months = np.array(statistics.curve_months())
    c_index_of, auc_of = keeping(survival.bootstrap_c_index, kept), keeping(survival.auc_curve, kept)
    for name, part, scores, unknown in _parts(patients, markers, cohort):
        if part["event"].sum() == 0 or MODEL not in scores:
            c_index.append(_unknown(markers, name, "c_index").assign(n=len(part), events=int(part["event"].sum())))
            continue
        time, event = _outcome(part)
        settings = _settings(statistics, seed)
        each = [c_index_of(time, event, scores[[m]], **settings) for m in scores]
        c_index.append(pd.concat(each, ignore_index=True).assign(set=name))
        if unknown:
            c_index.append(pd.DataFrame({"set": name, "model": unknown, "n": len(part), "events": int(event.sum())}))
        if name != "train":
            cases = pd.Series([int((event & (time <= month)).sum()) for month in months], months)
            enough = months[cases >= statistics.auc_min_deaths]
            curves = [auc_of(time, event, scores[[m]], enough, **settings) for m in scores]
            curve = pd.concat(curves, ignore_index=True)
            note = _left_out(months[cases < statistics.auc_min_deaths], statistics)
            note = "; ".join(filter(None, [note, curves[0].attrs["note"]]))
            notes.append((name, note))
            auc.append(curve.assign(set=name, cases=cases.reindex(curve["month"]).to_numpy()))
            cells = pd.MultiIndex.from_product([scores.columns, statistics.horizons_months], names=["model", "month"])
            at = curve.set_index(["model", "month"]).reindex(cells).reset_index()
            at["cases"] = cases.reindex(at["month"]).to_numpy()
            at["controls"] = [int((time > month).sum()) for month in at["month"]]
            horizons.append(at.assign(set=name, note=np.where(at["auc"].isna(), note, "")))
    bands = ["set", "model", "month", "cases", "auc", "low", "high", "low_simultaneous", "high_simultaneous"]
    return {
        "c_index": _stacked(c_index, ["set", "model", "c_index", "low", "high", "n", "events"]),
        "auc": _stacked(auc, bands[:7]),
        "bands": _stacked(auc, bands),
        "horizons": _stacked(horizons, [*(c for c in bands if c != "cases"), "cases", "controls", "note"]),
        "notes": pd.DataFrame(notes, columns=["set", "note"]),
    }


def _parts(
    patients: pd.DataFrame, markers: pd.DataFrame, cohort: CohortParams
) -> Iterator[tuple[str, pd.DataFrame, pd.DataFrame, list[str]]]:
    """Of each split: its name, the patients who have every marker, their markers, and which tell nobody apart."""
    indexed = patients.set_index("patient_id")
    for name in cohort.splits:
        part = indexed[indexed["split"] == name]
        scores, unknown = _telling(markers.loc[part.index])
        yield name, part.loc[scores.index], scores, unknown


def _outcome(part: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    return part["time_months"].to_numpy(), part["event"].to_numpy().astype(bool)


def _telling(markers: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The markers that tell patients apart, of those who have all of them, and the names of the others.

    Where nobody is sarcopenic by a definition, a C-index of 0.5 with an interval of no width would be no finding.
    """
    scores = markers.dropna(axis=1, how="all").dropna()
    scores = scores.loc[:, [m == MODEL or scores[m].nunique() > 1 for m in scores]]
    return scores, [m for m in markers if m not in scores]


def differences(
    patients: pd.DataFrame,
    markers: pd.DataFrame,
    cohort: CohortParams,
    statistics: StatisticsParams,
    seed: int,
    kept: Path | None = None,
) -> pd.DataFrame:
    """The model's C-index less that of each other marker in every split: DIFFERENCE_COLUMNS.

    Percentile interval and P of the paired bootstrap, BCa and analytic interval, analytic P. Who counts, and ``kept``,
    as of ``discrimination``.
    """
    tables = []
    for name, part, scores, _ in _parts(patients, markers, cohort):
        if part["event"].sum() == 0 or MODEL not in scores:
            tables.append(_unknown(markers.drop(columns=MODEL), name, "difference"))
            continue
        time, event = _outcome(part)
        tables.append(_differences(time, event, scores, _settings(statistics, seed), kept).assign(set=name))
    return _stacked(tables, DIFFERENCE_COLUMNS)


def _settings(statistics: StatisticsParams, seed: int) -> dict[str, Any]:
    return {"replicates": statistics.bootstrap_replicates, "confidence": statistics.confidence, "seed": seed}


def _left_out(early: np.ndarray, statistics: StatisticsParams) -> str:
    months = ", ".join(f"{month:g}" for month in early)
    few = f"fewer than {statistics.auc_min_deaths} {statistics.endpoint.plural} by month {months}"
    return few if len(early) else ""


def _differences(
    time: np.ndarray, event: np.ndarray, scores: pd.DataFrame, settings: dict, kept: Path | None
) -> pd.DataFrame:
    """The model's C-index less that of each other marker, with three intervals that check each other."""
    others, rows = [m for m in scores if m != MODEL], []
    gap_of = keeping(survival.bootstrap_c_index_difference, kept)
    for marker in others:
        pair = (time, event, scores[[MODEL, marker]], MODEL)
        row = gap_of(*pair, **settings).iloc[0].to_dict()
        bca = gap_of(*pair, **settings, method="bca").iloc[0]
        analytic = c_index_difference_analytic(time, event, scores[MODEL], scores[marker], settings["confidence"])
        row |= {f"bca_{end}": bca[end] for end in ("low", "high")}
        rows.append(row | {f"analytic_{end}": analytic[end] for end in ("low", "high", "p")})
    return pd.DataFrame(rows, columns=DIFFERENCE_COLUMNS[1:])


def with_rows_of(table: pd.DataFrame, beside: pd.DataFrame, cohort: CohortParams) -> pd.DataFrame:
    """``table`` and, after each set's rows, those of ``beside`` for the markers that it lacks."""
    more = beside[~beside["model"].isin(table["model"])]
    rank = {name: k for k, name in enumerate(cohort.splits)}
    both = [frame for frame in (table, more) if len(frame)]
    both = pd.concat(both, ignore_index=True) if both else table
    return both.sort_values("set", key=lambda names: names.map(rank), kind="stable", ignore_index=True)


def _unknown(markers: pd.DataFrame, name: str, value: str) -> pd.DataFrame:
    """Rows of a set in which nothing can be estimated (no deaths, or nobody with a risk score): all NA."""
    frame = pd.DataFrame({"set": name, "model": markers.columns})
    return frame.assign(**{value: np.nan, "low": np.nan, "high": np.nan})


def _stacked(frames: list[pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    return pd.concat([frame.reindex(columns=columns) for frame in frames]) if frames else pd.DataFrame(columns=columns)


def mean_widths(intervals: pd.DataFrame) -> pd.Series:
    """Mean width of each kind of interval of Harrell's C-index, over the rows of ``c_index_intervals``."""
    kinds = ("percentile", "bca", "analytic")
    return pd.Series(
        {kind: (intervals[f"{kind}_high"] - intervals[f"{kind}_low"]).mean() for kind in kinds}, name="mean width"
    )


def c_index_intervals(
    patients: pd.DataFrame,
    markers: pd.DataFrame,
    cohort: CohortParams,
    statistics: StatisticsParams,
    seed: int,
    kept: Path | None = None,
) -> pd.DataFrame:
    """Harrell's C-index with three intervals that check each other, and Uno's, for every marker in every split.

    Returns set, model, n, events, harrell with percentile_, bca_ and analytic_ low and high,
    percentile_low_mc_error and percentile_high_mc_error (``resampling.monte_carlo_error``), uno with uno_low and
    uno_high (percentile), and tau_months, up to which Uno's counts: the last month of the AUC curves, or the
    longest follow-up of a set that ends before. ``kept`` as of ``discrimination``.
    """
    tables = []
    c_index_of = keeping(survival.bootstrap_c_index, kept)
    for name, part, scores, unknown in _parts(patients, markers, cohort):
        if part["event"].sum() == 0:
            continue
        time, event = _outcome(part)
        level, tau = statistics.confidence, min(statistics.auc_last_month, time.max())
        settings = (statistics.bootstrap_replicates, level, seed)

        def each(given=(time, event), scores=scores, settings=settings, **how: Any) -> pd.DataFrame:
            one = [c_index_of(*given, scores[[m]], *settings, **how) for m in scores]
            return pd.concat(one, ignore_index=True)

        table = each()
        percentile = {end: f"percentile_{end}" for end in ("low", "high", "low_mc_error", "high_mc_error")}
        table = table.rename(columns={"c_index": "harrell"} | percentile)
        bca, uno = each(method="bca"), each(uno_tau=tau)
        analytic = pd.DataFrame([c_index_analytic(time, event, scores[m], level) for m in scores])
        table = table.assign(
            set=name,
            bca_low=bca["low"],
            bca_high=bca["high"],
            analytic_low=analytic["low"],
            analytic_high=analytic["high"],
            uno=uno["c_index"],
            uno_low=uno["low"],
            uno_high=uno["high"],
            tau_months=tau,
        )
        tables.append(table)
        if unknown:
            tables.append(pd.DataFrame({"set": name, "model": unknown, "n": len(part), "events": int(event.sum())}))
    ends = [f"{kind}_{end}" for kind in ("percentile", "bca", "analytic") for end in ("low", "high")]
    ends += ["percentile_low_mc_error", "percentile_high_mc_error"]
    columns = ["set", "model", "n", "events", "harrell", *ends, "uno", "uno_low", "uno_high", "tau_months"]
    return pd.concat(tables, ignore_index=True)[columns] if tables else pd.DataFrame(columns=columns)
