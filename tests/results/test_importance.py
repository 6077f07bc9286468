"""Which features carry the risk: models of which it is known, and every permutation counted by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from made_up import PARAMS, PATIENTS
from test_subgroups import counted

from analysis_lib.results import answers
from analysis_lib.results.importance import COLUMNS, feature_groups, importances

COHORT = PARAMS.cohort
ASKED = PARAMS.importance.model_copy(update={"permutations": 6, "min_events": 5})
NAMES = ["sm_original_firstorder_Mean", "sm_wavelet-LLH_glcm_Contrast", "pm_original_shape2D_Sphericity", "roughness"]
TRUE, OTHER, SHAPE, UNNAMED = NAMES
PEOPLE = PATIENTS.set_index("patient_id")


@pytest.fixture(scope="module")
def features() -> pd.DataFrame:
    """The first is the risk that drives death, the others are noise."""
    rng = np.random.default_rng(5)
    table = pd.DataFrame(rng.normal(size=(len(PEOPLE), 4)), PEOPLE.index, NAMES)
    return table.assign(**{TRUE: PEOPLE["risk"]})


def networks(weights: list[dict[str, float]]):
    """Risks by linear networks of these weights."""
    return lambda x: pd.DataFrame({k: x[list(w)] @ pd.Series(w) for k, w in enumerate(weights)})


def test_what_the_model_ignores_loses_nothing_and_its_only_feature_all(features):
    found = importances(networks([{TRUE: 1.0}, {TRUE: 2.0}]), features, PEOPLE, COHORT, ASKED, 1)
    assert list(found) == COLUMNS and set(found["set"]) == set(COHORT.test_sets)
    for _, part in found.groupby("set"):
        loss = part.set_index("group")[["loss", "permutation_sd", "network_sd"]]
        assert (loss.loc[["wavelet-LLH", "glcm", "pm", "shape2D"]] == 0).all(axis=None)
        assert (loss.loc[["sm", "original", "firstorder"]] == loss.loc["all features"]).all(axis=None)
        assert (loss["network_sd"] == 0).all() and loss.loc["all features", "permutation_sd"] > 0
        whole = part["c_index"].iloc[0]
        assert whole > 0.6 and abs(whole - loss.loc["all features", "loss"] - 0.5) < 0.1
        assert (part.set_index("group")["share_first"][["sm", "original", "firstorder"]] == 1).all()
        assert (part.set_index("group")["share_first"][["pm", "wavelet-LLH", "glcm"]] == 0).all()


def test_losses_are_those_counted_by_hand(features):
    """Each table that the model is given holds every patient once a permutation, a group's features together."""
    given = []
    weights = [{TRUE: 1.0, OTHER: 0.3}, {OTHER: 1.0, SHAPE: -1.0}]
    risks = networks(weights)
    small = PEOPLE[(PEOPLE["split"] != "lt") | (np.arange(len(PEOPLE)) % 4 == 0)]

    def told(x):
        given.append(x)
        return risks(x)

    found = importances(told, features, small, COHORT, ASKED, 1)
    part = small[small["split"] == "lt"]
    n, own = len(part), features.loc[part.index].to_numpy()
    groups = feature_groups(NAMES)
    tables = given[-len(groups) :]
    outcome = part["time_months"].to_numpy(), part["event"].to_numpy() == 1
    whole = risks(features.loc[part.index])
    means = {}
    for (kind, group, at), table in zip(groups, tables, strict=True):
        blocks = table.to_numpy().reshape(ASKED.permutations, n, 4)
        losses = []
        for block in blocks:
            source = [int(np.flatnonzero((own[:, at] == row[at]).all(axis=1))[0]) for row in block]
            assert sorted(source) == list(range(n))  # everybody once, so the features of a group stay together
            kept = np.setdiff1d(range(4), at)
            assert (block[:, kept] == own[:, kept]).all()
            risk = risks(pd.DataFrame(block, columns=NAMES)).to_numpy()
            scores = [(whole.mean(axis=1).to_numpy(), risk.mean(axis=1))]
            scores += [(whole[k].to_numpy(), risk[:, k]) for k in range(2)]
            losses.append([counted(*outcome, a) - counted(*outcome, b) for a, b in scores])
        losses = np.array(losses)
        row = found[(found["set"] == "lt") & (found["group"] == group)].iloc[0]
        means[kind, group] = losses.mean(axis=0)
        assert row["loss"] == pytest.approx(losses[:, 0].mean(), abs=1e-12)
        assert row["permutation_sd"] == pytest.approx(losses[:, 0].std(ddof=1), abs=1e-12)
        assert row["network_sd"] == pytest.approx(means[kind, group][1:].std(ddof=1), abs=1e-12)
        assert (row["kind"], row["n_features"], row["n"]) == (kind, len(at), n)
    assert row["c_index"] == pytest.approx(counted(*outcome, whole.mean(axis=1).to_numpy()), abs=1e-12)
    first = [max((g for g in means if g[0] == "region"), key=lambda g, k=k: means[g][k])[1] for k in (1, 2)]
    shares = found[(found["set"] == "lt") & (found["kind"] == "region")].set_index("group")["share_first"]
    assert {name: first.count(name) / 2 for name in ("sm", "pm")} == shares.to_dict()


def test_training_patients_and_the_order_of_the_features_change_nothing_and_the_seed_does(features):
    risks = networks([{TRUE: 1.0, OTHER: 0.5}])
    found = importances(risks, features, PEOPLE, COHORT, ASKED, 1)
    assert found["network_sd"].isna().all()  # one network has no spread
    tested = PEOPLE[PEOPLE["split"] != "train"]
    pd.testing.assert_frame_equal(importances(risks, features.loc[tested.index], tested, COHORT, ASKED, 1), found)
    turned = importances(risks, features[NAMES[::-1]], PEOPLE, COHORT, ASKED, 1)
    keys = ["set", "kind", "group"]
    pd.testing.assert_frame_equal(
        turned.sort_values(keys, ignore_index=True), found.sort_values(keys, ignore_index=True)
    )
    other = importances(risks, features, PEOPLE, COHORT, ASKED, 2)
    assert (other["loss"] != found["loss"]).any() and (other["c_index"] == found["c_index"]).all()


def test_a_set_of_few_deaths_is_not_asked_and_a_table_of_other_features_is_one_group(features):
    few = PEOPLE.assign(event=PEOPLE["event"].where(PEOPLE["split"] != "lt", 0.0))
    found = importances(networks([{TRUE: 1.0}]), features, few, COHORT, ASKED, 1)
    lt = found[found["set"] == "lt"]
    assert (lt["note"] == "fewer than 5 deaths").all() and lt["loss"].isna().all() and (lt["events"] == 0).all()
    assert found.loc[found["set"] != "lt", "loss"].notna().all()
    assert [group for _, group, _ in feature_groups(["a", "b_c", "sm_x"])] == ["all features"]
    assert (
        importances(networks([{TRUE: 1.0}]), features, few[few["split"] == "train"], COHORT, ASKED, 1)["loss"]
        .isna()
        .all()
    )


def test_the_answer_names_the_groups_that_cost_most(features):
    found = importances(networks([{TRUE: 1.0}]), features, PEOPLE, COHORT, ASKED, 1)
    text = answers.importance(found, COHORT)
    assert "External LT test original (" in text and "firstorder (" in text and "first in 100% of networks" in text
    assert (
        answers.importance(found.assign(loss=np.nan), COHORT) == "No test set can tell which features carry the risk."
    )
