"""Frames of Kaplan-Meier panels: curves, numbers at risk and what is printed in each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis_lib.common.formatting import format_p, format_ratio
from analysis_lib.core.parameters import StatisticsParams
from analysis_lib.core.question_params import CoxParams
from analysis_lib.results.cox_options import binary, late_of, logrank_p
from analysis_lib.survival import survival

AT_RISK = ["panel", "group", "label", "month", "n", "n_censored", "n_events"]


def panels_of(
    panels: dict[str, tuple[str, pd.DataFrame]],
    groups: Mapping[Any, str],
    statistics: StatisticsParams,
    ticks: Sequence[float],
) -> dict[str, pd.DataFrame]:
    """Curves, numbers at risk and annotations of each panel, as ``figures.kaplan_meier`` draws them.

    Frames of ``panels`` hold months, event, group and the columns of ``statistics.cox``. Before each month of ``ticks``
    so many had an event or were censored; with those still at risk they are everybody who has entered by then, or the
    sums of their weights. ``label`` counts the events of a group's whole follow-up, which its hazard ratio is of.
    """
    curves, at_risk, annotations = [], [], []
    cox, outcome = statistics.cox, ("months", "event")
    for panel, (title, frame) in panels.items():
        for value, name in groups.items():
            part = frame[frame["group"] == value]
            died = int(part["event"].sum())
            numbers = pd.DataFrame({"panel": panel, "group": name, "month": list(ticks)})
            numbers["n"] = survival.numbers_at_risk(part["months"], ticks, **late_of(part, cox))
            for column, ended in (("n_events", 1), ("n_censored", 0)):
                numbers[column] = _gone(part[part["event"] == ended], ticks, cox)
            at_risk.append(numbers.assign(label=f"{name}, events: {died} of {len(part)}"))
            if len(part):
                late = late_of(part, cox)
                curve = survival.kaplan_meier(part["months"], part["event"], statistics.confidence, **late)
                curves.append(curve.assign(panel=panel, group=name))
        text = ""
        if frame["group"].nunique() == 2:
            fit = binary(frame, outcome, frame["group"], statistics)
            text = f"HR {format_ratio(fit['hr'], fit['low'], fit['high'])}, "
        if frame["group"].nunique() > 1:
            text += f"log-rank {format_p(logrank_p(frame, outcome, frame['group'], cox))}"
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


def _gone(part: pd.DataFrame, ticks: Sequence[float], cox: CoxParams) -> NDArray[Any]:
    """How many (or what weights) of ``part`` had entered by each tick and are no longer at risk."""
    late = late_of(part, cox)
    entered = survival.numbers_at_risk(np.full(len(part), np.inf), ticks, **late)
    return entered - survival.numbers_at_risk(part["months"], ticks, **late)
