"""Frames of Kaplan-Meier panels: curves, numbers at risk and what is printed in each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from analysis_lib.common.formatting import format_p, format_ratio
from analysis_lib.core.parameters import StatisticsParams
from analysis_lib.survival import survival

AT_RISK = ["panel", "group", "label", "month", "n", "n_censored", "n_events"]


def panels_of(
    panels: dict[str, tuple[str, pd.DataFrame]],
    groups: Mapping[Any, str],
    statistics: StatisticsParams,
    ticks: Sequence[float],
) -> dict[str, pd.DataFrame]:
    """Curves, numbers at risk and annotations of each panel, as ``figures.kaplan_meier`` draws them.

    Before each month of ``ticks`` so many had an event or were censored; with those still at risk they are everybody.
    ``label`` counts the events of a group's whole follow-up, which its hazard ratio is of.
    """
    curves, at_risk, annotations = [], [], []
    for panel, (title, frame) in panels.items():
        for value, name in groups.items():
            part = frame[frame["group"] == value]
            died = int(part["event"].sum())
            numbers = pd.DataFrame({"panel": panel, "group": name, "month": list(ticks)})
            numbers["n"] = survival.numbers_at_risk(part["months"], ticks)
            numbers["n_events"] = died - survival.numbers_at_risk(part.loc[part["event"] == 1, "months"], ticks)
            numbers["n_censored"] = len(part) - numbers["n"] - numbers["n_events"]
            at_risk.append(numbers.assign(label=f"{name}, events: {died} of {len(part)}"))
            if len(part):
                curve = survival.kaplan_meier(part["months"], part["event"], statistics.confidence)
                curves.append(curve.assign(panel=panel, group=name))
        text = ""
        if frame["group"].nunique() == 2:
            fit = survival.cox_binary(frame["months"], frame["event"], frame["group"], statistics.confidence)
            p_logrank = survival.logrank_p(frame["months"], frame["event"], frame["group"])
            text = f"HR {format_ratio(fit['hr'], fit['low'], fit['high'])}, log-rank {format_p(p_logrank)}"
        elif frame["group"].nunique() > 2:
            text = f"log-rank {format_p(survival.logrank_p(frame['months'], frame['event'], frame['group']))}"
        annotations.append((panel, title, text))
    return {
        "curves": pd.concat(curves, ignore_index=True)
        if curves
        else pd.DataFrame(
            columns=["panel", "group", "month", "survival", "low", "high", "at_risk", "events", "censored"]
        ),
        "at_risk": pd.concat(at_risk, ignore_index=True)[AT_RISK] if at_risk else pd.DataFrame(columns=AT_RISK),
        "annotations": pd.DataFrame(annotations, columns=["panel", "title", "text"]),
    }
