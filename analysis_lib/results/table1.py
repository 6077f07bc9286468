"""Fig. 1 and Table 1: who came in, who was left out, and what the analysed patients are like."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from analysis_lib.core.parameters import CohortParams
from analysis_lib.core.question_params import Endpoint
from analysis_lib.radiomics import RADIOMICS_STAGE
from analysis_lib.survival.survival import median_follow_up


def flowchart_counts(
    patients: pd.DataFrame,
    exclusions: pd.DataFrame,
    cohort: CohortParams,
    process: list[str],
    left_out: pd.DataFrame | None = None,
    steps: Sequence[str] = (),
) -> pd.DataFrame:
    """Boxes of Fig. 1: frame [node, kind, label, n, parent] for ``figures.flowchart``.

    ``steps`` are those by which the study asks of fewer than it could use, and ``left_out`` who leaves at each: a box
    each with who goes on. ``process`` are the labels of the chain from images to model, left to right.
    """
    rows: list[tuple] = []
    names = list(cohort.sets) + (["unknown"] if (exclusions["set"] == "unknown").any() else [])
    for name in names:
        analysed = patients[patients["set"] == name]
        listed = exclusions[exclusions["set"] == name]
        out = listed[listed["stage"] != RADIOMICS_STAGE]  # the others are analysed, without a risk score
        without = len(listed) - len(out)
        label = cohort.label(name) if name in cohort.sets else "Set unknown"
        gone = (
            left_out["step"][left_out["set"] == name].value_counts() if left_out is not None else pd.Series(dtype=int)
        )
        usable = len(analysed) + int(gone.sum())
        if usable + len(out) == 0:
            continue
        rows.append((f"{name}.all", "patients", f"{label}: in the clinical table", usable + len(out), None))
        if len(out):
            rows.append((f"{name}.out", "excluded", "Excluded", len(out), f"{name}.all"))
            for stage, part in out.groupby("stage", sort=False):
                rows.append((f"{name}.out.{stage}", "reason", str(stage), len(part), f"{name}.out"))
        parent = f"{name}.all"
        if steps and len(out):
            rows.append((f"{name}.usable", "patients", "Could be used", usable, parent))
            parent = f"{name}.usable"
        for k, step in enumerate(steps):
            usable -= int(gone.get(step, 0))
            rows.append((f"{name}.step.{k}", "patients", step, usable, parent))
            parent = f"{name}.step.{k}"
        analysed_label = f"Analysed, {without} of them by indices only" if without else "Analysed"
        rows.append((f"{name}.in", "patients", analysed_label, len(analysed), parent))
        if name in cohort.split_sets:
            for part in ("train", "internal"):
                count = int((analysed["split"] == part).sum())
                rows.append((f"{name}.{part}", "patients", cohort.label(part), count, f"{name}.in"))
    previous = None
    for k, label in enumerate(process):
        rows.append((f"process.{k}", "process", label, None, previous))
        previous = f"process.{k}"
    return pd.DataFrame(rows, columns=["node", "kind", "label", "n", "parent"]).astype({"n": "Int64"})


def table_one(
    patients: pd.DataFrame, cohort: CohortParams, tumour_threshold_cm: float = 5.0, endpoint: Endpoint | None = None
) -> pd.DataFrame:
    """Table 1: characteristics by set.

    Columns characteristic, then ``<set>`` (text as printed) and ``<set>_missing`` (patients without the value) for each
    set. Percentages are of the patients whose value is known; NA where no patient's is. ``tumour_threshold_cm`` is what
    a tumour diameter was compared with; ``endpoint`` has rows of its own where it is not the letter's.
    """
    rows, own = [], []
    if endpoint is not None and endpoint.outcomes[endpoint.short].event == "event":
        plural = endpoint.plural[0].upper() + endpoint.plural[1:]
        own = [(f"{plural}, n (%)", _share("event", 1))]
        own += [(f"Observed time ({endpoint.short}), months, median (range)", _median_range("time_months"))]
    for label, function in (*_CHARACTERISTICS[:FOLLOW_UP], *own, *_CHARACTERISTICS[FOLLOW_UP:]):
        row: dict[str, object] = {"characteristic": label.format(cm=f"{tumour_threshold_cm:g}")}
        for name in cohort.sets:
            part = patients[patients["set"] == name]
            row[name], row[f"{name}_missing"] = function(part)
        rows.append(row)
    return pd.DataFrame(rows)


def table_one_for_reading(table: pd.DataFrame, cohort: CohortParams) -> pd.DataFrame:
    """Table 1 with the labels of the sets in place of their names."""
    labels = {name: entry.label for name, entry in cohort.sets.items()}
    return table.rename(columns=labels | {f"{name}_missing": f"{label}, missing" for name, label in labels.items()})


def _count(part: pd.DataFrame) -> tuple[str, int]:
    return str(len(part)), 0


def _mean_sd(column: str, digits: int = 1):
    def cell(part: pd.DataFrame) -> tuple[str, int]:
        known = part[column].dropna()
        missing = len(part) - len(known)
        if len(known) < 2:
            return "NA", missing
        return f"{known.mean():.{digits}f} ± {known.std(ddof=1):.{digits}f}", missing

    return cell


def _share(column: str, value: object):
    def cell(part: pd.DataFrame) -> tuple[str, int]:
        known = part[column].dropna()
        missing = len(part) - len(known)
        if known.empty:
            return "NA", missing
        n = int((known == value).sum())
        return f"{n} ({100 * n / len(known):.1f}%)", missing

    return cell


def _follow_up(part: pd.DataFrame) -> tuple[str, int]:
    known = part[["os_months", "os_event"]].dropna()
    missing = len(part) - len(known)
    if known.empty:
        return "NA", missing
    median = median_follow_up(known["os_months"], known["os_event"], 0.95)[0]
    return "not reached" if pd.isna(median) else f"{median:.1f}", missing


def _median_range(column: str):
    def cell(part: pd.DataFrame) -> tuple[str, int]:
        known = part[column].dropna()
        missing = len(part) - len(known)
        if known.empty:
            return "NA", missing
        return f"{known.median():.1f} ({known.min():.1f}-{known.max():.1f})", missing

    return cell


_CHARACTERISTICS = [
    ("Patients, n", _count),
    ("Age, years, mean ± SD", _mean_sd("age")),
    ("Body mass index, kg/m², mean ± SD", _mean_sd("bmi")),
    ("Male, n (%)", _share("sex", "M")),
    ("Female, n (%)", _share("sex", "F")),
    ("Total tumour diameter > {cm} cm, n (%)", _share("tumour_diameter_over_5cm", 1)),
    ("Single tumour, n (%)", _share("tumour_single", 1)),
    ("Vascular invasion, n (%)", _share("vascular_invasion", 1)),
    ("Deaths, n (%)", _share("os_event", 1)),
    ("Recurrences or deaths, n (%)", _share("rfs_event", 1)),
    ("Observed time (OS), months, median (range)", _median_range("os_months")),
    ("Follow-up (OS, reverse Kaplan-Meier), months, median", _follow_up),
    ("SM area, cm², mean ± SD", _mean_sd("sm_area_cm2")),
    ("SMI, cm²/m², mean ± SD", _mean_sd("smi")),
    ("Muscle attenuation, HU, mean ± SD", _mean_sd("sm_mean_hu")),
    ("PM area, cm², mean ± SD", _mean_sd("pm_area_cm2", 2)),
    ("PMI, cm²/m², mean ± SD", _mean_sd("pmi", 2)),
    ("Psoas density, HU, mean ± SD", _mean_sd("pm_mean_hu")),
]
FOLLOW_UP = [label for label, _ in _CHARACTERISTICS].index("Deaths, n (%)")  # where outcomes begin
