"""Recurrence with death as a competing risk, from the cause of the first event."""

from __future__ import annotations

import numpy as np
import pandas as pd
from made_up import PARAMS, PATIENTS, STATISTICS

from analysis_lib.figures.curves import incidence_grid
from analysis_lib.results.incidence import CAUSES, first_events, incidences


def test_cause_of_the_first_event():
    frame = pd.DataFrame(
        {
            "set": "a",
            "os_months": [10.0, 10, 10, 10, 10, 10],
            "os_event": [1.0, 1, 0, 0, 1, 1],
            "rfs_months": [5.0, 10, 5, 10, 10, 10],
            "rfs_event": [1.0, 1, 1, 0, 1, np.nan],
            "rfs_cause": [None, None, None, None, "recurrence", None],
        }
    )
    found = first_events(frame)
    assert found["cause"].tolist() == [1, 2, 1, 0, 1]
    assert found["known_by"].tolist() == ["rule", "rule", "rule", "", "column"]
    assert first_events(frame.drop(columns="rfs_cause"))["cause"].tolist() == [1, 2, 1, 0, 2]


def test_incidence_of_recurrence_is_below_the_naive_one():
    curves, table = incidences(PATIENTS, PARAMS.cohort, STATISTICS)
    assert set(table["set"]) == {"discovery", "lt"}
    assert (table["incidence"] <= table["naive"]).all() and (table["low"] <= table["incidence"]).all()
    fig = incidence_grid(curves, {n: n for n in PARAMS.cohort.sets}, CAUSES, 60)
    assert any("not known" in t.get_text() for t in fig.axes[1].texts)
