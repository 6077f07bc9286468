"""Split and exclusions."""

import numpy as np
import pandas as pd
import pytest
from finished import toy_patients, toy_study

from analysis_lib.cohort.cohort import (
    assemble,
    check_reach,
    check_sets,
    excluded_text,
    exclusion_table,
    split_patients,
    strata_of,
)
from analysis_lib.common.errors import ParameterError
from analysis_lib.core.parameters import PARAMS_DIR, CohortParams, Params, load_params
from analysis_lib.coxnet.settings import NetworkParams

COHORT = load_params("defaults").cohort


def patients(n_discovery=492, n_external=5):
    n = n_discovery + n_external
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "patient_id": [f"P{k:04d}" for k in range(n)],
            "set": ["discovery"] * n_discovery + ["external"] * n_external,
            "event": rng.integers(0, 2, n).astype(float),
        }
    )


def test_paper_sizes():
    split = split_patients(patients(), COHORT, seed=1)
    assert split.value_counts().to_dict() == {"train": 345, "internal": 147, "external": 5}


def test_split_follows_the_seed_and_not_the_order():
    table = patients()
    split = split_patients(table, COHORT, seed=1)
    shuffled = table.sample(frac=1, random_state=3)
    assert split_patients(shuffled, COHORT, seed=1).sort_index().equals(split)
    assert not split_patients(table, COHORT, seed=2).equals(split)


@pytest.mark.parametrize("gone", [0, 17, 300, 491])
def test_an_exclusion_moves_at_most_one_other_patient(gone):
    table = patients()
    before = split_patients(table, COHORT, seed=1)
    after = split_patients(table.drop(index=gone), COHORT, seed=1)
    assert (before.drop(index=gone) != after).sum() <= 1


def test_stratified_split_shares_out_the_deaths():
    table = patients()
    cohort = COHORT.model_copy(update={"stratify_by_event": True})
    split = split_patients(table, cohort, seed=1)
    for event, part in table[table["set"] == "discovery"].groupby("event"):
        assert (split[part.index] == "internal").sum() == int(0.3 * len(part)), event


def test_exclusions_keep_every_patient_and_find_their_set():
    one = pd.DataFrame({"patient_id": ["A"], "stage": ["clinical table"], "reason": ["x"], "set": ["lt"]})
    two = pd.DataFrame({"patient_id": ["B"], "stage": ["images"], "reason": ["y"]})
    table = exclusion_table([one, two], pd.Series({"B": "external"}))
    assert table[["patient_id", "set"]].values.tolist() == [["A", "lt"], ["B", "external"]]


def test_those_without_a_risk_score_are_not_counted_as_excluded():
    stages = pd.DataFrame({"stage": ["images", "radiomics", "clinical", "radiomics", "radiomics"]})
    assert excluded_text(stages) == "2 patients excluded, 3 analysed by indices only"
    assert excluded_text(stages.head(1)) == "1 patient excluded"
    assert excluded_text(stages.head(0)) == "0 patients excluded"


def test_own_sets_with_and_without_a_split():
    sets = {
        "kiel": {"label": "Kiel", "role": "discovery"},
        "lyon": {"label": "Lyon", "role": "train"},
        "porto": {"label": "Porto", "role": "test"},
    }
    cohort = CohortParams.model_validate({"sets": sets})
    table = patients(20, 10)
    table["set"] = ["kiel"] * 20 + ["lyon"] * 6 + ["porto"] * 4
    split = split_patients(table, cohort, seed=1)
    assert split.value_counts().to_dict() == {"train": 20, "internal": 6, "porto": 4}
    assert cohort.trained == ["kiel", "lyon"] and cohort.test_sets == ["internal", "porto"]
    whole = cohort.model_copy(update={"internal_fraction": 0.0})
    assert split_patients(table, whole, seed=1).value_counts().to_dict() == {"train": 26, "porto": 4}
    assert whole.test_sets == ["porto"]


