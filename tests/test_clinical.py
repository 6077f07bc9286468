"""The clinical table: every unusable row is named with its reason and the others are untouched."""

import numpy as np
import pandas as pd
import pytest

from analysis_lib.cohort.clinical import COLUMNS, ClinicalTableError, data_dictionary, read_clinical

SETS = ["discovery", "external"]
GOOD = {
    "patient_id": "P1", "set": "discovery", "sex": "M", "age": "60", "height_m": "1.7", "bmi": "23", "os_months": "30",
    "os_event": "1", "rfs_months": "12", "rfs_event": "1", "tumour_single": "1",
}  # fmt: skip


def read(tmp_path, *rows, **options):
    table = pd.DataFrame([GOOD | {"patient_id": f"P{k + 1}"} | row for k, row in enumerate(rows)])
    path = tmp_path / "patients.csv"
    path.write_text(table.to_csv(index=False), **({"encoding": "utf-8"} | options))
    return read_clinical(path, SETS)


def test_a_good_table_keeps_every_value(tmp_path):
    good, excluded = read(tmp_path, {}, {"set": "external", "rfs_months": "", "rfs_event": ""})
    assert excluded.empty
    assert good.loc[0, ["age", "height_m", "os_months", "os_event"]].tolist() == [60, 1.7, 30, 1]
    assert np.isnan(good.loc[1, "rfs_months"]) and np.isnan(good.loc[1, "vascular_invasion"])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"height_m": "170"}, "height_m 170 is outside 1.2 to 2.3.*metres"),
        ({"height_m": "1700"}, "height_m 1700 is outside"),
        ({"height_m": "inf"}, "height_m inf is outside"),
        ({"height_m": "1,70"}, "height_m is not a number"),
        ({"os_months": "-3"}, "os_months -3 is outside"),
        ({"os_months": "abc"}, r"os_months is not a number \('abc'\)"),
        ({"os_event": "2"}, "os_event 2 is outside 0 or 1"),
        ({"os_event": "NA"}, "os_event is missing"),
        ({"sex": "male"}, "sex 'male' is none of M, F"),
        ({"set": "extrenal"}, "set 'extrenal' is none of discovery, external"),
        ({"age": "5"}, "age 5 is outside"),
        ({"bmi": "230"}, "bmi 230 is outside"),
        ({"rfs_event": ""}, "must be given together"),
        ({"rfs_months": "31"}, "longer than os_months"),
        ({"tumour_single": "yes"}, "tumour_single is not a number"),
    ],
)
def test_a_bad_row_is_excluded_with_its_reason_and_the_rest_stay(tmp_path, change, reason):
    alone, _ = read(tmp_path, {}, {"age": "61"})
    good, excluded = read(tmp_path, {}, {"age": "61"}, change)
    pd.testing.assert_frame_equal(good, alone)
    assert excluded["patient_id"].tolist() == ["P3"]
    assert excluded["reason"].str.contains(reason, regex=True).all()


def test_doubled_patients_are_both_excluded(tmp_path):
    good, excluded = read(tmp_path, {}, {"patient_id": "X"}, {"patient_id": "X", "set": "external"})
    assert good["patient_id"].tolist() == ["P1"]
    assert excluded["patient_id"].tolist() == ["X", "X"]


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/b", "Zhang Wei", "", "x" * 10_000])
def test_an_identifier_that_may_lead_astray_is_not_repeated(tmp_path, name):
    good, excluded = read(tmp_path, {}, {"patient_id": name})
    assert len(good) == 1
    assert excluded["patient_id"].tolist() == ["line 3 of the table"]


def test_weight_gives_the_missing_bmi(tmp_path):
    good, _ = read(tmp_path, {"bmi": "", "weight_kg": "70", "height_m": "1.75"})
    assert good.at[0, "bmi"] == pytest.approx(70 / 1.75**2)
    assert "weight_kg" not in good


def test_byte_order_mark(tmp_path):
    assert len(read(tmp_path, {}, encoding="utf-8-sig")[0]) == 1


def test_tables_that_cannot_be_used(tmp_path):
    with pytest.raises(ClinicalTableError, match="not found"):
        read_clinical(tmp_path / "patients.csv", SETS)
    (tmp_path / "patients.csv").write_text("patient_id,set\nP1,discovery\n")
    with pytest.raises(ClinicalTableError, match=r"lacks the column\(s\) sex, os_months, os_event"):
        read_clinical(tmp_path / "patients.csv", SETS)
    (tmp_path / "patients.csv").write_text("")
    with pytest.raises(ClinicalTableError, match="cannot be read"):
        read_clinical(tmp_path / "patients.csv", SETS)


def test_dictionary_covers_the_schema():
    assert data_dictionary()["column"].tolist() == [c.name for c in COLUMNS]
    assert (data_dictionary()["meaning"].str.len() > 0).all()
