"""The whole study, from DICOM to tables, run by make in a copy of the checkout as a newcomer would run it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from cells import draw_quickly, run_cells
from conftest import SHARED
from made import copy_checkout, make, outputs
from saved_pdf import sizes_and_images
from test_what_if import ROWS, WORDS

import analysis_lib
from analysis_lib.cohort.columns import MEASURED
from analysis_lib.common.sarcopenia import BY_HEIGHT
from analysis_lib.core.artefacts import wanted_notebooks
from analysis_lib.core.notebooks import NotebookError, check_parameter_cell
from analysis_lib.core.parameters import load_params
from analysis_lib.core.project import Project
from analysis_lib.ct.flags import FLAGS
from analysis_lib.ct.indices import ATTENUATION
from analysis_lib.stages.assemble import assemble_patients, list_exclusions
from analysis_lib.stages.features import extract_features
from analysis_lib.stages.measure import measure_patients
from analysis_lib.stages.predict import PredictError, predict
from analysis_lib.stages.validate import validate
from analysis_lib.ui.notebook import open_study

ROOT = Path(__file__).resolve().parents[2]
HNSCC = SHARED / "real-tables" / "hnscc_l3_smi.csv"
STAGES = ("measure", "assemble", "features", "exclusions", "stability", "optimism")
MODELS = ["TFDeepSurv", "PMA", "PMI", "PD", "SMI", "MA"]
COMPARATORS = [
    "Cox indices",
    "Cox clinical",
    "Cox clinical + risk",
    "Coxnet",
    "Random survival forest",
    "Gradient boosting",
    "Componentwise boosting",
    "Cox ridge",
    "TFDeepSurv + linear",
    "TFDeepSurv joint",
    "SM area",
    "True risk",
]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory, compiled):
    """A copy of what the repository holds, compiled code too, with the environment linked in; smoke run once."""
    copy = tmp_path_factory.mktemp("checkout")
    shutil.copytree(ROOT / "tests" / "expected", copy / "tests" / "expected")
    copy_checkout(copy, ".ipynb_checkpoints")
    make(copy, "study", "STUDY=smoke")
    return copy


def site_of_few(copy: Path, name: str, each: int) -> pd.DataFrame:
    """A site's folder with the first patients of each set of smoke; returns their clinical table, as text."""
    smoke, site = copy / "data" / "smoke", copy / "data" / name
    table = pd.read_csv(smoke / "patients.csv", dtype=str).groupby("set").head(each).reset_index(drop=True)
    (site / "masks").mkdir(parents=True)
    for patient_id in table["patient_id"]:
        shutil.copytree(smoke / "ct" / patient_id, site / "ct" / patient_id)
        shutil.copy(smoke / "masks" / f"{patient_id}.seg.nrrd", site / "masks")
    return table


def test_every_table_and_figure_is_there_with_its_columns(checkout):
    figures, build = checkout / "figures" / "smoke", checkout / "build" / "smoke"
    for files in wanted_notebooks(load_params("smoke")).values():
        for file in files:
            assert (figures / file).stat().st_size > 0, file
            if file.endswith(".pdf"):  # at print size no text is smaller than 7 pt, and line art is no image
                sizes, image = sizes_and_images(figures / file)
                assert min(sizes) >= 7 and not image, file
    table2 = pd.read_csv(figures / "table2.csv")
    assert table2.columns.tolist() == [
        "set",
        "definition",
        "outcome",
        "n",
        "n_sarcopenic",
        "prevalence",
        "hr",
        "hr_low",
        "hr_high",
        "p",
    ]
    assert set(table2["set"]) == {"discovery", "external", "lt"}
    assert "RFS" not in set(table2.loc[table2["set"] == "external", "outcome"])
    c_index = pd.read_csv(figures / "c_index.csv")
    assert c_index.columns.tolist() == ["set", "model", "c_index", "low", "high", "n", "events"]
    assert c_index["model"].unique().tolist() == MODELS + COMPARATORS
    assert c_index["set"].unique().tolist() == ["train", "internal", "external", "lt"]
    auc = pd.read_csv(figures / "auc.csv")
    assert auc.columns.tolist() == ["set", "model", "month", "cases", "auc", "low", "high"]
    assert auc[["auc", "low", "high"]].stack().between(0, 1).all()
    comparison = pd.read_csv(figures / "paper_comparison.csv")
    assert comparison.columns.tolist()[:6] == ["item", "published", "ours", "low", "high", "inside"]
    assert pd.read_csv(figures / "exclusions.csv").columns.tolist() == ["patient_id", "stage", "reason"]
    features = pd.read_parquet(build / "features.parquet")
    assert features.shape == (62, 1343) and np.isfinite(features).all(axis=None)
    patients = pd.read_parquet(build / "patients.parquet")
    measured = {"sm_area_cm2", "sm_mean_hu", "pm_area_cm2", "pm_mean_hu", "smi", "pmi"}
    needed = measured | {"os_months", "os_event", "rfs_months", "rfs_event"}
    assert needed <= set(patients.columns) and len(patients) == 62
    risk = pd.read_csv(build / "risk.csv")
    assert risk.columns.tolist() == ["patient_id", "set", "risk", "spread"]
    assert sorted(risk["patient_id"]) == patients["patient_id"].tolist()


