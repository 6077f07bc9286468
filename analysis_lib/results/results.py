"""The study's tables and the frames its figures are drawn from, from patients, risks and parameters.

Notebooks call these functions and show what they return; nothing here draws or writes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from analysis_lib.cohort.sarcopenia import cut_offs, sarcopenic
from analysis_lib.common.files import keeping
from analysis_lib.core.parameters import CohortParams, DefinitionParams, FeatureParams, StatisticsParams
from analysis_lib.figures.tables import format_p, format_ratio
from analysis_lib.radiomics import RADIOMICS_STAGE
from analysis_lib.survival import survival
from analysis_lib.survival.analytic import c_index_analytic, c_index_difference_analytic
from analysis_lib.survival.separation import separation

MODEL = "TFDeepSurv"
OUTCOMES = {"OS": ("os_months", "os_event"), "RFS": ("rfs_months", "rfs_event")}
TABLE2_COLUMNS = [
    "set", "definition", "outcome", "n", "n_sarcopenic", "prevalence", "hr", "hr_low", "hr_high", "p",
]  # fmt: skip
TABLE2_BESIDE = ["events", "events_sarcopenic", "p_logrank"]  # printed, and in the extended table's file
DIFFERENCE_COLUMNS = ["set", "model", "difference", "low", "high", "p"]
DIFFERENCE_COLUMNS += ["bca_low", "bca_high", "analytic_low", "analytic_high", "analytic_p"]
GROUPS = {True: "Sarcopenia", False: "No sarcopenia"}
RISK_GROUPS = {True: "High risk", False: "Low risk"}


# ---- Fig. 1 --------------------------------------------------------------------------------------------


def flowchart_counts(
    patients: pd.DataFrame, exclusions: pd.DataFrame, cohort: CohortParams, process: list[str]
) -> pd.DataFrame:
    """Boxes of Fig. 1: frame [node, kind, label, n, parent] for ``plots_flowchart.flowchart``.

    ``process`` are the labels of the chain from images to model, left to right.
    """
    rows: list[tuple] = []
    names = list(cohort.sets) + (["unknown"] if (exclusions["set"] == "unknown").any() else [])
    for name in names:
        analysed = patients[patients["set"] == name]
        listed = exclusions[exclusions["set"] == name]
        out = listed[listed["stage"] != RADIOMICS_STAGE]  # the others are analysed, without a risk score
        without = len(listed) - len(out)
        label = cohort.label(name) if name in cohort.sets else "Set unknown"
        if len(analysed) + len(out) == 0:
            continue
        rows.append((f"{name}.all", "patients", f"{label}: in the clinical table", len(analysed) + len(out), None))
        if len(out):
            rows.append((f"{name}.out", "excluded", "Excluded", len(out), f"{name}.all"))
            for stage, part in out.groupby("stage", sort=False):
                rows.append((f"{name}.out.{stage}", "reason", str(stage), len(part), f"{name}.out"))
        analysed_label = f"Analysed, {without} of them by indices only" if without else "Analysed"
        rows.append((f"{name}.in", "patients", analysed_label, len(analysed), f"{name}.all"))
        if name in cohort.split_sets:
            for part in ("train", "internal"):
                count = int((analysed["split"] == part).sum())
                rows.append((f"{name}.{part}", "patients", cohort.label(part), count, f"{name}.in"))
    previous = None
    for k, label in enumerate(process):
        rows.append((f"process.{k}", "process", label, None, previous))
        previous = f"process.{k}"
    return pd.DataFrame(rows, columns=["node", "kind", "label", "n", "parent"]).astype({"n": "Int64"})


def process_labels(features: FeatureParams, n_definitions: int, code_size: int) -> list[str]:
    """The chain under the flowchart, from this run's parameters."""
    labels = ["CT at L3 (DICOM)", "SM and PM masks", f"Muscle indices and {n_definitions} definitions of sarcopenia"]
    if features.rois:
        labels += [f"{features.expected_count} radiomics features", f"AutoEncoder: {code_size} variables"]
        labels += [f"{MODEL}: risk score"]
    return labels


# ---- Table 2 and its Kaplan-Meier figures -----------------------------------------------------------------


