"""The multiverse agrees with the study where it makes the study's choices, and resumes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from test_results_beyond import PATIENTS

from analysis_lib import multiverse
from analysis_lib.params import load_params
from analysis_lib.reporting import plots_multiverse, results

PARAMS = load_params("smoke").model_copy(update={"workers": 1})


def test_cut_offs_span_the_published_ones():
    smi = multiverse.cut_off_choices(PARAMS, "smi")
    assert len(smi) == PARAMS.multiverse.cut_off_steps
    assert smi[0] == (36.2, 29.6) and smi[-1] == (55.0, 41.1)
    density = multiverse.cut_off_choices(PARAMS, "pm_mean_hu")  # one published cut-off alone
    np.testing.assert_allclose([density[0][0], density[2][0], density[-1][0]], [38.5 * 0.9, 38.5, 38.5 * 1.1])


@pytest.fixture(scope="module")
def ratios() -> pd.DataFrame:
    return multiverse.hazard_ratios({"as measured": PATIENTS, "other": PATIENTS}, PARAMS, quiet=True)


def test_the_study_is_one_of_its_specifications(ratios):
    table2 = results.table_two(PATIENTS, PARAMS.definitions, PARAMS.cohort, PARAMS.statistics)
    ours = table2[(table2["definition"] == "PD") & (table2["set"] == "discovery")].set_index("outcome")
    middle = ratios[(ratios["index"] == "PD") & (ratios["cut_off"] == "38.5 / 38.5") & ~ratios["adjusted"]]
    for row in middle[middle["set"] == "discovery"].itertuples():
        assert row.hr == pytest.approx(ours.loc[row.outcome, "hr"], rel=1e-9)
        assert row.p == pytest.approx(ours.loc[row.outcome, "p"], rel=1e-9)
    assert len(middle) == 5


def test_specifications_are_all_different_and_counted(ratios):
    choices = ["set", "outcome", "index", "window", "groups", "cut_off", "adjusted"]
    assert not ratios.duplicated(choices).any()
    # 5 sets with an outcome; 5 indices as measured and the 2 of SM in the other window; 7 groupings; adjusted or not
    assert len(ratios) == 5 * (5 + 2) * 7 * 2
    assert set(ratios.loc[ratios["window"] == "other", "index"]) == {"SMI", "MA"}
    adjusted = ratios[ratios["adjusted"] & (ratios["set"] == "discovery")]
    assert (adjusted["n"] == 210).all()  # complete cases


def test_curves_are_drawn(ratios):
    fig = plots_multiverse.specification_curve(ratios, "hr", 1.0)
    assert "specifications" in fig.texts[0].get_text() and len(fig.axes) == 2
