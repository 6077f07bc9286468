"""Split and exclusions."""

import numpy as np
import pandas as pd
import pytest

from analysis_lib.cohort.cohort import excluded_text, exclusion_table, split_patients, strata_of
from analysis_lib.common.errors import ParameterError
from analysis_lib.core.parameters import CohortParams, load_params
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
