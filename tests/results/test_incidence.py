"""Recurrence with death as a competing risk, from the cause of the first event."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pandas as pd
from made_up import PARAMS, PATIENTS, STATISTICS

from analysis_lib.cohort.question import first_events
from analysis_lib.figures.curves import incidence_grid
from analysis_lib.results.incidence import CAUSES, incidences
from analysis_lib.survival.competing import cumulative_incidence


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
    assert len(fig.axes) == 2  # a panel for each set whose recurrence is known
    assert any("Recurrence not known: external" in t.get_text().replace("\n", " ") for t in fig.texts)
    highest = curves.loc[curves["month"] <= 60, "high"].max()
    assert all(highest <= ax.get_ylim()[1] < highest + 0.1 + 1e-9 for ax in fig.axes)
    none = incidence_grid(curves[:0], {n: n for n in PARAMS.cohort.sets}, CAUSES, 60)
    assert [t.get_text() for t in none.texts] == ["NA: recurrence not known"]


def test_many_patients_take_little_memory():
    """Matrices of months and patients would be 32 MB each; R's survfit is compared with elsewhere."""
    rng = np.random.default_rng(5)
    time, cause = rng.exponential(30, 2000), rng.integers(0, 3, 2000)
    tracemalloc.start()
    table = cumulative_incidence(time, cause, 0.95)
    assert tracemalloc.get_traced_memory()[1] < 8e6
    tracemalloc.stop()
    assert len(table) == 2 * 2001