def test_the_run_is_the_one_that_is_expected(checkout):
    """With the workers of this machine: to the byte where the expectation was made, in every conclusion elsewhere."""
    assert make(checkout, "verify", "STUDY=smoke").stdout.startswith("reproduced")


def test_measured_indices_are_those_that_were_drawn(checkout):
    truth = pd.read_csv(checkout / "data" / "smoke" / "truth.csv").set_index("patient_id")
    patients = pd.read_parquet(checkout / "build" / "smoke" / "patients.parquet").set_index("patient_id")
    for name, tolerance in (("sm_area_cm2", 0.3), ("pm_area_cm2", 0.02), ("sm_mean_hu", 0.1), ("pm_mean_hu", 0.1)):
        assert (patients[name] - truth.loc[patients.index, name]).abs().max() < tolerance


def test_everything_synthetic_says_so(checkout):
    figures = checkout / "figures" / "smoke"
    for path in [*figures.glob("*.html"), *figures.glob("fig*.csv")]:
        assert "ynthetic" in path.read_text(encoding="utf-8"), path.name


def test_predict_gives_the_risks_of_the_study_to_the_last_digit(checkout):
    """To some of its patients, whose outcomes are not told; `make predict` as a user types it is a slow test."""
    risk = pd.read_csv(checkout / "build" / "smoke" / "risk.csv", dtype=str).set_index("patient_id")["risk"]
    some = site_of_few(checkout, "later", each=1)
    outcomes = ["os_months", "os_event", "rfs_months", "rfs_event"]
    some.drop(columns=outcomes).to_csv(checkout / "data" / "later" / "patients.csv", index=False)
    (checkout / "params" / "later.yaml").write_text("base: defaults\ntitle: Same patients\n")
    predict(Project(checkout).study("later"), checkout / "build" / "smoke" / "model", quiet=True)
    table = pd.read_csv(checkout / "build" / "later" / "predictions.csv", dtype=str).set_index("patient_id")
    assert len(table) == 3 and table["risk"].to_dict() == risk[some["patient_id"]].to_dict()
    assert table["note"].str.contains("synthetic").all()
    with pytest.raises(PredictError, match="no saved model"):
        predict(Project(checkout).study("later"), checkout / "build" / "nothing" / "model")


JUDGED = ["c_index", "auc_horizons", "c_index_difference", "c_index_intervals", "calibration_summary"]


