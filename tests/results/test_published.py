"""The comparison with the letter: every printed number appears once, and 'inside' means what it says."""

import numpy as np
import pandas as pd
import pytest
from lifelines import CoxPHFitter

from analysis_lib.common.errors import ParameterError
from analysis_lib.core.artefacts import ARTEFACTS
from analysis_lib.core.parameters import load_params
from analysis_lib.figures.comparison import comparison_frame, paper_comparison
from analysis_lib.results import answers
from analysis_lib.results.published import (
    KEYS,
    compare,
    inside_counts,
    letter_c_index,
    printed_numbers,
    published_intervals,
)
from analysis_lib.stages.optimism import with_marks


def results():
    rng = np.random.default_rng(1)
    patients = pd.DataFrame({"set": ["discovery"] * 400, "sex": ["M"] * 300 + ["F"] * 100})
    patients["age"], patients["bmi"] = rng.normal(55.9, 11.1, 400), rng.normal(30, 1, 400)
    patients["tumour_single"], patients["tumour_diameter_over_5cm"], patients["vascular_invasion"] = (
        1.0,
        0.0,
        np.nan,
    )
    table2 = pd.DataFrame(
        {
            "set": "discovery", "definition": ["PMA"], "outcome": ["OS"], "n": [400], "n_sarcopenic": [170],
            "prevalence": [0.425], "hr": [1.5], "hr_low": [1.0], "hr_high": [1.55], "p": [0.04],
        }
    )  # fmt: skip
    c_index = pd.DataFrame(
        {"set": ["internal"], "model": ["TFDeepSurv"], "c_index": [0.7], "low": [0.6], "high": [0.8]}
    )
    return compare(patients, table2, c_index, 0.95).set_index("item")


def test_every_printed_number_has_a_row():
    printed = printed_numbers()
    count = sum(1 + 4 * ("age" in c) + 2 * (len(c) - 3) for c in printed["table1"].values())
    for definitions in printed["table2"].values():
        count += sum(2 + 4 * (len(cells) - 1) for cells in definitions.values())
    count += 3 * len(printed["c_index"])
    table = results()
    assert len(table) == count
    assert table.index.is_unique and not table.duplicated(KEYS).any()


def test_an_item_says_in_words_what_its_columns_say():
    said = results()[KEYS].agg(tuple, axis=1)
    assert said["Table 1 discovery tumour diameter > 5 cm, %"] == (
        *("Table 1", "discovery", "", "", "tumour_diameter_over_5cm", "%"),
    )
    assert said["Table 2 external PMA OS HR, interval low"] == ("Table 2", "external", "PMA", "OS", "HR", "low")
    assert said["Table 2 external PMA OS P"] == ("Table 2", "external", "PMA", "OS", "HR", "P")
    assert said["Fig. 5 lt TFDeepSurv C-index"] == ("Fig. 5", "lt", "TFDeepSurv", "", "C-index", "estimate")


def test_artefacts_name_printed_numbers_that_there_are():
    table = results().reset_index()
    found = {stem: artefact.published.of(table) for stem, artefact in ARTEFACTS.items() if artefact.published}
    assert len(found) >= 9 and all(len(rows) for rows in found.values())
    assert len(found["fig2"]) == 4 * found["fig2"]["marker"].nunique() and set(found["fig2"]["outcome"]) == {"OS"}
    assert found["fig1"]["statistic"].unique().tolist() == ["n"]


@pytest.mark.parametrize(
    ("item", "inside"),
    [
        ("Table 1 discovery age, years, mean", True),
        ("Table 1 discovery BMI, kg/m², mean", False),
        ("Table 2 discovery PMA sarcopenic, %", True),
        ("Table 2 discovery PMA OS HR", False),
        ("Fig. 5 internal TFDeepSurv C-index", True),
        ("Table 2 discovery PMA OS P", pd.NA),
        ("Table 2 lt PD OS HR", pd.NA),
        ("Table 1 discovery vascular invasion, %", pd.NA),
    ],
)
def test_inside(item, inside):
    value = results().at[item, "inside"]
    assert value is inside if inside is pd.NA else value == inside


def test_wilson_interval_against_its_closed_form():
    row = results().loc["Table 2 discovery PMA sarcopenic, %"]
    z, n, p = 1.959963984540054, 400, 0.425
    centre, half = (p + z * z / (2 * n)), z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    assert row["low"] == pytest.approx(100 * (centre - half) / (1 + z * z / n))
    assert row["high"] == pytest.approx(100 * (centre + half) / (1 + z * z / n))


