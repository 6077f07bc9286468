"""Frames of Kaplan-Meier panels: curves, numbers at risk and what is printed in each."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from analysis_lib.common.formatting import format_p, format_ratio
from analysis_lib.core.parameters import StatisticsParams
from analysis_lib.survival import survival


def panels_of(
    panels: dict[str, tuple[str, pd.DataFrame]],
    groups: dict[bool, str],
    statistics: StatisticsParams,
    ticks: Sequence[float],
) -> dict[str, pd.DataFrame]:
    """Curves, numbers at risk and annotations of each panel, as ``figures.kaplan_meier`` draws them."""
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