def same_rows(checkout: Path, study: str, sets: dict[str, str]) -> None:
    """Of a saved model and the definitions, cell by cell as text, as smoke has them; ``sets``: its names for ours."""
    for name in JUDGED:
        options = {"dtype": str, "keep_default_na": False}
        found = pd.read_csv(checkout / "figures" / study / f"validation_{name}.csv", **options)
        own = pd.read_csv(checkout / "figures" / "smoke" / f"{name}.csv", **options)
        assert list(found["set"].unique()) == list(sets)
        assert name in ("auc_horizons", "c_index_intervals", "c_index_difference") or "Clinical" in set(found["model"])
        found = found[found["model"] != "Clinical"].reset_index(drop=True)
        expected = own[own["set"].isin(sets.values()) & own["model"].isin(found["model"])].reset_index(drop=True)
        pd.testing.assert_frame_equal(found.replace({"set": sets})[list(expected)], expected, obj=name)


def test_validate_gives_the_rows_of_the_study_to_the_last_digit(checkout, monkeypatch):
    """`make validate` of the study's own model, in this process: each set by itself, training patients left out."""
    project = Project(checkout)
    study = project.study("smoke")
    assert "its 27 training patients are not judged" in validate(study, study.model)
    monkeypatch.setattr(analysis_lib, "open_study", lambda name: open_study(name, project))
    draw_quickly(monkeypatch)
    try:
        run_cells(study, "17_validation")
        same_rows(checkout, "smoke", {name: name for name in ("internal", "external", "lt")})
    finally:  # other tests compare all that the study makes
        for path in (*study.figures.glob("validation_*"), study.build / "answers" / "17_validation.json"):
            path.unlink(missing_ok=True)
        shutil.rmtree(study.build / "validation")


@pytest.mark.slow
def test_make_validate_of_two_sets_alone_trains_nothing(checkout):
    """A site of test sets: what the stages and notebook 17 leave, reported, verified and packed as it is."""
    sets = "{discovery: null}"
    (checkout / "params" / "two.yaml").write_text(f"base: smoke\ndata_dir: data/smoke\ncohort: {{sets: {sets}}}\n")
    make(checkout, "validate", "STUDY=two", "MODEL=build/smoke/model")
    same_rows(checkout, "two", {"external": "external", "lt": "lt"})
    for target in ("report", "verify", "package"):
        make(checkout, target, "STUDY=two")
    built = {path.name for path in (checkout / "build" / "two").iterdir()}
    assert {"validation", "verify.txt", "package"} <= built and not {"model", "risk.csv", "optimism.csv"} & built
    result = make(checkout, "validate", "STUDY=two", "MODEL=build/nothing", succeed=False)
    assert "no saved model" in result.stderr
    result = make(checkout, "study", "STUDY=two", succeed=False)
    assert "there is nothing to train on" in result.stderr and "Traceback" not in result.stderr


def test_a_second_run_runs_nothing(checkout):
    result = make(checkout, "study", "STUDY=smoke")
    assert "notebook " not in result.stdout and "notebooks: build/smoke/notebooks" in result.stdout
    assert "patient" not in result.stderr


@pytest.mark.slow
def test_same_bytes_from_scratch_with_another_number_of_workers(checkout):
    before = outputs(checkout, "smoke")
    # by rm, which does not mind that the process that served the last make takes its socket away
    subprocess.run(["rm", "-rf", "build", "figures"], cwd=checkout, check=True)
    smoke = checkout / "params" / "smoke.yaml"
    text = smoke.read_text()
    smoke.write_text(text + "\nworkers: 1\n")
    make(checkout, "study", "STUDY=smoke")
    smoke.write_text(text)
    after = outputs(checkout, "smoke")
    assert {name.rsplit(".")[-1] for name in before} >= {"csv", "html", "pdf", "png", "risk"}
    assert before.keys() == after.keys()
    assert [name for name in before if before[name] != after[name]] == []


@pytest.fixture
def as_it_was(checkout, tmp_path):
    """Puts back the finished study that a test changes."""
    folders, parameters = [Path("build", "smoke"), Path("figures", "smoke")], checkout / "params" / "smoke.yaml"
    text = parameters.read_text()
    for folder in folders:
        shutil.copytree(checkout / folder, tmp_path / folder)
    yield
    parameters.write_text(text)
    for folder in folders:
        shutil.rmtree(checkout / folder)
        shutil.copytree(tmp_path / folder, checkout / folder)


