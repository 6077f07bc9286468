"""Muscle indices in the clinical table: that they agree, are their patients', and are read as what they are."""

import numpy as np
import pandas as pd
import pytest
from conftest import SHARED

from analysis_lib.cohort.clinical import ClinicalTableError, read_clinical
from analysis_lib.cohort.index_columns import from_table, put_back
from analysis_lib.cohort.table_files import RawTable
from analysis_lib.common.sarcopenia import sarcopenic
from analysis_lib.core.clinical_params import ClinicalParams
from analysis_lib.core.parameters import load_params
from analysis_lib.results.table2 import table_two
from analysis_lib.survival.survival import cox_binary

HNSCC = SHARED / "real-tables" / "hnscc_l3_smi.csv"
with_hnscc = pytest.mark.skipif(not HNSCC.is_file(), reason="the public HNSCC table is not beside the checkout")


def table_of(n=60):
    """Patients with all indices, to the digits that a site would print."""
    rng = np.random.default_rng(5)
    height, sm, pm = rng.normal(1.7, 0.09, n).round(2), rng.normal(150, 25, n).round(1), rng.normal(16, 3, n).round(2)
    return pd.DataFrame(
        {
            "patient_id": [f"P{k:03}" for k in range(n)],
            "sex": rng.choice(["M", "F"], n),
            "height_m": height,
            "os_months": rng.uniform(2, 60, n).round(1),
            "os_event": rng.integers(0, 2, n),
            "sm_area_cm2": sm,
            "smi": (sm / height**2).round(1),
            "sm_mean_hu": rng.normal(40, 6, n).round(1),
            "pm_area_cm2": pm,
            "pmi": (pm / height**2).round(2),
            "pm_mean_hu": rng.normal(45, 6, n).round(1),
        }
    )


BLOCK = ["sm_area_cm2", "smi", "sm_mean_hu", "pm_area_cm2", "pmi", "pm_mean_hu"]


@pytest.fixture
def read(tmp_path):
    def read_table(table, doubts=None, **settings):
        table.to_csv(tmp_path / "patients.csv", index=False)
        return read_clinical(tmp_path / "patients.csv", ["here"], ClinicalParams(**settings), doubts=doubts)

    return read_table


def moved(table, first, by):
    """The indices of the rows from place ``first`` on stand ``by`` rows too low; what falls off the end is lost."""
    after = table.copy()
    after[BLOCK] = pd.concat([table[BLOCK][:first], table[BLOCK].shift(by)[first:]])
    after.loc[first : first + by - 1, BLOCK] = table.loc[: by - 1, BLOCK].to_numpy()  # something of others in between
    return after


def test_indices_that_agree_are_read_as_they_are(read):
    table = table_of()
    good, excluded = read(table)
    assert excluded.empty and set(good["set"]) == {"here"}  # one set needs no column
    pd.testing.assert_frame_equal(good[BLOCK], table[BLOCK])


def test_what_the_table_lacks_follows_from_height(read):
    table = table_of()
    good, _ = read(table[["patient_id", "sex", "height_m", "os_months", "os_event", "smi"]])
    given = from_table(good)
    assert given.columns.tolist() == ["sm_area_cm2", "smi"]
    assert given["sm_area_cm2"].to_numpy() == pytest.approx((table["smi"] * table["height_m"] ** 2).to_numpy())
    assert from_table(read(table.drop(columns=BLOCK))[0]).columns.empty


@pytest.mark.parametrize(("first", "by"), [(0, 1), (20, 1), (20, 3), (50, 2)])
def test_a_shift_is_found_told_and_put_back_only_when_it_is_stated(read, first, by):
    table = table_of()
    table.loc[5, "smi"] = 50.0 if table.at[5, "smi"] < 45 else 30.0  # a slip beside
    shifted = moved(table, first, by)
    if first == 0:
        shifted = table.assign(**table[BLOCK].shift(by))
    with pytest.raises(
        ClinicalTableError, match="smi is not sm_area_cm2 / height_m squared in .* shifted against"
    ) as e:
        read(shifted)
    text = str(e.value).split("clinical.shifted: {")[1].split("}")[0]
    stated = {int(k): None if v == "null" else int(v) for k, v in (part.split(": ") for part in text.split(", "))}
    assert by in stated.values() and len(stated) <= 4
    doubts: list[str] = []
    good, excluded = read(shifted, doubts, shifted=stated)
    assert "now smi is sm_area_cm2 / height_m squared in" in doubts[0] and "now pmi is" in doubts[1]
    assert excluded["patient_id"].tolist() == ["P005"] and "mend one of the three" in excluded.at[0, "reason"]
    known = good.set_index("patient_id")["smi"].dropna()
    assert len(known) >= len(table) - 1 - 2 * by
    assert known.to_dict() == table.set_index("patient_id").loc[known.index, "smi"].to_dict()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.assign(smi=(t["smi"] * 1.1).round(2)), "it is 0.9.* times that in nearly all"),
        (lambda t: t.assign(smi=(t["sm_area_cm2"] / t["height_m"]).round(2)), "/ height_m, not squared"),
        (lambda t: t.assign(**t[BLOCK].sample(frac=1, random_state=1).set_axis(t.index)), "no shift of rows"),
        (lambda t: t.assign(**t[BLOCK].sort_values("smi").set_axis(t.index)), "no shift of rows"),
        (lambda t: t.assign(smi=[smi + 9 * (k % 10 == 0) for k, smi in enumerate(t["smi"])]), "rows may be mistyped"),
        (lambda t: t.assign(sm_area_cm2=t["sm_area_cm2"] * 100), "sm_area_cm2: .* like mm2 .*clinical.units.area: mm2"),
        (lambda t: t.assign(pm_area_cm2=t["pm_area_cm2"] / 1e4), "pm_area_cm2: .* like m2 .*clinical.units.area: m2"),
        (lambda t: t.assign(smi=t["smi"] * 100), "smi: .*clinical.units.index: mm2/m2"),
        (lambda t: t.assign(sm_mean_hu=t["sm_mean_hu"] + 1024), "sm_mean_hu: the middle of 60 .*stored values of a CT"),
        (
            lambda t: t.assign(smi=t["sm_area_cm2"], sm_area_cm2=t["smi"]),
            "smi: the middle of 60 values|sm_area_cm2: the",
        ),
    ],
)
def test_a_contradiction_stops_with_its_likely_cause(read, change, message):
    with pytest.raises(ClinicalTableError, match=message):
        read(change(table_of()))


