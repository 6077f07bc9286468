"""The answers: numbers of the tables, in sentences, also where a table has little or nothing to say."""

import numpy as np
import pandas as pd
import pytest

from analysis_lib.core.parameters import load_params
from analysis_lib.results import answers

SETS = load_params("smoke").cohort
NAN = float("nan")


def test_cohort():
    patients = pd.DataFrame({"set": ["discovery", "discovery", "lt"], "event": [1.0, 0.0, 1.0]})
    exclusions = pd.DataFrame({"stage": ["images", "images", "clinical"]})
    text = answers.cohort(patients, exclusions, SETS)
    assert text.startswith("3 patients are analysed (Discovery 2, External LT test 1); 2 of them died.")
    assert text.endswith("2 at images and 1 at clinical.")
    assert answers.cohort(patients, exclusions.iloc[:0], SETS).endswith("Nobody was left out.")


def test_sarcopenia_names_what_is_significant():
    table = pd.DataFrame(
        {
            "set": ["discovery", "discovery", "lt"],
            "outcome": ["OS", "OS", "OS"],
            "definition": ["PMA", "PMI", "PMA"],
            "prevalence": [0.44, 0.5, 0.1],
            "p": [0.03, 0.9, NAN],
        }
    )
    text = answers.sarcopenia(table, SETS, 0.95)
    assert text.startswith("In Discovery the definitions call 44% to 50% sarcopenic. Of 2 hazard ratios")
    assert text.endswith("PMA (Discovery, OS).")
    assert answers.sarcopenia(table.assign(p=NAN), SETS, 0.95).endswith("significant (P < 0.05) are: none.")


def test_extended():
    table = pd.DataFrame(
        {
            "set": "discovery", "outcome": "OS", "definition": ["PMA", "PMI", "JSH"], "in_paper": [True, True, False],
            "hr": [2.0, 1.5, 3.0], "p_bh": [0.04, 0.3, 0.01], "mi_hr": [1.8, 0.9, 2.0], "mi_p": [0.01, 0.8, 0.01],
        }
    )  # fmt: skip
    text = answers.extended(table, SETS, 0.95)
    assert "after Benjamini-Hochberg) are: PMA (Discovery, OS)." in text
    assert text.endswith("After adjustment, 1 of 2 hazard ratios are significant, and 1 lie on the other side of 1.")
    assert answers.extended(table.assign(mi_hr=NAN), SETS, 0.95).endswith("No hazard ratio could be adjusted.")


def test_splines_and_radiomics():
    notes = pd.DataFrame({"panel": ["PMA"], "text": ["overall P=0.02, curvature P=0.60"]})
    assert "in Discovery: PMA, overall P=0.02" in answers.splines(notes, SETS)
    table = pd.DataFrame(
        {"definition": ["PMA", "PD"], "auc": [0.73, NAN], "low": 0.6, "high": 0.87, "p_permutation": [0.01, NAN]}
    ).assign(patients="all sets", words="acceptably apart")
    assert "In all sets the components separate PMA (permutation P < 0.05), of 1 that" in answers.radiomics(table, 0.95)
    assert answers.radiomics(table.iloc[1:], 0.95).startswith("In all sets no definition has groups")
    within = table.assign(patients="Discovery", p_permutation=0.4)
    assert "In Discovery the components separate no definition" in answers.radiomics(pd.concat([table, within]), 0.95)


@pytest.mark.parametrize(
    ("low", "said"),
    [
        ([0.70, 0.55], "here, in Discovery, PMI (0.61) no better than PD (0.57)."),
        ([0.50, 0.55], "here, in Discovery, PMA (0.77) and PMI (0.61) no better than PD (0.57)."),
        ([0.70, 0.58], "here, in Discovery, so they are."),
    ],
)
def test_what_the_components_tell_apart_is_set_beside_what_the_letter_says(low, said):
    names = {"definition": ["PMA", "PMI", "PD"], "words": "poorly apart", "p_permutation": 0.5, "high": 0.9}
    table = pd.DataFrame(names | {"auc": [0.77, 0.61, 0.57], "low": [*low, 0.4], "patients": "Discovery"})
    pooled = table.assign(patients="all sets", low=0.99)
    assert answers.radiomics(pd.concat([pooled, table]), 0.95).endswith(said)
    assert "letter" not in answers.radiomics(table[table["definition"] != "PD"], 0.95)


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0.3, 0.9, "TFDeepSurv predicts too many deaths in External LT test (at 12 and 60 months)."),
        (1.1, 1.9, "TFDeepSurv predicts too few deaths in External LT test (at 12 and 60 months)."),
        (0.3, 1.9, "Every interval holds 1."),
    ],
)
def test_too_many_predicted_deaths_are_said(low, high, said):
    rows = {"set": "lt", "month": [12.0, 60.0], "predicted": [0.1, 0.5], "observed": [0.1, 0.4], "ratio": [0.53, 0.62]}
    calibration = pd.DataFrame(rows | {"ratio_low": low, "ratio_high": high})
    text = answers.beyond(calibration, pd.DataFrame(columns=["cause", "naive", "incidence"]), SETS)
    assert f"Observed over predicted deaths (O/E): External LT test 0.53 to 0.62. {said}" in text