def test_a_new_cut_off_and_a_deleted_figure_run_what_depends_on_them_and_extract_nothing(checkout, as_it_was):
    figures, smoke = checkout / "figures" / "smoke", checkout / "params" / "smoke.yaml"
    before, table2 = outputs(checkout, "smoke"), pd.read_csv(figures / "table2.csv")
    places = ("build/smoke/*.parquet", "build/cache/patients/smoke/*/*", "data/smoke/**/*.dcm")
    kept = [path for place in places for path in sorted(checkout.glob(place))]
    stamps = [path.stat().st_mtime_ns for path in kept]
    smoke.write_text(smoke.read_text() + "\ndefinitions: {PMI: {men: 5.5, women: 3.0}}\n")
    (figures / "fig1.pdf").unlink()
    wanted = ("02_sarcopenia", "01_cohort", "04_autoencoder_deepsurv", "05_risk_groups", "11_small_data")
    result = make(checkout, *(f"build/smoke/notebooks/{name}.ipynb" for name in wanted), "STUDY=smoke")
    ran = {line for line in result.stdout.splitlines() if line.startswith("notebook")}
    assert ran == {"notebook 01_cohort ...", "notebook 02_sarcopenia ..."}
    after = pd.read_csv(figures / "table2.csv")
    changed = table2.ne(after) & ~(table2.isna() & after.isna())
    assert set(table2.loc[changed.any(axis=1), "definition"]) == {"PMI"}
    assert before["fig1.pdf"] == outputs(checkout, "smoke")["fig1.pdf"]
    assert len(kept) > 62 and [path.stat().st_mtime_ns for path in kept] == stamps


@pytest.mark.slow
@pytest.mark.parametrize("title", ROWS)
def test_a_what_if_by_parameter_alone_and_what_compare_says_of_it(checkout, title):
    """Each row of docs/what_if.md as its reader runs it: the lines of YAML, make study, make compare."""
    (checkout / "params" / "row.yaml").write_text(ROWS[title] + "\n")
    for folder in ("build", "figures"):
        shutil.rmtree(checkout / folder / "row", ignore_errors=True)
    ran = make(checkout, "study", "STUDY=row")
    assert "synthetic CT" not in ran.stderr and (checkout / "figures" / "row" / "table2.csv").is_file()
    told = {
        line.split(" asks about ")[0].strip(): line.split(" asks about ")[1]
        for line in make(checkout, "compare", "A=smoke", "B=row").stdout.splitlines()
        if " asks about " in line
    }
    assert WORDS[title] in told["row"] and WORDS[title] not in told["smoke"]


def test_a_study_of_anothers_patients_draws_none(checkout):
    (checkout / "params" / "tweak.yaml").write_text("base: smoke\ndata_dir: data/smoke\n")
    stamps = {path: path.stat().st_mtime_ns for path in (checkout / "data" / "smoke").rglob("*")}
    result = make(checkout, "build/tweak/inputs.txt", "STUDY=tweak")
    assert "synthetic CT" not in result.stderr and not (checkout / "data" / "tweak").exists()
    assert {path: path.stat().st_mtime_ns for path in (checkout / "data" / "smoke").rglob("*")} == stamps