def test_strata_are_a_column_of_the_clinical_table():
    patients = pd.DataFrame({"set": ["a", "b", "a"], "centre": ["x", None, "y"]})
    assert strata_of(patients, NetworkParams()) is None
    assert strata_of(patients, NetworkParams(strata="set")).tolist() == ["a", "b", "a"]
    assert strata_of(patients, NetworkParams(strata="centre")).tolist() == ["x", "unknown", "y"]
    with pytest.raises(ParameterError, match="network.strata is centre, but no patient .* has a centre"):
        strata_of(patients.assign(centre=None), NetworkParams(strata="centre"))


# 110 patients to month 90, of 60 in the discovery set 42 in training
NOBODY = pd.DataFrame({"patient_id": [], "set": [], "step": []})


def asking(**changes) -> Params:
    return Params.model_validate(load_params("smoke").model_dump() | changes)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"statistics": {"horizons_months": [12, 200]}},
            "horizons_months: month 200 is after the last follow-up of all",
        ),
        (
            {"statistics": {"horizons_months": [91]}},
            "horizons_months: month 91 .* month 90.0 after surgery; give one that",
        ),
        ({"statistics": {"rmst_months": 500}}, "statistics.rmst_months: month 500 is after the last follow-up"),
        ({"statistics": {"auc_first_month": 100, "auc_last_month": 120}}, "auc_first_month: month 100 is after"),
        (
            {"statistics": {"rmst_months": 80}, "landmark_months": 20},
            "month 80 .* month 70.0 after landmark at 20 months",
        ),
        (
            {"autoencoder": {"code_size": 5000}},
            "autoencoder.code_size: a code of 5000 .* than the 42 training patients",
        ),
        ({"autoencoder": {"code_size": 43}}, "a code of 43 variables is larger .*; give fewer variables than patients"),
        ({"multiverse": {"code_sizes": [10, 60]}}, "multiverse.code_sizes: a code of 60 variables"),
    ],
)
def test_what_no_patient_can_give_is_refused_once_the_patients_are_known(changes, says):
    table = toy_patients().drop(columns=["split", "time_months", "event"])
    names = ["patient_id", "smi"]
    with pytest.raises(ParameterError, match=says):
        assemble(table.drop(columns="smi"), table[names], asking(**changes))


def test_what_nobody_asked_for_is_not_refused():
    few = toy_patients().query("time_months < 30")  # too short for the horizons of every study
    check_reach(few, NOBODY, asking(statistics={"horizons_months": [12, 60], "rmst_months": 60}))
    check_reach(few.head(5), NOBODY, asking(autoencoder={"code_size": 100}, multiverse={"code_sizes": [50, 100]}))
    few = toy_patients().query("split == 'train'")
    with pytest.raises(ParameterError, match="a code of 20 variables is larger than the 5 training patients"):
        check_reach(few.head(5), NOBODY, asking())
    check_reach(few.head(5), few.iloc[5:][["patient_id", "set"]], asking())  # whom the question leaves out


@pytest.mark.parametrize("name", ["nobody", "Discovery", "lt2"])
def test_a_set_of_ones_own_that_no_row_names_is_refused(tmp_path, name):
    (tmp_path / "params").mkdir()
    (tmp_path / "params" / "defaults.yaml").write_bytes((PARAMS_DIR / "defaults.yaml").read_bytes())
    study = toy_study(
        tmp_path,
        cohort=CohortParams.model_validate(
            {"sets": COHORT.model_dump()["sets"] | {name: {"label": "Own", "role": "test"}}}
        ),
    )
    row, other = pd.DataFrame({"set": ["discovery"]}), pd.DataFrame({"set": [name]})
    with pytest.raises(
        ParameterError, match=f"cohort.sets.{name}: no row of patients.csv has '{name}' .* {name}: null"
    ):
        check_sets(study, row, row)
    check_sets(study, row, other)  # refused for its values; that the letter's others are empty is nobody's slip