def test_stated_units_are_turned(read):
    table = table_of()
    in_mm2 = table.assign(**{name: table[name] * 100 for name in ("sm_area_cm2", "pm_area_cm2", "smi", "pmi")})
    good, excluded = read(in_mm2, units={"area": "mm2", "index": "mm2/m2"})
    assert excluded.empty and good[BLOCK].to_numpy() == pytest.approx(table[BLOCK].to_numpy())


def test_another_file_than_the_named_one_is_refused(read):
    with pytest.raises(ClinicalTableError, match="is not the file that clinical.sha256 names"):
        read(table_of(), sha256="0" * 64)
    with pytest.raises(ClinicalTableError, match="clinical.shifted names a row that the table does not have"):
        read(table_of(), shifted={900: 1})
    with pytest.raises(ClinicalTableError, match="clinical.shifted does not put that right; take the line out"):
        read(table_of(), shifted={7: 2})


# ---- the public HNSCC table: TCIA, 215 patients; Grossberg 2016, doi 10.1001/jamaoncol.2015.6339 ----------------


@pytest.fixture(scope="module")
def hnscc():
    return load_params("public_hnscc")


def ratio(patients, definition):
    low = patients["smi"] < patients["sex"].map({"M": definition.men, "F": definition.women})
    found = cox_binary(patients["os_months"], patients["os_event"], low, 0.95)
    return [round(float(found[k]), 2) for k in ("hr", "low", "high")]


@with_hnscc
def test_the_shift_of_the_public_table_is_found_and_refused(hnscc):
    with pytest.raises(
        ClinicalTableError, match="161 of 215 rows .* 191 of 191 rows agree .*24 patients have none"
    ) as e:
        read_clinical(HNSCC, ["discovery"], hnscc.clinical.model_copy(update={"shifted": {}}))
    stated = ", ".join(f"{row}: {'null' if by is None else by}" for row, by in hnscc.clinical.shifted.items())
    assert f"clinical.shifted: {{{stated}}} makes" in str(e.value)


@with_hnscc
def test_what_speaks_for_putting_the_public_table_back(hnscc):
    """Area, SMI and height, the BMI, and the file's own flag of depletion, which stands beside its SMI."""
    doubts: list[str] = []
    patients, _ = read_clinical(HNSCC, ["discovery"], hnscc.clinical, doubts=doubts)
    assert doubts == [
        "clinical.shifted moved the muscle indices: now smi is sm_area_cm2 / height_m squared in 191 of 191 rows, and "
        "its correlation with bmi is 0.52; as the file has them, smi is sm_area_cm2 / height_m squared in 54 of 215 "
        "rows, and its correlation with bmi is 0.17"
    ]
    flags = pd.read_csv(HNSCC, encoding="utf-8-sig", dtype=str)
    columns = {"sm_area_cm2": "PreRT Skeletal Muscle status"}  # moved as the indices are
    table = RawTable(flags[[*columns.values()]].set_axis([*columns], axis=1).set_axis(range(2, len(flags) + 2)))
    put_back(table, hnscc.clinical.shifted)
    depleted = (table.cells["sm_area_cm2"] == "SM depleted").set_axis(flags["TCIA code"])
    known = patients[patients["smi"].notna()].set_index("patient_id")
    verdict = sarcopenic(known, hnscc.definitions["SMI Prado"])
    assert (int((verdict == depleted[known.index]).sum()), len(known)) == (189, 191)
    as_printed = (flags["PreRT Skeletal Muscle status"] == "SM depleted").set_axis(flags["TCIA code"])
    assert (verdict == as_printed[known.index]).sum() == 122


@with_hnscc
def test_put_back_the_public_table_says_what_was_published(hnscc):
    prado = hnscc.definitions["SMI Prado"]
    patients, excluded = read_clinical(HNSCC, ["discovery"], hnscc.clinical)
    known = patients[patients["smi"].notna()]
    assert (len(patients), len(known), len(excluded)) == (215, 191, 0)
    assert ratio(known, prado) == [1.77, 1.09, 2.88]
    assert ratio(known[known["patient_id"] <= "HNSCC-01-0166"], prado) == [2.06, 1.21, 3.51]
    table = table_two(known.assign(split="train"), hnscc.definitions, hnscc.cohort, hnscc.statistics)
    row = table.set_index(["definition", "outcome"]).loc[("SMI Prado", "OS")]
    assert (row["n"], row["n_sarcopenic"], round(row["hr"], 2)) == (191, 64, 1.77)
    printed = pd.read_csv(HNSCC, encoding="utf-8-sig")
    smi = printed[hnscc.clinical.columns["smi"]].set_axis(printed["TCIA code"])
    assert ratio(patients.assign(smi=patients["patient_id"].map(smi)), prado)[0] == 1.12