def test_bad_patients_are_excluded_with_reasons_and_the_rest_are_untouched(checkout, monkeypatch):
    site, table = checkout / "data" / "site", site_of_few(checkout, "site", each=3)
    (checkout / "params" / "site.yaml").write_text("base: defaults\ntitle: Ours\n")
    ids = table["patient_id"].tolist()
    table.loc[table["patient_id"] == ids[0], "height_m"] = "1700"
    table.loc[table["patient_id"] == ids[1], "os_months"] = "-2"
    table.to_csv(site / "patients.csv", index=False)
    (site / "masks" / f"{ids[2]}.seg.nrrd").unlink()
    shutil.rmtree(site / "ct" / ids[3])
    slices = sorted((site / "ct" / ids[4]).iterdir())
    slices[3].write_bytes(slices[3].read_bytes()[:5000])
    shutil.copy(site / "masks" / f"{ids[6]}.seg.nrrd", site / "masks" / f"{ids[5]}.seg.nrrd")
    study = Project(checkout).study("site")
    for stage in (measure_patients, extract_features):
        stage(study, quiet=True)
    assemble_patients(study)
    list_exclusions(study)
    monkeypatch.setattr(analysis_lib, "open_study", lambda name: open_study(name, study.project))
    draw_quickly(monkeypatch)
    run_cells(study, "01_cohort")
    excluded = pd.read_csv(checkout / "figures" / "site" / "exclusions.csv").set_index("patient_id")
    assert set(ids[:5]) <= set(excluded.index) <= set(ids[:6])
    for patient_id, stage, reason in (
        (ids[0], "clinical table", "height_m 1700 is outside 1.2 to 2.3"),
        (ids[1], "clinical table", "os_months -2 is negative"),
        (ids[2], "images", "is missing"),
        (ids[3], "images", "does not exist"),
        (ids[4], "images", "export it again|export the series again"),
    ):
        assert excluded.at[patient_id, "stage"] == stage
        assert pd.Series([excluded.at[patient_id, "reason"]]).str.contains(reason).all()
    all_patients = pd.read_parquet(checkout / "build" / "smoke" / "patients.parquet").set_index("patient_id")
    rest = pd.read_parquet(checkout / "build" / "site" / "patients.parquet").set_index("patient_id")
    assert len(rest) + len(excluded) == len(ids) == 9
    rest = rest.drop(index=[ids[5]], errors="ignore")
    pd.testing.assert_frame_equal(
        rest.drop(columns="split"), all_patients.loc[rest.index].drop(columns="split"), check_exact=True
    )
    features = pd.read_parquet(checkout / "build" / "smoke" / "features.parquet").loc[rest.index]
    ours = pd.read_parquet(checkout / "build" / "site" / "features.parquet").loc[rest.index]
    pd.testing.assert_frame_equal(ours, features, check_exact=True)


OWN_SETS = """base: defaults
title: Our hospitals
cohort:
  sets:
    discovery: null
    external: null
    lt: null
    kiel: {label: Kiel, role: discovery}
    lyon: {label: Lyon, role: train}
    porto: {label: Porto, role: test}
    graz: {label: Graz, role: test}
    lund: {label: Lund, role: test}
clinical:
  columns: {patient_id: Pat-Nr, sex: Geschlecht, height_m: Groesse (cm), os_months: Zeit}
  codes: {sex: {M: [1], F: [2]}}
  units: {height: cm}
statistics:
  {bootstrap_replicates: 100, curve_replicates: 100, imputations: 2, imputation_rounds: 2, horizons_months: [24]}
autoencoder: {max_epochs: 20}
network: {max_epochs: 50, ensemble: 1}
comparators: {trees: 10}
optimism: {repeats: 0}
"""


