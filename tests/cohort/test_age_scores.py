"""Scores by age and sex against printed examples of growth charts, whose LMS form the reference has."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from finished import toy_patients, toy_study

from analysis_lib.cohort.reference import add_scores, lms_z, read_reference, scores
from analysis_lib.cohort.table_files import ClinicalTableError
from analysis_lib.common.sarcopenia import sarcopenic
from analysis_lib.core.parameters import DefinitionParams, ReferenceParams

CURVE = pd.DataFrame(
    [
        ("M", 20.0, "smi", 1.0, 50.0, 0.1), ("M", 60.0, "smi", 0.0, 40.0, 0.2), ("F", 30.0, "smi", -0.5, 40.0, 0.1),
        ("F", 70.0, "smi", -0.5, 36.0, 0.12), ("M", 20.0, "sm_mean_hu", 1.0, 45.0, 0.2),
        ("M", 80.0, "sm_mean_hu", 1.0, 30.0, 0.3),
    ],
    columns=["sex", "age", "index", "L", "M", "S"],
)  # fmt: skip


def one(value, power, median, variation):
    return float(lms_z(np.array([value]), np.array([power]), np.array([median]), np.array([variation]))[0])


def test_the_worked_example_of_the_cdc():
    """Boy of 9 months, 9.7 kg: z 0.207, 58th percentile (CDC growth charts, data file of weight for age)."""
    z = one(9.7, -0.1600954, 9.476500305, 0.11218624)
    assert z == pytest.approx(0.207, abs=5e-4)


def test_the_percentiles_that_the_cdc_prints_beside_l_m_and_s():
    """The same row of the data file has P5 8.0 to P95 11.5 kg: the values at z of +-1.645 by M (1 + L S z)**(1/L)."""
    power, median, variation = -0.1600954, 9.476500305, 0.11218624
    for z in (-1.645, -0.5, 0.0, 1.0, 1.645):
        value = median * (1 + power * variation * z) ** (1 / power)
        assert one(value, power, median, variation) == pytest.approx(z, abs=1e-12)


def test_a_power_of_zero_is_the_limit_of_small_ones():
    exact = one(50.0, 0.0, 40.0, 0.2)
    assert exact == pytest.approx(np.log(1.25) / 0.2, rel=1e-14)
    assert one(50.0, 1e-9, 40.0, 0.2) == pytest.approx(exact, rel=1e-8)
    assert np.isnan([one(0.0, 0.0, 40.0, 0.2), one(-3.0, 1.0, 40.0, 0.2), one(np.nan, 1.0, 40.0, 0.2)]).all()


def test_between_two_ages_l_m_and_s_are_interpolated_and_beyond_there_is_no_score():
    table = pd.DataFrame(
        {
            "sex": ["M", "M", "M", "F", "M", "F", None, "M"],
            "age": [20.0, 40.0, 60.0, 30.0, 60.1, 29.9, 40.0, np.nan],
            "smi": [55.0, 45.0, 40.0, 40.0, 40.0, 40.0, 40.0, 40.0],
            "sm_mean_hu": [-1.0, 37.5, 30.0, 40.0, 35.0, 40.0, 40.0, np.nan],
        }
    )
    found, notes = scores(table, CURVE)
    middle = ((45.0 / 45.0) ** 0.5 - 1) / (0.5 * 0.15)
    np.testing.assert_allclose(found["smi_z"], [1.0, middle, 0, 0, np.nan, np.nan, np.nan, np.nan], atol=1e-12)
    assert found["smi_percentile"].iloc[:2].tolist() == pytest.approx([84.134, 50.0], abs=1e-3)
    expected = [np.nan, (37.5 / 40 - 1) / (0.7 / 3), (30 / 35 - 1) / (0.8 / 3), np.nan]
    np.testing.assert_allclose(found["sm_mean_hu_z"].iloc[:4], expected, rtol=1e-12)
    assert notes[0].startswith(
        "4 of 8 patients with smi have no z-score: their age is not known or beyond the reference"
    )
    assert "F 30 to 70, M 20 to 60 years" in notes[0]
    assert notes[1].startswith("3 of 7 patients with sm_mean_hu")
    assert notes[2].startswith("1 patients have no z-score of sm_mean_hu")


def test_a_definition_may_be_of_a_score(tmp_path):
    study = toy_study(tmp_path)
    study.data.mkdir(parents=True)
    CURVE.replace({"index": {"sm_mean_hu": "pmi"}}).to_csv(study.data / "lms.csv", index=False)
    patients = toy_patients().drop(columns="split")
    assert add_scores(patients, study) == (patients, [])
    given = {"source": "A 2020", "doi": "10.1/x", "label": "SMI", "unit": "SD", "men": -1.0, "women": 0.0}
    definition = DefinitionParams(column="smi_z", **given)
    mine = study.params.model_copy(update={"definitions": {"Z": definition}})
    with pytest.raises(ClinicalTableError, match=r"of smi_z, and there is no reference; name it in reference\.table"):
        add_scores(patients, replace(study, params=mine))
    with_table = mine.model_copy(update={"reference": ReferenceParams(table="lms.csv")})
    scored, _ = add_scores(patients, replace(study, params=with_table))
    verdict = sarcopenic(scored, definition)
    limit = scored["sex"].map({"M": -1.0, "F": 0.0})
    known = scored["smi_z"].notna()
    assert 0 < known.sum() < len(known) and verdict.isna().tolist() == (~known).tolist()
    assert (verdict[known] == (scored["smi_z"] < limit)[known]).all()
    women = scored["sex"] == "F"
    assert (scored.loc[women, "reference_note"].str.contains("pmi")).all() and not known[scored["age"] > 70].any()
    other = definition.model_copy(update={"column": "pm_mean_hu_z"})
    lacking = with_table.model_copy(update={"definitions": {"Z": other}})
    with pytest.raises(ClinicalTableError, match="of pm_mean_hu_z, and reference.table has no rows of that index"):
        add_scores(patients, replace(study, params=lacking))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns="S"), "has no column S; it needs sex, age, index, L, M, S"),
        (lambda t: t.assign(sex=["m", *t["sex"][1:]]), "rows 2 have a sex that is not M or F"),
        (lambda t: t.assign(index="SMI"), "rows 2, 3, 4, 5, 6, ... have an index that is none of sm_area_cm2"),
        (lambda t: t.assign(S=[0.0, *t["S"][1:]]), "rows 2 have an age, L, M or S that is no number, or an M or S"),
        (lambda t: t.assign(age=["x", *t["age"][1:]]), "rows 2 have an age, L, M or S that is no number"),
        (lambda t: t.assign(age=20), "rows 2, 3, 4, 5, 6, ... have the sex, age and index that another row has too"),
    ],
)
def test_a_table_that_is_no_reference_is_refused_with_its_rows(tmp_path, change, message):
    change(CURVE).to_csv(tmp_path / "lms.csv", index=False)
    with pytest.raises(ClinicalTableError, match=message):
        read_reference(tmp_path / "lms.csv")
    with pytest.raises(ClinicalTableError, match=r"reference table .*/none.csv not found"):
        read_reference(tmp_path / "none.csv")