def table_two(
    patients: pd.DataFrame,
    definitions: dict[str, DefinitionParams],
    cohort: CohortParams,
    statistics: StatisticsParams,
) -> pd.DataFrame:
    """Prevalence and univariable Cox hazard ratio of each definition, by set and outcome.

    Columns TABLE2_COLUMNS and TABLE2_BESIDE: events, those of the sarcopenic among them, and the log-rank P. ``n``
    counts the patients whose index and outcome are known. An outcome that a set lacks has no rows; a definition
    whose index a set lacks has a row of 0 patients, and what cannot be estimated is NaN. ``prevalence`` is a fraction.
    """
    rows = []
    for name in cohort.sets:
        part = patients[patients["set"] == name]
        for key, definition in definitions.items():
            for outcome in OUTCOMES:
                if part[list(OUTCOMES[outcome])].dropna().empty:
                    continue
                known = _known(part, definition, outcome)
                row = {"set": name, "definition": key, "outcome": outcome}
                row |= dict.fromkeys(["n", "n_sarcopenic", "events", "events_sarcopenic"], 0)
                if not known.empty:
                    columns = known["months"], known["event"], known["group"]
                    fit = survival.cox_binary(*columns, statistics.confidence)
                    row |= {"n": fit["n"], "n_sarcopenic": fit["n_group"], "prevalence": fit["n_group"] / fit["n"]}
                    row |= {"hr": fit["hr"], "hr_low": fit["low"], "hr_high": fit["high"], "p": fit["p"]}
                    row |= {"events": fit["n_events"], "events_sarcopenic": fit["events_group"]}
                    row["p_logrank"] = survival.logrank_p(*columns)
                rows.append(row)
    return pd.DataFrame(rows).reindex(columns=[*TABLE2_COLUMNS, *TABLE2_BESIDE])


def sarcopenia_curves(
    patients: pd.DataFrame,
    definitions: dict[str, DefinitionParams],
    outcome: str,
    statistics: StatisticsParams,
    ticks: list[float],
) -> dict[str, pd.DataFrame]:
    """Kaplan-Meier panels of one set, a panel a definition; frames curves, at_risk and annotations."""
    panels = {}
    for key, definition in definitions.items():
        known = _known(patients, definition, outcome)
        panels[key] = (f"{key} ({definition.source})", known)
    return _km_panels(panels, GROUPS, statistics, ticks)


def risk_group_curves(
    table: pd.DataFrame,
    cohort: CohortParams,
    cut_off: float,
    statistics: StatisticsParams,
    ticks: list[float],
) -> dict[str, pd.DataFrame]:
    """Kaplan-Meier panels of OS in the risk groups, a panel a split; ``table`` has split, risk and os_*."""
    panels = {}
    for name in ["train", *cohort.test_sets]:
        part = table[table["split"] == name]
        frame = pd.DataFrame({"months": part["os_months"], "event": part["os_event"], "group": part["risk"] > cut_off})
        panels[name] = (f"{cohort.label(name)} (n = {len(part)})", frame)
    return _km_panels(panels, RISK_GROUPS, statistics, ticks)


def risk_group_table(
    table: pd.DataFrame, cohort: CohortParams, cut_off: float, statistics: StatisticsParams
) -> pd.DataFrame:
    """Risk groups at the training median, by split: sizes, deaths, HR, log-rank P, follow-up in months.

    ``hr_per_sd`` is the hazard ratio of the risk as a continuous score, for one SD of the training patients. Medians
    have intervals; a median or limit that is not reached is NaN.
    """
    rows = []
    sd = table.loc[table["split"] == "train", "risk"].std()
    for name in ["train", *cohort.test_sets]:
        part = table[table["split"] == name]
        if part.empty:
            continue
        high = part["risk"] > cut_off
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


def _median_of(part: pd.DataFrame, statistics: StatisticsParams) -> tuple[float, float, float]:
    if part.empty:
        return np.nan, np.nan, np.nan
    return survival.median_interval(part["os_months"], part["os_event"], statistics.confidence)


def _median(name: str, interval: tuple[float, float, float]) -> dict[str, float]:
    return dict(zip((f"{name}_months", f"{name}_low", f"{name}_high"), interval, strict=True))


def _known(patients: pd.DataFrame, definition: DefinitionParams, outcome: str) -> pd.DataFrame:
    """months, event and group (bool) of the patients whose index and outcome are known."""
    months, event = OUTCOMES[outcome]
    frame = pd.DataFrame(
        {"months": patients[months], "event": patients[event], "group": sarcopenic(patients, definition)}
    ).dropna()
    return frame.astype({"group": bool})