@pytest.mark.slow
def test_sets_of_other_names_that_lack_this_and_that(checkout):
    """Two sets to train on, three to test; these lack recurrence, vascular invasion and height, one each."""
    site = checkout / "data" / "ours"
    shutil.copytree(checkout / "data" / "smoke", site, ignore=shutil.ignore_patterns("truth.csv", ".drawn"))
    table = pd.read_csv(site / "patients.csv", dtype=str, keep_default_na=False)
    rows = {name: table.index[table["set"] == name] for name in ("discovery", "external", "lt")}
    for name, index in (("kiel", rows["discovery"][8:]), ("lyon", rows["discovery"][:8]), ("porto", rows["external"])):
        table.loc[index, "set"] = name
    table.loc[rows["lt"][:6], ["set", "height_m"]] = ["lund", ""]
    table.loc[rows["lt"][6:], ["set", "vascular_invasion"]] = ["graz", ""]
    table["height_m"] = [str(round(float(text) * 100)) if text else "" for text in table["height_m"]]
    table["sex"] = table["sex"].map({"M": "1", "F": "2"})
    names = {"patient_id": "Pat-Nr", "sex": "Geschlecht", "height_m": "Groesse (cm)", "os_months": "Zeit"}
    table.rename(columns=names).to_csv(site / "patients.csv", index=False, sep=";")
    without_psoas = [table.loc[rows["discovery"][20], "patient_id"], table.loc[rows["external"][0], "patient_id"]]
    for patient_id in without_psoas:
        mask = site / "masks" / f"{patient_id}.seg.nrrd"
        mask.write_bytes(mask.read_bytes().replace(b"_Name:=PM", b"_Name:=xx"))
    (checkout / "params" / "ours.yaml").write_text(OWN_SETS)
    # Features are kept by the bytes of the images: of these patients they are there, but for the two of other masks.
    kept = checkout / "build" / "cache" / "patients" / "smoke"
    shutil.copytree(kept, kept.with_name("ours"))
    command = [sys.executable, ROOT / "tests" / "cells.py", "ours", "prepare", "inputs", *STAGES]
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    result = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-4000:]
    figures = checkout / "figures" / "ours"
    excluded = pd.read_csv(figures / "exclusions.csv")
    assert excluded["patient_id"].tolist() == without_psoas and set(excluded["stage"]) == {"radiomics"}
    risk = pd.read_csv(checkout / "build" / "ours" / "risk.csv")
    assert len(risk) == 60 and not set(without_psoas) & set(risk["patient_id"])
    table2 = pd.read_csv(figures / "table2.csv").set_index(["set", "definition", "outcome"])
    assert set(table2.index.unique("set")) == {"kiel", "lyon", "porto", "graz", "lund"}
    assert ("porto", "PMA", "RFS") not in table2.index and ("graz", "PMA", "RFS") in table2.index
    assert table2.loc[("lund", "PMI", "OS"), "n"] == 0 and np.isnan(table2.loc[("lund", "PMI", "OS"), "hr"])
    assert table2.loc[("lund", "PMA", "OS"), "n"] == 6
    assert table2.loc[("porto", "SMI", "OS"), "n"] == 12 and table2.loc[("porto", "PMA", "OS"), "n"] == 11
    c_index = pd.read_csv(figures / "c_index.csv").set_index(["set", "model"])["c_index"]
    assert c_index.index.unique("set").tolist() == ["train", "internal", "porto", "graz", "lund"]
    fitted_without = c_index[[("porto", "Cox clinical"), ("graz", "Cox clinical")]]  # these sets lack a covariate
    assert fitted_without.between(0, 1).all()
    assert c_index.xs("TFDeepSurv", level="model").between(0, 1).all()
    assert (figures / "figS4.png").is_file(), "the third set that was never trained on has its curves too"
    calibration = pd.read_csv(figures / "calibration_summary.csv").set_index("set")
    assert calibration.loc["lund", "n"] == 6
    for path in [*figures.glob("*.html"), *figures.glob("*.csv")]:
        assert "no patient data" not in path.read_text(encoding="utf-8"), path.name


def from_tables(copy: Path) -> None:
    """A study of smoke's indices and features, as a site would have them in tables, without an image."""
    data, build = copy / "data" / "tables", copy / "build" / "smoke"
    data.mkdir(exist_ok=True)
    measured = pd.read_parquet(build / "patients.parquet")[["patient_id", *MEASURED]]
    clinical = pd.read_csv(copy / "data" / "smoke" / "patients.csv", dtype=str)
    clinical.merge(measured, on="patient_id").to_csv(data / "patients.csv", index=False)
    pd.read_parquet(build / "features.parquet").reset_index().to_csv(data / "features.csv", index=False)
    shutil.copy(copy / "data" / "smoke" / "truth.csv", data)
    parameters = "base: smoke\ndata_dir: data/tables\nfeatures: {table: features.csv}\n"
    (copy / "params" / "tables.yaml").write_text(parameters)


