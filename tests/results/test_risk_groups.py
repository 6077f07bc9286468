"""Risk groups of Figs. 4, S4 and S5: who is in them, and their hazard ratios by lifelines."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from lifelines import CoxPHFitter, KaplanMeierFitter
from made_up import PARAMS, PATIENTS, STATISTICS

from analysis_lib.results.risk_groups import risk_group_curves, risk_group_table

TRAIN = PATIENTS[PATIENTS["split"] == "train"]
# That of a patient, who is not above it.
CUT_OFF = float(np.sort(TRAIN["risk"])[len(TRAIN) // 2])
SPLITS = ["train", "internal", "external", "lt"]


def hazard_ratio(part: pd.DataFrame, x: pd.Series) -> list[float]:
    """Hazard ratio of one more of ``x``, its interval and P."""
    fitted = CoxPHFitter().fit(part[["time_months", "event"]].assign(x=x.astype(float)), "time_months", "event")
    row = fitted.summary.loc["x"]
    return [row["exp(coef)"], row["exp(coef) lower 95%"], row["exp(coef) upper 95%"], row["p"]]


def test_table_of_risk_groups():
    table = risk_group_table(PATIENTS, PARAMS.cohort, CUT_OFF, STATISTICS).set_index("set")
    assert table.index.tolist() == SPLITS
    assert table.loc["train", "n_high_risk"] == len(TRAIN) - len(TRAIN) // 2 - 1
    for name in SPLITS:
        part, row = PATIENTS[PATIENTS["split"] == name], table.loc[name]
        high = part["risk"] > CUT_OFF
        counts = [len(part), part["event"].sum(), high.sum(), part["event"][high].sum()]
        assert row[["n", "events", "n_high_risk", "events_high_risk"]].tolist() == counts
        found = row[["hr", "hr_low", "hr_high", "p"]].tolist()
        assert found == pytest.approx(hazard_ratio(part, high), rel=1e-4)
        found = row[["hr_per_sd", "hr_per_sd_low", "hr_per_sd_high", "p_per_sd"]].tolist()
        assert found == pytest.approx(hazard_ratio(part, part["risk"] / TRAIN["risk"].std()), rel=1e-4)
        for group, members in (("high_risk", part[high]), ("low_risk", part[~high])):
            curve = KaplanMeierFitter().fit(members["time_months"], members["event"])
            median = row[f"median_{group}_months"]
            if np.isnan(median):
                assert curve.survival_function_.min().item() > 0.5
            else:
                half = 0.5 + np.array([-1e-12, 1e-12])  # products of fractions
                assert curve.predict(median - 0.01) >= half[0] and curve.predict(median + 0.01) <= half[1]
        near = sum(abs(r - CUT_OFF) <= s for r, s in zip(part["risk"], part["spread"], strict=True))
        assert row["n_near_cutoff"] == near > 0 and row["share_near_cutoff"] == near / len(part)
    assert (table["hr"] > 1).all() and (table["hr_per_sd"] > 1).all()  # higher is worse


def test_noise_in_the_last_digits_changes_no_group_in_table_or_curves():
    """Least of all that of the training patient who is the cut-off."""
    rng = np.random.default_rng(5)
    noisy = PATIENTS.assign(risk=PATIENTS["risk"] + rng.uniform(0, 1e-6, len(PATIENTS)))
    assert (noisy["risk"] > CUT_OFF).sum() == (PATIENTS["risk"] > CUT_OFF).sum() + 1
    cases = []
    for patients in (PATIENTS, noisy):
        table = risk_group_table(patients, PARAMS.cohort, CUT_OFF, STATISTICS)
        at_risk = risk_group_curves(patients, PARAMS.cohort, CUT_OFF, STATISTICS, [0])["at_risk"]
        cases.append([table["n_high_risk"].tolist(), table["hr"].tolist(), at_risk["n"].tolist()])
    assert cases[0] == cases[1]


def test_an_ensemble_of_one_network_does_not_say_who_is_near_the_cut_off():
    alone = PATIENTS.assign(spread=np.nan)
    table = risk_group_table(alone, PARAMS.cohort, CUT_OFF, STATISTICS)
    assert table[["n_near_cutoff", "share_near_cutoff"]].isna().all(axis=None)
    notes = risk_group_curves(alone, PARAMS.cohort, CUT_OFF, STATISTICS, [0])["annotations"]
    assert (notes["below"] == "").all()


def test_curves_of_risk_groups():
    frames = risk_group_curves(PATIENTS, PARAMS.cohort, CUT_OFF, STATISTICS, [0, 24])
    rows = frames["at_risk"].set_index(["panel", "group", "month"])
    at_risk = rows["n"]
    assert rows.index.unique("group").tolist() == ["Low risk", "High risk"]  # in drawing order
    notes = frames["annotations"].set_index("panel")
    for name in SPLITS:
        part = PATIENTS[PATIENTS["split"] == name]
        high = part["risk"] > CUT_OFF
        for group, members in (("High risk", part[high]), ("Low risk", part[~high])):
            assert at_risk[name, group, 0] == len(members)
            assert at_risk[name, group, 24] == (members["time_months"] >= 24).sum()
            before, died = members["time_months"] < 24, members["event"] == 1
            assert rows.at[(name, group, 24), "n_events"] == (before & died).sum()
            assert rows.at[(name, group, 24), "n_censored"] == (before & ~died).sum()
            assert rows.at[(name, group, 24), "label"] == f"{group}, events: {died.sum()} of {len(members)}"
            curve = frames["curves"].query("panel == @name and group == @group")
            fitted = KaplanMeierFitter().fit(members["time_months"], members["event"])
            np.testing.assert_allclose(curve["survival"], fitted.predict(curve["month"]), rtol=1e-9)
        near = ((part["risk"] - CUT_OFF).abs() <= part["spread"]).sum()
        assert notes.loc[name, "below"].endswith(f"cut-off: {near} of {len(part)} ({near / len(part):.0%})")
        assert f"n = {len(part)}" in notes.loc[name, "title"]
        assert f"HR {hazard_ratio(part, high)[0]:.2f} (" in notes.loc[name, "text"]