def _km_panels(
    panels: dict[str, tuple[str, pd.DataFrame]],
    groups: dict[bool, str],
    statistics: StatisticsParams,
    ticks: list[float],
) -> dict[str, pd.DataFrame]:
    curves, at_risk, annotations = [], [], []
    for panel, (title, frame) in panels.items():
        text = ""
        for value, name in groups.items():
            part = frame[frame["group"] == value]
            numbers = survival.numbers_at_risk(part["months"], ticks) if len(part) else [0] * len(ticks)
            at_risk += [(panel, name, month, int(n)) for month, n in zip(ticks, numbers, strict=True)]
            if len(part):
                curve = survival.kaplan_meier(part["months"], part["event"], statistics.confidence)
                curves.append(curve.assign(panel=panel, group=name))
        if frame["group"].nunique() == 2:
            fit = survival.cox_binary(frame["months"], frame["event"], frame["group"], statistics.confidence)
            p_logrank = survival.logrank_p(frame["months"], frame["event"], frame["group"])
            ratio = format_ratio(fit["hr"], fit["low"], fit["high"])
            others = fit["n_events"] - fit["events_group"], fit["n"] - fit["n_group"]
            text = f"HR {ratio}\nlog-rank {format_p(p_logrank)}\n"
            text += f"events {fit['events_group']}/{fit['n_group']} v {others[0]}/{others[1]}"
        annotations.append((panel, title, text))
    return {
        "curves": pd.concat(curves, ignore_index=True)
        if curves
        else pd.DataFrame(
            columns=["panel", "group", "month", "survival", "low", "high", "at_risk", "events", "censored"]
        ),
        "at_risk": pd.DataFrame(at_risk, columns=["panel", "group", "month", "n"]),
        "annotations": pd.DataFrame(annotations, columns=["panel", "title", "text"]),
    }


# ---- Fig. 3 ------------------------------------------------------------------------------------------------


def separations(
    patients: pd.DataFrame,
    scores: pd.DataFrame,
    definitions: dict[str, DefinitionParams],
    folds: int,
    statistics: StatisticsParams,
    seed: int,
    kept: Path | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """How well a linear rule on the components tells each definition's groups apart.

    Returns the groups (patient_id, one nullable boolean column a definition) and one row a definition
    (definition, n, n_sarcopenic, auc, low, high, p_permutation). ``kept`` is a folder for the answers, so that a new
    cut-off of one definition permutes that definition alone.
    """
    separated = keeping(separation, kept)
    indexed = patients.set_index("patient_id").loc[scores.index]
    groups = pd.DataFrame({key: sarcopenic(indexed, d) for key, d in definitions.items()}, index=scores.index)
    rows = []
    for key in definitions:
        known = groups[key].dropna().astype(bool)
        result = separated(
            scores.loc[known.index].to_numpy(),
            known.to_numpy(),
            folds,
            statistics.bootstrap_replicates,
            statistics.confidence,
            seed,
        )
        rows.append({"definition": key, "n": len(known), "n_sarcopenic": int(known.sum())} | result)
    return groups, pd.DataFrame(rows)


# ---- Fig. 5 ------------------------------------------------------------------------------------------------


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
) -> dict[str, pd.DataFrame]:
    """C-index, its difference from the model, and AUC over time, for every marker in every split.

    Returns c_index (set, model, c_index, low, high, n, events), difference (DIFFERENCE_COLUMNS: percentile interval and
    P of the paired bootstrap, BCa and analytic interval, analytic P), auc (set, model, month, auc, low, high; test sets
    only), bands (the same with simultaneous bands), horizons (the rows of ``bands`` at the horizons, empty with a note
    where a set is not followed so far, with the patients dead by then and followed beyond) and notes (set, note: months
    left out of the AUC). A marker that a patient lacks leaves that patient out of every marker's row in that set, so
    that all are compared on the same patients. A marker that nobody of a set has gives rows of NaN there.
    """
    indexed = patients.set_index("patient_id")
    c_index, difference, auc, horizons, notes = [], [], [], [], []
    months = np.array(statistics.curve_months())
    for name in ["train", *cohort.test_sets]:
        part = indexed[indexed["split"] == name]
        scores = markers.loc[part.index].dropna(axis=1, how="all").dropna()
        unknown = [m for m in markers if m not in scores]
        part = part.loc[scores.index]
        if part["os_event"].sum() == 0 or MODEL not in scores:
            c_index.append(_unknown(markers, name, "c_index").assign(n=len(part), events=int(part["os_event"].sum())))
            difference.append(_unknown(markers.drop(columns=MODEL), name, "difference"))
            continue
        time, event = part["os_months"].to_numpy(), part["os_event"].to_numpy().astype(bool)
        settings = {
            "replicates": statistics.bootstrap_replicates,
            "confidence": statistics.confidence,
            "seed": seed,
        }
        c_index.append(survival.bootstrap_c_index(time, event, scores, **settings).assign(set=name))
        if unknown:
            c_index.append(pd.DataFrame({"set": name, "model": unknown, "n": len(part), "events": int(event.sum())}))
        difference.append(_differences(time, event, scores, settings).assign(set=name))
        if name != "train":
            curve = survival.auc_curve(time, event, scores, months, **settings)
            notes.append((name, curve.attrs["note"]))
            auc.append(curve.assign(set=name))
            cells = pd.MultiIndex.from_product([scores.columns, statistics.horizons_months], names=["model", "month"])
            at = curve.set_index(["model", "month"]).reindex(cells).reset_index()
            at["cases"] = [int((event & (time <= month)).sum()) for month in at["month"]]
            at["controls"] = [int((time > month).sum()) for month in at["month"]]
            horizons.append(at.assign(set=name, note=np.where(at["auc"].isna(), curve.attrs["note"], "")))
    bands = ["set", "model", "month", "auc", "low", "high", "low_simultaneous", "high_simultaneous"]
    return {
        "c_index": _stacked(c_index, ["set", "model", "c_index", "low", "high", "n", "events"]),
        "difference": _stacked(difference, DIFFERENCE_COLUMNS),
        "auc": _stacked(auc, bands[:6]),
        "bands": _stacked(auc, bands),
        "horizons": _stacked(horizons, [*bands, "cases", "controls", "note"]),
        "notes": pd.DataFrame(notes, columns=["set", "note"]),
    }


