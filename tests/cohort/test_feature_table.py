"""A table of features: read to the bit, and judged as a whole before anything learns from it."""

import numpy as np
import pandas as pd
import pytest

from analysis_lib.cohort.clinical import ClinicalTableError
from analysis_lib.cohort.feature_table import name_parts, read_features
from analysis_lib.core.clinical_params import ClinicalParams
from analysis_lib.core.parameters import load_params

N, P = 24, 30
COHORT = load_params("defaults").cohort  # discovery is split; external and lt are never trained on
PATIENTS = pd.DataFrame({"patient_id": [f"P{k:02}" for k in range(N)], "set": ["discovery", "external", "lt"] * 8})


@pytest.fixture
def features():
    values = np.random.default_rng(2).normal(size=(N, P)) * 10.0 ** np.arange(-9, P - 9)
    names = [f"sm_wavelet-LLH_glcm_F{k}" for k in range(P)]
    return pd.DataFrame(values, columns=names).assign(patient_id=PATIENTS["patient_id"])


@pytest.fixture
def read(tmp_path):
    def write_and_read(table, suffix=".csv", **settings):
        path = tmp_path / f"features{suffix}"
        if suffix == ".parquet":
            table.to_parquet(path, index=False)
        elif suffix == ".xlsx":
            table.to_excel(path, index=False)
        else:
            table.to_csv(path, index=False)
        return read_features(path, ClinicalParams(**settings), PATIENTS, COHORT)

    return write_and_read


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".xlsx"])
def test_every_bit_is_read(read, features, suffix):
    shuffled = features.sample(frac=1, random_state=1).rename(columns={"patient_id": "Pat Nr"})
    table, failures, notes = read(shuffled, suffix, columns={"patient_id": "pat-nr"})
    assert failures.empty and notes == []
    exact = suffix != ".xlsx"  # its writer keeps 16 digits
    pd.testing.assert_frame_equal(table, features.set_index("patient_id"), rtol=0 if exact else 1e-15, atol=0)


def test_decimal_commas_and_what_pyradiomics_writes_beside(read, features):
    features = features.assign(
        diagnostics_Versions_Numpy="1.2.3", **{"original_x": 1.5}, Image="ct.nrrd", Mask="m.nrrd"
    )
    text = features.astype(str).replace(r"\.(\d)", r",\1", regex=True)
    table, _, notes = read(text)
    assert table.columns.tolist() == [*features.columns[:P], "original_x"]
    assert table.iloc[:, :P].to_numpy() == pytest.approx(features.iloc[:, :P].to_numpy())
    assert "2 columns hold no number and are left out: Image, Mask" in notes[0]


def with_copy(table, a, b, digits=None):
    table = table.copy()
    row = table.iloc[a, :P].astype(float)
    table.iloc[b, :P] = row if digits is None else [float(f"{v:.{digits}g}") for v in row]
    return table


STOPS = [
    (lambda t: t.rename(columns={"patient_id": "subject"}), "has no column 'patient_id'"),
    (lambda t: t.assign(patient_id="Q" + t["patient_id"]), "none of its 24 patients is in the clinical table"),
    (lambda t: t.assign(patient_id=t["patient_id"].str.lower()), "they would agree without case"),
    (lambda t: t.assign(patient_id=["P00", *t["patient_id"][:-1]]), r"1 patients have more than one row \(P00\)"),
    (
        lambda t: t.assign(patient_id=["", "A B", *t["patient_id"][2:]]),
        "2 rows have no patient_id, or one with other signs",
    ),
    (lambda t: t.assign(SM_wavelet_llh_GLCM_f3=1.0), "1 features have names that differ only in case.*F3' and 'SM_wav"),
    *((lambda t, c=c: t.assign(**{f"{c}cmd|x": 1.0}), "1 features have names that begin with =") for c in "=+-@"),
    (lambda t: t[["patient_id"]], "holds no feature"),
    (
        lambda t: t.assign(x=[np.nan] * 13 + [1.0] * 11),
        "13 of 24 patients lack features .* in 1 columns, most often x in 13",
    ),
    (lambda t: t.assign(x=[np.inf] * 13 + [1.0] * 11), "13 of 24 patients lack features"),
    (lambda t: with_copy(t, 0, 1), r"1 pairs .* trained on: P00 \(discovery\) and P01 \(external\)"),
    (lambda t: with_copy(t, 0, 3), "P00 .* and P03"),  # a discovery set is split
    (lambda t: with_copy(t, 0, 2, digits=5), "P00 .* and P02"),  # rounded
]


@pytest.mark.parametrize(("change", "message"), STOPS)
def test_what_makes_numbers_wrong_stops(read, features, change, message):
    with pytest.raises(ClinicalTableError, match=message):
        read(change(features))


def test_what_costs_a_patient_or_nothing_is_said(read, features):
    table = features.assign(same=1.0, nobody=np.nan)
    table.loc[3, "sm_wavelet-LLH_glcm_F1"] = np.inf
    table.loc[5, ["sm_wavelet-LLH_glcm_F1", "sm_wavelet-LLH_glcm_F2"]] = np.nan
    table = with_copy(table, 4, 7)  # both of external, where nobody is trained on
    table["copied"] = table["sm_wavelet-LLH_glcm_F4"]
    table = pd.concat([table.drop(index=9), table[:1].assign(patient_id="OTHER")])
    found, failures, notes = read(table)
    assert len(found) == N - 3 and np.isfinite(found).all(axis=None) and found.shape[1] == P + 2
    reasons = failures.set_index("patient_id")["reason"]
    assert reasons.index.tolist() == ["P03", "P05", "P09"] and set(failures["stage"]) == {"radiomics"}
    assert reasons["P09"] == "no row in features.csv" and reasons["P03"].startswith(
        "1 of 32 features are empty, infinite"
    )
    said = "\n".join(notes)
    for text in (
        "1 of its rows are of no patient who can be analysed",
        "1 features that no patient has are left out: nobody",
        "2 of 23 patients lack features",
        "1 features are the same in all patients, and count for nothing: same",
        "1 features are copies of another, which so counts twice: copied of sm_wavelet-LLH_glcm_F4",
        "1 pairs of patients of one set have the same features: P04 and P07",
    ):
        assert text in said, text


def test_few_features_may_agree_by_chance(read, features):
    table = with_copy(features, 0, 1)[["patient_id", *features.columns[:5]]]
    assert len(read(table)[0]) == N


def test_names_are_taken_apart_as_far_as_they_are_known():
    parts = name_parts(["sm_wavelet-LLH_glcm_Id", "original_shape_Sphericity", "CT_texture_my_feature_7"])
    assert parts.values.tolist() == [
        ["sm", "wavelet-LLH", "glcm", "Id"],
        ["", "original", "shape", "Sphericity"],
        ["", "", "", "CT_texture_my_feature_7"],
    ]
