"""Subgroups: each one's numbers are those of its own patients; a difference is between groups who share nobody."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from made_up import PARAMS, PATIENTS, STATISTICS

from analysis_lib.results import answers
from analysis_lib.results.calibration import UNPREDICTED
from analysis_lib.results.subgroups import COLUMNS, levels, subgroups
from analysis_lib.survival import survival
from analysis_lib.survival.cox import cox_fit
from analysis_lib.survival.resampling import bootstrap_counts
from analysis_lib.survival.unpaired import c_index_gap

COHORT, MONTHS = PARAMS.cohort, sorted(STATISTICS.horizons_months)
LOOK_UP = {"sex": {"men": "M", "women": "F"}, "centre": {"A": "A", "B": "B"}}


def asked(patients: pd.DataFrame, **changes) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The table of ``patients``, and the model's survival that it was given."""
    risk = patients.set_index("patient_id")["risk"]
    alive = np.exp(-np.exp(0.9 * risk.to_numpy())[:, None] * np.array(MONTHS) / 300)
    alive = pd.DataFrame(alive, risk.index, MONTHS)
    statistics = STATISTICS.model_copy(update={"subgroup_min_events": 5, "curve_replicates": 20, **changes})
    return subgroups(patients, risk, alive, COHORT, statistics, 1), alive


def inside(part: pd.DataFrame, row) -> pd.Series:
    if row.subgroup == "age":
        return part["age"] < 65 if row.level == "below 65 years" else part["age"] >= 65
    return part[row.subgroup] == LOOK_UP[row.subgroup][row.level] if row.subgroup != "all" else part["age"] > 0


def kaplan_meier_by_hand(time: np.ndarray, event: np.ndarray, month: float) -> float:
    alive = 1.0
    for t in sorted(set(time[(event == 1) & (time <= month)])):
        alive *= 1 - ((time == t) & (event == 1)).sum() / (time >= t).sum()
    return alive


CENTRE = np.where(PATIENTS["set"] == "external", np.where(np.arange(len(PATIENTS)) % 3 == 0, "B", "A"), "")
BY_CENTRE = PATIENTS.assign(centre=CENTRE)  # the made-up cohort, of two centres in one set


@pytest.fixture(scope="module")
def by_centre() -> tuple[pd.DataFrame, pd.DataFrame]:
    return asked(BY_CENTRE)


def test_a_subgroup_is_its_own_table(by_centre):
    table, alive = by_centre
    assert list(table) == COLUMNS and set(table["set"]) == set(COHORT.test_sets)
    assert set(table["subgroup"]) == {"all", "sex", "age", "centre"}
    assert set(table.loc[table["subgroup"] == "centre", "set"]) == {"external"}
    for row in table.itertuples():
        part = BY_CENTRE[BY_CENTRE["split"] == row.set]
        part = part[inside(part, row)]
        time, event = part["time_months"].to_numpy(), part["event"].to_numpy()
        assert (row.n, row.events, row.month) == (len(part), event.sum(), 60)
        if row.events < 5:
            assert row.note == "fewer than 5 deaths" and np.isnan(row.c_index)
            continue
        own = survival.bootstrap_c_index(time, event, part["risk"].to_numpy(), 100, 0.95, 1).iloc[0]
        assert (row.c_index, row.c_index_low, row.c_index_high) == (own["c_index"], own["low"], own["high"])
        assert row.c_index == survival.c_index(time, event, part["risk"])
        dead = 1 - alive.loc[part["patient_id"], 60].to_numpy()
        observed = 1 - kaplan_meier_by_hand(time, event, 60)
        assert row.observed == pytest.approx(observed, abs=1e-12)
        assert row.ratio == pytest.approx(observed / dead.mean(), abs=1e-12)
        if np.isnan(row.ratio_low):
            assert row.note == "no interval of the O/E: too few resamples have one" and row.n < 20
        else:
            assert row.ratio_low <= row.ratio <= row.ratio_high and row.note == ""
        slope = cox_fit(time, event == 1, np.log(-np.log1p(-dead))[:, None]).coefficients[0]
        assert row.slope == pytest.approx(slope, abs=1e-9) and row.slope_low < row.slope < row.slope_high
    assert table["c_index"].notna().sum() > len(table) - 3
    counts = table.groupby(["set", "subgroup"])[["n", "events"]].sum().unstack("set")
    assert counts.loc["sex"].equals(counts.loc["all"]) and counts.loc["age"].equals(counts.loc["all"])


def test_a_difference_is_that_of_the_two_rows(by_centre):
    table, _ = by_centre
    for (name, subgroup), rows in table.groupby(["set", "subgroup"]):
        first, *others = rows[rows["c_index"].notna()].to_dict("records")
        assert np.isnan(first["difference"]) and np.isnan(first["p"])
        assert len(rows) == 1 + (subgroup != "all"), name
        for row in others:
            assert row["difference"] == row["c_index"] - first["c_index"]
            assert row["difference_low"] < row["difference"] < row["difference_high"] and 0 < row["p"] <= 1
            assert (row["p"] < 0.05) == (not row["difference_low"] <= 0 <= row["difference_high"])


def counted(time, event, risk) -> float:
    """C-index by every pair."""
    right = pairs = 0.0
    for i, j in itertools.permutations(range(len(time)), 2):
        if event[i] and (time[i] < time[j] or (time[i] == time[j] and not event[j])):
            pairs += 1
            right += (risk[i] > risk[j]) + (risk[i] == risk[j]) / 2
    return right / pairs if pairs else np.nan