def test_interval_of_a_mean_is_students():
    """60 -+ 4.302653 x 10 / sqrt(3), with the 97.5% point of t with 2 degrees of freedom."""
    patients = pd.DataFrame({"set": "discovery", "sex": "M", "age": [50.0, 60, 70], "bmi": np.nan})
    flags = dict.fromkeys(["tumour_single", "tumour_diameter_over_5cm", "vascular_invasion"], np.nan)
    none = pd.DataFrame(columns=["set", "definition", "outcome", "n", "n_sarcopenic", "hr", "hr_low", "hr_high", "p"])
    c_index = pd.DataFrame(columns=["set", "model", "c_index", "low", "high"])
    table = compare(patients.assign(**flags), none, c_index, 0.95).set_index("item")
    threshold = flags | {"tumour_diameter_over_5cm": 1.0}
    for cm, known in ((5.0, True), (3.0, False)):  # the letter has no number of patients above 3 cm
        found = compare(patients.assign(**threshold), none, c_index, 0.95, tumour_threshold_cm=cm).set_index("item")
        assert np.isfinite(found.at["Table 1 discovery tumour diameter > 5 cm, n", "ours"]) == known
    row = table.loc["Table 1 discovery age, years, mean"]
    assert row[["low", "high"]].tolist() == pytest.approx([35.15862, 84.84138], abs=1e-5)
    assert row["difference"] == pytest.approx(60 - row["published"])
    assert table.loc["Table 1 discovery age, years, SD", "ours"] == pytest.approx(10)


def test_a_paper_that_is_not_there_is_named():
    with pytest.raises(ParameterError, match="no params/published_tac.yaml; did you mean 'published_tace'"):
        printed_numbers("published_tac")


def test_the_letters_c_index_stands_beside_studies_that_are_compared_with_the_letter_alone():
    printed, replicates = letter_c_index("published"), pd.DataFrame({"kind": ["split"], "c_index": [0.6]})
    assert printed == tuple(printed_numbers()["c_index"]["internal"]) and letter_c_index("published_tace") is None
    assert with_marks(replicates, 0.7, printed)["kind"].tolist() == ["split", "single split", "letter"]
    assert with_marks(replicates, 0.7)["kind"].tolist() == ["split", "single split"]


def test_the_numbers_of_another_paper_stand_beside_the_runs_own():
    """Density per SD, normalised by sex, in one of its two sets; the Cox fit is that of lifelines."""
    rng = np.random.default_rng(4)
    n = 120
    patients = pd.DataFrame({"set": "hcc_tace", "sex": rng.choice(["M", "F"], n, p=[0.7, 0.3]), "os_event": 1})
    patients["sm_mean_hu"] = np.where(patients["sex"] == "M", 40, 30) + rng.normal(0, 8, n)
    patients["os_months"] = rng.exponential(24 * np.exp(0.02 * patients["sm_mean_hu"]))
    patients.loc[:4, "sm_mean_hu"], patients.loc[100:, "os_event"] = np.nan, 0
    printed = printed_numbers(load_params("public_hcc_tace").published)
    assert load_params("public_waw_tace").published == "published_tace"
    tables = pd.DataFrame(columns=["set", "definition", "outcome"]), pd.DataFrame(columns=["set", "model"])
    table = compare(patients, *tables, 0.95, printed=printed)
    rows = table.set_index("item")
    sexes = patients.groupby("sex")["sm_mean_hu"]
    score = (patients["sm_mean_hu"] - sexes.transform("mean")) / sexes.transform("std")
    fit = CoxPHFitter().fit(
        patients.assign(score=score)[["score", "os_months", "os_event"]].dropna(), "os_months", "os_event"
    )
    row = rows.loc["Abstract hcc_tace MA OS HR per SD"]
    truth = [fit.hazard_ratios_["score"], *np.exp(fit.confidence_intervals_.loc["score"])]
    assert row[["ours", "low", "high"]].tolist() == pytest.approx(truth, rel=1e-5)
    assert row["published"] == 0.79 and row["inside"] == (truth[1] <= 0.79 <= truth[2])
    assert rows.at["Abstract hcc_tace MA OS P", "ours"] == pytest.approx(fit.summary.at["score", "p"], rel=1e-4)
    assert rows.loc["Abstract hcc_tace patients, n", ["published", "ours"]].tolist() == [100, n - 5]
    assert len(rows) == 6 and rows.filter(like="waw_tace", axis=0)["ours"].isna().all()
    assert rows.at["Abstract waw_tace MA OS HR per SD", "published"] == 0.84

    intervals = published_intervals(pd.DataFrame(columns=["set", "model"]), printed["c_index"])
    assert intervals.empty and inside_counts(table)["printed"].sum() == 6
    frame = comparison_frame(table, {"hcc_tace": "HCC-TACE-Seg"})
    assert frame["group"].unique().tolist() == ["Hazard ratio per SD, OS"] and frame["set"][1] == "HCC-TACE-Seg"
    assert len(paper_comparison(frame).axes) == 1
    assert answers.published(table, intervals, "").split(" printed")[0] in ("0 of the 1", "1 of the 1")