def test_tables_give_what_images_gave_to_everything_that_reads_it(checkout):
    """Notebooks see patients and features alone; the slow test below runs them."""
    from_tables(checkout)
    study = Project(checkout).study("tables")
    for stage in (measure_patients, extract_features):
        stage(study, quiet=True)
    assemble_patients(study)
    list_exclusions(study)
    images = Project(checkout).study("smoke")
    pd.testing.assert_frame_equal(study.features(), images.features(), check_exact=True)
    of_images = ["series_uid", "ct_series", "ct_notes", "slices_z_mm", *FLAGS]
    of_images += [*ATTENUATION, *(index for index, area in BY_HEIGHT.items() if area in ATTENUATION)]
    ours, theirs = (s.patients().drop(columns=of_images) for s in (study, images))
    pd.testing.assert_frame_equal(ours, theirs, check_exact=True)
    pd.testing.assert_frame_equal(study.exclusions(), images.exclusions())


@pytest.mark.slow
def test_a_study_from_tables_has_the_bytes_of_the_one_from_images(checkout):
    from_tables(checkout)
    make(checkout, "study", "STUDY=tables")
    images, tables = outputs(checkout, "smoke"), outputs(checkout, "tables")
    apart = {"README.txt", "fig1.csv", "fig1.png", "fig1.pdf"}  # the study's name; where indices and features come from
    assert images.keys() == tables.keys()
    assert {name for name in images if images[name] != tables[name]} == apart
    assert make(checkout, "verify", "STUDY=tables", succeed=True).stdout.startswith("intact")
    make(checkout, "report", "package", "STUDY=tables")
    features = checkout / "data" / "tables" / "features.csv"
    features.write_text(features.read_text().replace("patient_id", "Patient_ID"))
    result = make(checkout, "build/tables/patients.parquet", "STUDY=tables")
    assert "count for nothing" in result.stderr  # the table of features was read again,
    measured = checkout / "build" / "tables" / "measured.parquet"
    assert measured.stat().st_mtime < features.stat().st_mtime  # and no index


@pytest.mark.slow
@pytest.mark.skipif(not HNSCC.is_file(), reason="the public HNSCC table is not beside the checkout")
def test_the_public_table_goes_from_check_to_report_and_verify(checkout):
    data = checkout / "data" / "public_hnscc"
    data.mkdir(parents=True)
    shutil.copy(HNSCC, data)
    make(checkout, "check", "STUDY=public_hnscc")
    make(checkout, "study", "STUDY=public_hnscc")
    assert make(checkout, "verify", "STUDY=public_hnscc").stdout.startswith("intact")
    make(checkout, "report", "package", "STUDY=public_hnscc")
    figures = checkout / "figures" / "public_hnscc"
    row = pd.read_csv(figures / "table2.csv").set_index("definition").loc["SMI Prado"]
    assert (row["n"], row["n_sarcopenic"]) == (191, 64)
    assert row[["hr", "hr_low", "hr_high"]].astype(float).round(2).tolist() == [1.77, 1.09, 2.88]
    report = (figures / "report.html").read_text(encoding="utf-8")
    assert "as stated in clinical.shifted" in report and "No image was read" in report
    for name in ("fig1", "fig2", "spline"):
        assert (figures / f"{name}.png").is_file()
    assert "CT at L3" not in (figures / "fig1.csv").read_text(encoding="utf-8")


def test_a_misspelt_parameter_stops_the_run_at_once(checkout):
    (checkout / "params" / "typo.yaml").write_text("base: smoke\nstatistics: {confidense: 0.9}\n")
    result = make(checkout, "study", "STUDY=typo", succeed=False)
    assert "did you mean 'confidence'" in result.stderr
    assert not (checkout / "data" / "typo").exists()


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda p: p.stem)
def test_notebooks_are_clean_and_take_the_study_alone(path):
    check_parameter_cell(path)
    text = path.read_text(encoding="utf-8")
    assert '"output_type"' not in text and '"papermill"' not in text


def test_a_notebook_with_other_parameters_is_refused(tmp_path):
    source = (ROOT / "notebooks" / "01_cohort.ipynb").read_text(encoding="utf-8")
    (tmp_path / "x.ipynb").write_text(source.replace('study = \\"standin\\"', "seed = 1"), encoding="utf-8")
    with pytest.raises(NotebookError, match="sets study and nothing else"):
        check_parameter_cell(tmp_path / "x.ipynb")