def _differences(time: np.ndarray, event: np.ndarray, scores: pd.DataFrame, settings: dict) -> pd.DataFrame:
    """The model's C-index less that of each other marker, with three intervals that check each other."""
    found = survival.bootstrap_c_index_difference(time, event, scores, MODEL, **settings)
    bca = survival.bootstrap_c_index_difference(time, event, scores, MODEL, **settings, method="bca")
    level = settings["confidence"]
    analytic = pd.DataFrame(
        [c_index_difference_analytic(time, event, scores[MODEL], scores[m], level) for m in found["model"]],
        columns=["low", "high", "p"],
    )
    ends = {f"bca_{end}": bca[end] for end in ("low", "high")}
    ends |= {f"analytic_{end}": analytic[end] for end in ("low", "high", "p")}
    return found.assign(**ends)


def with_rows_of(table: pd.DataFrame, beside: pd.DataFrame, cohort: CohortParams) -> pd.DataFrame:
    """``table`` and, after each set's rows, those of ``beside`` for the markers that it lacks."""
    more = beside[~beside["model"].isin(table["model"])]
    rank = {name: k for k, name in enumerate(["train", *cohort.test_sets])}
    both = [frame for frame in (table, more) if len(frame)]
    both = pd.concat(both, ignore_index=True) if both else table
    return both.sort_values("set", key=lambda names: names.map(rank), kind="stable", ignore_index=True)


def _unknown(markers: pd.DataFrame, name: str, value: str) -> pd.DataFrame:
    """Rows of a set in which nothing can be estimated (no deaths, or nobody with a risk score): all NA."""
    frame = pd.DataFrame({"set": name, "model": markers.columns})
    return frame.assign(**{value: np.nan, "low": np.nan, "high": np.nan})


def _stacked(frames: list[pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    return pd.concat([frame.reindex(columns=columns) for frame in frames]) if frames else pd.DataFrame(columns=columns)


def c_index_intervals(
    patients: pd.DataFrame, markers: pd.DataFrame, cohort: CohortParams, statistics: StatisticsParams, seed: int
) -> pd.DataFrame:
    """Harrell's C-index with three intervals that check each other, and Uno's, for every marker in every split.

    Returns set, model, n, events, harrell with percentile_, bca_ and analytic_ low and high, uno with uno_low and
    uno_high (percentile), and tau_months, up to which Uno's counts: the last month of the AUC curves, or the
    longest follow-up of a set that ends before.
    """
    indexed, tables = patients.set_index("patient_id"), []
    for name in ["train", *cohort.test_sets]:
        part = indexed[indexed["split"] == name]
        scores = markers.loc[part.index].dropna(axis=1, how="all").dropna()
        part = part.loc[scores.index]
        if part["os_event"].sum() == 0:
            continue
        time, event = part["os_months"].to_numpy(), part["os_event"].to_numpy().astype(bool)
        level, tau = statistics.confidence, min(statistics.auc_last_month, time.max())
        settings = (statistics.bootstrap_replicates, level, seed)
        table = survival.bootstrap_c_index(time, event, scores, *settings)
        table = table.rename(columns={"c_index": "harrell", "low": "percentile_low", "high": "percentile_high"})
        bca = survival.bootstrap_c_index(time, event, scores, *settings, method="bca")
        uno = survival.bootstrap_c_index(time, event, scores, *settings, uno_tau=tau)
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
    ends = [f"{kind}_{end}" for kind in ("percentile", "bca", "analytic") for end in ("low", "high")]
    columns = ["set", "model", "n", "events", "harrell", *ends, "uno", "uno_low", "uno_high", "tau_months"]
    return pd.concat(tables, ignore_index=True)[columns]