def test_model():
    compared = pd.DataFrame({"option": ["two steps", "joint"], "fold": [1, 1], "c_index": [0.6, 0.5]})
    kept = pd.DataFrame({"split": ["train"], "n": [3], "autoencoder": [0.91], "pca": [1.0]})
    text = answers.model(kept, compared, SETS)
    assert text == (
        "The code keeps 91% in Training of the variance of the features. Within the training patients the mean C-index "
        "over 1 folds is 0.60 for two steps and 0.50 for joint."
    )
    assert "keeps no decoder" in answers.model(kept.iloc[:0], compared, SETS)


def test_risk_groups_and_discrimination_speak_of_unseen_patients_alone():
    groups = pd.DataFrame(
        {"set": ["train", "lt"], "hr": [9.0, 2.0], "hr_low": 1.1, "hr_high": [20.0, 3.0], "p_logrank": [0.001, 0.2]}
    )
    text = answers.risk_groups(groups, SETS, 0.95)
    assert "External LT test 2.00" in text and "9.0" not in text and "0 of the 1 test sets" in text
    assert answers.risk_groups(groups.iloc[:1], SETS, 0.95).startswith("There is no test set")
    c_index = pd.DataFrame(
        {"set": ["train", "lt"], "model": "TFDeepSurv", "c_index": [0.9, 0.6], "low": 0.5, "high": 0.7}
    )
    pairs = pd.DataFrame(
        {
            "set": "lt",
            "model": ["PMA", "PMI", "PMI continuous"],
            "difference": [0.1, -0.1, 0.02],
            "p": [0.01, 0.01, 0.7],
        }
    )
    text = answers.discrimination(c_index, pairs, SETS, 0.95)
    assert "1 of 2 comparisons with a definition and 0 of 1 comparisons with a continuous index" in text


def test_published_and_beyond():
    comparison = pd.DataFrame({"inside": pd.array([True, False, None], dtype="boolean")})
    widths = pd.DataFrame({"width_bootstrap": [0.2, 0.3], "width_published": [0.1, 0.05]})
    assert answers.published(comparison, widths, "Made up.") == (
        "1 of the 2 printed numbers that have an interval here lie inside it. Our intervals of the C-index are 2 to 6 "
        "times as wide as the letter's. Made up."
    )
    calibration = pd.DataFrame({"set": "lt", "month": [12.0, 60.0], "predicted": [0.1, 0.5], "observed": [0.1, 0.4]})
    calibration = calibration.assign(ratio=NAN, ratio_low=NAN, ratio_high=NAN)
    incidence = pd.DataFrame({"cause": ["Recurrence", "Death"], "naive": [0.4, 0.9], "incidence": [0.35, 0.1]})
    text = answers.beyond(calibration, incidence, SETS)
    assert text.startswith("Risk of death by 60 months: External LT test 50% predicted and 40% observed.")
    assert text.endswith("by up to 5 percentage points.")
    empty = answers.beyond(calibration.iloc[:0], incidence.iloc[:0], SETS)
    assert empty == "No test set is followed long enough. Recurrence is not known."


def test_small_data_and_added_value():
    rows = [
        ("training", 0.8, NAN, NAN, 1),
        ("training, .632+", 0.65, NAN, NAN, 5),
        ("repeated splits", 0.6, 0.5, 0.7, 5),
    ]
    summary = pd.DataFrame(rows, columns=["quantity", "value", "low", "high", "n"])
    text = answers.small_data(summary)
    assert text.startswith(
        "The C-index in the training patients is 0.80, 0.65 by .632+. In unseen patients of 5 random"
    )
    assert answers.small_data(summary.iloc[:1]).endswith("No other split was tried.")
    brier = pd.DataFrame({"set": "lt", "model": "TFDeepSurv", "month": ["12", "integral"], "skill": [0.5, 0.1]})
    added = pd.DataFrame({"set": "lt", "added_to": ["Clinical", "Best definition"], "p": [0.01, NAN]})
    text = answers.added_value(brier, added, SETS, 0.95)
    assert "removes: External LT test 10%." in text and "in 1 of 1 tests: External LT test beside clinical" in text


def test_stability_multiverse_and_search():
    assert answers.stability(pd.Series([0.8, 0.5, np.nan]), 2, 0.75).startswith("1 of 3 features")
    ratios = pd.DataFrame({"hr": [2.0, 0.5, NAN], "p": [0.01, 0.5, NAN]})
    gains = pd.DataFrame({"gain": [0.1, 0.2], "p": [0.5, 0.6]})
    text = answers.multiverse(ratios, gains, 0.95)
    assert "Over 2 specifications the median hazard ratio is 1.25, above 1 in 50%, and significant in 50%." in text
    assert text.endswith("above 0 in 100%, and significant in 0%.")
    trials = pd.DataFrame({"trial": [1, 2, 3], "value": [3.0, 2.5, NAN]})
    assert answers.search(trials) == (
        "The best of 2 trials is number 2, loss per event 2.5000; the study's own values have 3.0000."
    )