def test_gap_is_that_of_replicates_drawn_by_hand():
    rng = np.random.default_rng(3)
    groups = [(rng.integers(1, 30, n).astype(float), rng.random(n) < 0.6, rng.normal(size=n)) for n in (14, 9)]
    found = c_index_gap(*groups, 60, 0.9, 7)
    drawn = []
    for k, group in enumerate(groups):
        resamples = [np.repeat(np.arange(len(group[0])), c) for c in bootstrap_counts(len(group[0]), 60, 7 + k)]
        drawn.append([counted(*(column[rows] for column in group)) for rows in resamples])
    gap = np.subtract(*drawn)
    gap = gap[np.isfinite(gap)]
    assert found["difference"] == pytest.approx(counted(*groups[0]) - counted(*groups[1]), abs=1e-12)
    assert [found["low"], found["high"]] == pytest.approx(np.quantile(gap, [0.05, 0.95]), abs=1e-12)
    side = min((gap > 1e-12).sum(), (gap < -1e-12).sum()) + (np.abs(gap) <= 1e-12).sum() / 2
    assert found["p"] == pytest.approx(min(1, 2 * (side + 1) / (len(gap) + 1)), abs=1e-12)


def drawn_group(rng: np.random.Generator, n: int, effect: float):
    risk = rng.normal(size=n)
    death, end = rng.exponential(30 * np.exp(-effect * risk)), rng.uniform(10, 60, n)
    return np.minimum(death, end), death <= end, risk


@pytest.mark.parametrize(("effects", "least", "most"), [((0.7, 0.7), 0.01, 0.10), ((1.5, 0.0), 0.9, 1.0)])
def test_groups_alike_seldom_differ(effects, least, most):
    """150 cohorts of two groups: of one model, 5% of them with P < 0.05; of a good and a useless one, nearly all."""
    rng = np.random.default_rng(11)
    p = [c_index_gap(*(drawn_group(rng, 70, e) for e in effects), 200, 0.95, k)["p"] for k in range(150)]
    assert least <= np.mean(np.array(p) < 0.05) <= most


def test_sets_and_subgroups_that_are_too_small_say_so():
    few = PATIENTS.copy()
    few.loc[(few["split"] == "lt") & (few["sex"] == "F"), "event"] = 0.0
    few.loc[few["split"] == "external", "event"] = 0.0
    few.loc[few.index[few["split"] == "internal"][:3], "age"] = np.nan
    table, _ = asked(few)
    women = table[(table["set"] == "lt") & (table["level"] == "women")].iloc[0]
    assert women["note"] == "fewer than 5 deaths" and women["events"] == 0
    numbers = [c for c in COLUMNS if c not in ("set", "subgroup", "level", "n", "events", "month", "note")]
    assert women[numbers].isna().all()
    assert table.loc[table["set"] == "external", numbers].isna().all(axis=None)
    ages = table[(table["set"] == "internal") & (table["subgroup"] == "age")]
    assert ages["n"].sum() == (few["split"] == "internal").sum() - 3
    assert ages["note"].str.contains("age of 3 patients is not known").all()
    nobody, _ = asked(few[few["split"] == "train"])
    assert nobody.empty and list(nobody) == COLUMNS


def test_men_alone_are_one_level_and_a_horizon_nobody_reaches_has_no_calibration():
    men = PATIENTS.assign(sex="M", time_months=PATIENTS["time_months"].clip(upper=50))
    table, alive = asked(men)
    assert set(table.loc[table["subgroup"] == "sex", "level"]) == {"men"}
    assert table["ratio"].isna().all() and table["c_index"].notna().sum() > len(table) - 3
    assert table.loc[table["c_index"].notna(), "note"].str.contains("last follow-up 50.0").all()
    statistics = STATISTICS.model_copy(update={"subgroup_min_events": 5})
    found = subgroups(men, men.set_index("patient_id")["risk"], alive * np.nan, COHORT, statistics, 1)
    assert (found.loc[found["c_index"].notna(), "note"] == UNPREDICTED).all() and found["ratio"].isna().all()


@pytest.mark.parametrize("age", [40, 65, 70.5])
def test_levels_part_the_patients_whatever_the_age(age):
    found = levels(PATIENTS.assign(centre="   ".strip()), age)
    assert list(found) == ["all", "sex", "age"]  # a centre that nobody has is no subgroup
    old = found["age"] == f"{age:g} years and above"
    assert (PATIENTS.loc[old, "age"] >= age).all() and (PATIENTS.loc[~old, "age"] < age).all()


def test_the_answer_names_what_differs():
    row = {
        "set": "lt",
        "subgroup": "sex",
        "level": "men",
        "c_index": 0.7,
        "p": np.nan,
        "ratio_low": 0.5,
        "ratio_high": 1.5,
    }
    rows = [row | {"subgroup": "all"}, row, row | {"level": "women", "p": 0.01, "ratio_high": 0.9}]
    rows += [row | {"subgroup": "age", "c_index": np.nan}]
    text = answers.subgroups(pd.DataFrame(rows), COHORT, 0.95)
    assert "Of 1 differences" in text and "1 are significant (External LT test, women)" in text
    assert "O/E is not 1 in External LT test, women; 1 of 3 subgroups" in text
    assert "O/E is not 1 in none; 0 of 0" in answers.subgroups(pd.DataFrame(columns=COLUMNS), COHORT, 0.95)
