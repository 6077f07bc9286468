"""The record of a run, its verification, comparison and package, on a small finished study."""

import base64
import io
import json
import lzma
import re
import shutil
import subprocess
import zipfile
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from finished import finish_study, toy_patients, toy_study

from analysis_lib import PINNED
from analysis_lib.common.files import file_hash, read_csv
from analysis_lib.core.artefacts import ALL_NOTEBOOKS, ARTEFACTS, NOTEBOOKS, describe, notebook_of, stems
from analysis_lib.core.project import Project
from analysis_lib.results.splines import BINS
from analysis_lib.review import record, verify
from analysis_lib.review.certificate import read_manifest, write_certificate
from analysis_lib.review.coarse import distribution, monthly, without_patients
from analysis_lib.review.compare import leading, number_differences, parameter_differences, write_comparison
from analysis_lib.review.facts import facts
from analysis_lib.review.package import PackageError, Patients, write_package
from analysis_lib.review.protocol import write_protocol
from analysis_lib.survival import survival


def read(path):
    return pd.read_csv(path, float_precision="round_trip")


def test_run_json_says_what_was_run(finished):
    run = json.loads((finished.figures / "run.json").read_text())
    assert run == json.loads((finished.build / "run.json").read_text())
    assert run["git"] is None  # the folder of the test is no checkout
    assert run["parameters"]["definitions"]["PMI"]["men"] == 6.36
    assert run["inputs"]["clinical table"]["files"] == 1
    assert run["inputs"]["images and masks"]["files"] == 1
    assert run["outputs"]["figures/toy/table2.csv"] == file_hash(finished.figures / "table2.csv")
    assert run["environment"]["packages"]["numpy"] == np.__version__
    assert run["environment"]["threads"] == PINNED
    assert run["stages"][0]["peak_memory_mb"]["command"] > 20
    assert "D0001" not in json.dumps(run)


def test_pins_reach_the_processes():
    code = "import analysis_lib, threadpoolctl as t, numpy; print([p['num_threads'] for p in t.threadpool_info()])"
    done = subprocess.run([record.sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(json.loads(done.stdout)) == {1}


def test_commit_and_whether_it_was_clean(tmp_path):
    project = Project(tmp_path)
    assert record.git_state(project) is None

    def git(*arguments):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True)

    git("init")
    (tmp_path / "a.txt").write_text("a")
    git("add", "a.txt")
    git("commit", "-m", "first")
    state = record.git_state(project)
    assert state["clean"] and len(state["commit"]) == 40
    (tmp_path / "b.txt").write_text("b")
    assert record.git_state(project) == {**state, "clean": False, "changed": 1}
    inner = tmp_path / "unpacked"
    inner.mkdir()
    assert record.git_state(Project(inner)) is None  # an archive inside somebody else's repository


def test_an_expectation_is_small_and_shows_no_patient(finished):
    folder = verify.write_expectation(finished)[0]
    guard = Patients(finished)
    texts = {}
    for path in folder.iterdir():
        content = path.read_bytes()
        texts[path.name] = (lzma.decompress(content) if path.suffix == ".xz" else content).decode()
    assert {"risk.csv", "fig3.csv", "exclusions.csv", "table2.csv", "expected.json"} <= {
        n.removesuffix(".xz") for n in texts
    }
    assert {name: trace for name, text in texts.items() if (trace := guard.seen_in(text))} == {}
    curves = pd.read_csv(io.StringIO(next(text for name, text in texts.items() if name.startswith("fig2"))))
    assert (curves["month"].dropna() % 1 == 0).all()
    assert sum(path.stat().st_size for path in folder.iterdir()) < 500_000


def test_patients_are_told_by_group_and_small_groups_by_number():
    table = pd.DataFrame({"patient_id": list("abcdefg"), "set": ["x"] * 5 + ["y"] * 2, "risk": [1.0, 2, 3, 4, 5, 6, 7]})
    told = distribution(table).set_index("set")
    assert told.loc["x", ["patients", "risk_mean", "risk_skewness"]].tolist() == [5, 3, 0]
    assert told.loc["y", "patients"] == 2 and told.loc["y"].drop("patients").isna().all()
    assert distribution(table.iloc[:0]).empty and list(distribution(table[["patient_id"]])["patients"]) == [7]


def test_what_is_of_no_single_patient_stays_beside_the_patients_distribution():
    patients = pd.DataFrame({"part": "patients", "patient_id": list("abcdef"), "PC1": np.arange(6.0)})
    ellipse = pd.DataFrame({"part": ["ellipses"], "definition": ["PMA"], "sd_x": [1.5]})
    told = without_patients(pd.concat([patients, ellipse], ignore_index=True))
    assert "patient_id" not in told and told["part"].tolist() == ["patients", "ellipses"]
    assert told.loc[0, ["patients", "PC1_mean"]].tolist() == [6, 2.5] and told.loc[1, "sd_x"] == 1.5
    pd.testing.assert_frame_equal(without_patients(patients), distribution(patients))


def test_certificate_names_outputs_and_verdict(finished, tmp_path):
    verify.write_expectation(finished)
    steps = tmp_path / "steps.tsv"
    steps.write_text("run\t12\tmake study STUDY=toy\n")
    assert write_certificate(finished, steps, "A. Reviewer", tmp_path / "R.md") == 0
    text = (tmp_path / "R.md").read_text()
    for words in (
        "A. Reviewer",
        "**Reproduced to the byte.**",
        "## Where the expected bytes were seen",
        "| `figures/toy/fig1.png` | Fig. 1 |",
        "same bytes",
        "ynthetic",
    ):
        assert words in text


def test_every_artefact_is_described_and_in_the_manifest():
    assert [s for s in stems() if s not in ARTEFACTS] == [], "add them to artefacts.ARTEFACTS"
    assert [s for s in ARTEFACTS if s not in stems()] == []
    files = {f"figures/standin/{f}" for made in NOTEBOOKS.values() for f in made}
    assert set(read_manifest(Project())) == files
    for stem in stems():
        pictured = f"{stem}.png" in ALL_NOTEBOOKS[notebook_of(stem)]
        assert bool(describe(stem).alt) == pictured, f"{stem}: a figure needs alternative text, a table none"


def test_captions_name_nothing_unknown(finished):
    found = facts(finished)
    for stem, entry in ARTEFACTS.items():
        for text in (entry.caption, entry.alt):
            assert "{" not in text.format_map(found), stem
    assert found["discovery"].startswith("Discovery: n = 60, ")


def test_captions_of_a_study_of_test_sets_alone(finished):
    params = finished.params.model_copy(update={"cohort": finished.params.cohort.judged(["external", "lt"])})
    found = facts(replace(finished, params=params))
    assert (found["train"], found["discovery"]) == ("No training set", "No discovery set")
    assert found["tests"].count("n = 25, ") == 2


def test_compare_lists_what_changed_and_nothing_else(finished, tmp_path):
    definitions = dict(finished.params.definitions)
    definitions["PMI"] = definitions["PMI"].model_copy(update={"men": 6.0})
    other = toy_study(tmp_path, "other", definitions=definitions, data_dir="data/other")
    finish_study(other)
    parameters = parameter_differences(finished, other)
    assert parameters[parameters["parameter"] != "data"].values.tolist() == [["definitions.PMI.men", 6.36, 6.0]]
    numbers = number_differences(finished, other)
    moved = numbers[(numbers["file"] == "table2.csv") & (numbers["difference"].abs() > 0)]
    assert len(moved) and moved["row"].str.contains("PMI").all()
    row = numbers[(numbers["row"] == "discovery PMI OS") & (numbers["column"] == "hr")].iloc[0]
    table = read_csv(other.figures / "table2.csv").set_index(["set", "definition", "outcome"])
    assert row["b"] == table.at[("discovery", "PMI", "OS"), "hr"]
    folder, text = write_comparison(finished, other)
    assert folder == tmp_path / "build" / "compare" / "toy-other"
    assert "definitions.PMI.men: 6.36 -> 6.0" in text
    page = (folder / "compare.html").read_text()
    pictures = [(finished.figures / p.name).read_bytes() != p.read_bytes() for p in other.figures.glob("*.png")]
    assert page.count("<img ") == 2 * sum(pictures) and 0 < sum(pictures) < len(pictures)
    assert "The same to the byte in both: Fig. 1," in page and "ynthetic" in page and "http" not in page
    first = leading(finished, numbers)
    assert len(first) == 10 and first["what"].str.contains("C-index").sum() == 3
    assert (
        first.loc[first["what"].str.startswith("Hazard ratio"), "what"].iloc[0]
        == "Hazard ratio of death, PMI, Discovery"
    )
    assert first.loc[3, "b"] == row["b"] and f"{row['a']:.3f} -> {row['b']:.3f}" in text.split("Parameters that")[0]
    assert page.index("<h2>First</h2>") < page.index("<h2>Parameters that differ</h2>")


def test_compare_takes_parameters_of_every_kind(finished, tmp_path):
    """README's own example differs in a list; so may a list of sections, a section that one study lacks, a word."""
    changes = {
        "statistics": finished.params.statistics.model_copy(update={"horizons_months": [12.0, 36.0, 48.0]}),
        "multiverse": finished.params.multiverse.model_copy(update={"hu_windows": []}),
        "images": finished.params.images.model_copy(update={"l3_slice": "middle"}),
        "standin": None,
    }
    other = toy_study(tmp_path, "other", data_dir="data/other", **changes)
    shutil.copytree(finished.figures, other.figures)
    c_index = read_csv(other.figures / "c_index.csv")
    c_index[c_index["set"] != "lt"].to_csv(other.figures / "c_index.csv", index=False)
    folder, text = write_comparison(finished, other)
    assert "External LT test: 0.700 -> NA (NA)" in text and "nan" not in text.split("Parameters that")[0]
    page = (folder / "compare.html").read_text()
    assert "<td>12, 36, 60</td><td>12, 36, 48</td>" in page and "<td>none</td>" in page and "images.l3_slice" in page
    assert "statistics.horizons_months: [12.0, 36.0, 60.0] -> [12.0, 36.0, 48.0]" in text


def test_package_holds_no_patient(finished):
    path = write_package(finished)
    patients = pd.read_parquet(finished.build / "patients.parquet")
    risk = read(finished.build / "risk.csv")["risk"]
    values = {repr(v) for v in [*patients["sm_area_cm2"], *patients["pmi"], *risk]}
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        texts = {n: archive.read(n).decode() for n in names if not n.endswith((".png", ".pdf"))}
    inside = re.findall(r"data:text/csv;base64,([^\"]*)", texts["report.html"])
    texts |= {f"CSV {k} in the report": base64.b64decode(text).decode() for k, text in enumerate(inside)}
    texts["report.html"] = re.sub(r"data:[^\"]*", "", texts["report.html"])  # any five letters occur in a picture
    assert len(inside) > 3 and "report.html" in texts["README.md"] and "P values lie on" in texts["README.md"]
    assert {"run.json", "parameters.yaml", "ro-crate-metadata.json", "LEFT_OUT.md"} <= set(names)
    assert {"figures/table2.csv", "figures/fig3.png", "notebooks/02_sarcopenia.ipynb"} <= set(names)
    assert not {"figures/fig3.csv", "figures/fig3.pdf", "figures/exclusions.csv"} & set(names)
    for name, text in texts.items():
        for patient_id in [*patients["patient_id"], "D9999"]:
            assert patient_id not in text, (name, patient_id)
        assert not [v for v in values if v in text], name
        if name.endswith(".csv"):
            assert "patient_id" not in pd.read_csv(io.StringIO(text)).columns
    for name in ("fig2", "cumulative_incidence"):
        curves = pd.read_csv(io.StringIO(texts[f"figures/{name}.csv"]))
        assert (curves["month"].dropna() % 1 == 0).all() and "events" not in curves
        assert len(curves) > 50 and f"figures/{name}.pdf" not in names
    spline = pd.read_csv(io.StringIO(texts["figures/spline.csv"]))
    assert spline.groupby("panel")["n"].sum().between(1, len(patients)).all()
    assert (spline["part"].value_counts()["counts"]) == 5 * BINS  # not one row a patient
    crate = json.loads(texts["ro-crate-metadata.json"])
    assert {"figures/table2.csv", "run.json"} <= {entity["@id"] for entity in crate["@graph"]}
    assert "01_cohort.ipynb, cell 1" in texts["LEFT_OUT.md"]
    assert "Makefile" in names


def test_package_takes_the_protocol_along(finished):
    write_protocol(finished)
    with zipfile.ZipFile(write_package(finished)) as archive:
        assert archive.read("protocol.md") == (finished.figures / "protocol.md").read_bytes()
        assert "`protocol.md`" in archive.read("README.md").decode()


def test_the_crate_tells_the_run_by_the_profile_workflow_run(finished):
    """Every thing that a reader of the profile asks for, each named thing described, each file packed."""
    with zipfile.ZipFile(write_package(finished)) as archive:
        names = set(archive.namelist())
        graph = json.loads(archive.read("ro-crate-metadata.json"))["@graph"]
    of = {entity["@id"]: entity for entity in graph}
    root, run = of["./"], of[of["./"]["mentions"]["@id"]]
    profiles = [of[p["@id"]]["name"] for p in root["conformsTo"]]
    assert profiles == ["Process Run Crate", "Workflow Run Crate", "Workflow RO-Crate"]
    workflow = of[root["mainEntity"]["@id"]]
    assert workflow["@id"] == "Makefile" and "ComputationalWorkflow" in workflow["@type"]
    assert run["@type"] == "CreateAction" and run["instrument"]["@id"] == "Makefile"
    assert run["startTime"] <= run["endTime"] and run["object"] == [{"@id": "parameters.yaml"}]
    results = {entity["@id"] for entity in run["result"]}
    assert "figures/table2.csv" in results and results == {name for name in names if name.startswith("figures/")}
    for slot, entity in (("input", "parameters.yaml"), ("output", "figures/table2.csv")):
        assert of[workflow[slot]["@id"]]["@type"] == "FormalParameter"
        assert of[entity]["exampleOfWork"] == workflow[slot]
    for entity in graph:
        if "File" in ([entity["@type"]] if isinstance(entity["@type"], str) else entity["@type"]):
            assert entity["@id"] in names, entity["@id"]


def test_aggregates_of_times_from_dates_are_packed_rounded(finished):
    """The median of an odd number of patients is one patient's time, with all its digits where from dates."""
    patients = pd.read_parquet(finished.build / "patients.parquet")
    patients["os_months"] = (patients["os_months"] * 30.4375).round() / 30.4375
    patients.to_parquet(finished.build / "patients.parquet")
    time, *others = patients.loc[(patients["os_months"] % 1 > 0.01), "os_months"]
    for column in ("hr_low", "hr", "hr_high"):
        table = read(finished.figures / "table2.csv")
        table.loc[table.index[0], column] = time
        table.to_csv(finished.figures / "table2.csv", index=False)
        with zipfile.ZipFile(write_package(finished)) as archive:
            packed = pd.read_csv(io.BytesIO(archive.read("figures/table2.csv")))
            assert "figures/table2.csv | a few numbers are one patient's" in archive.read("LEFT_OUT.md").decode()
        assert len(packed) == len(table) and packed.loc[0, column] == float(f"{time:.4g}") != time
    rows = pd.DataFrame({"month": others[:20]})  # a patient a row, though nobody says so
    rows.to_csv(finished.figures / "auc.csv", index=False)
    with zipfile.ZipFile(write_package(finished)) as archive:
        assert "figures/auc.csv" not in archive.namelist()


def test_the_same_run_packs_to_the_same_bytes(finished):
    first = write_package(finished).read_bytes()
    with zipfile.ZipFile(write_package(finished)) as again, zipfile.ZipFile(io.BytesIO(first)) as before:
        differing = [n for n in again.namelist() if again.read(n) != before.read(n)]
    assert differing in ([], ["ro-crate-metadata.json"])


def test_a_site_may_say_what_its_column_of_identifiers_is_called(finished):
    path = finished.build / "run.json"
    run = json.loads(path.read_text())
    run["parameters"]["clinical"] = {"columns": {"patient_id": "Pat-Nr"}}
    path.write_text(json.dumps(run))
    with zipfile.ZipFile(write_package(finished)) as archive:
        assert "patient_id: Pat-Nr" in archive.read("parameters.yaml").decode()


def test_package_is_refused_when_a_patient_would_be_in_it(finished, monkeypatch):
    run = json.loads((finished.build / "run.json").read_text())
    run["title"] = "of D0001"
    (finished.build / "run.json").write_text(json.dumps(run))
    with pytest.raises(PackageError, match="run.json still shows a patient"):
        write_package(finished)


def test_traces_of_patients_are_found(finished):
    guard = Patients(finished)
    value = pd.read_parquet(finished.build / "patients.parquet")["pmi"].iloc[0]
    assert guard.seen_in(f"<td>{value}</td>") and guard.seen_in("patient D0003.") and guard.seen_in("patient_id,x")
    assert not guard.seen_in("HR 1.58 (1.07-2.35), n = 492, E0001x, 24.0")


def test_monthly_curves_are_the_estimate_at_whole_months():
    patients = toy_patients()
    time, event = patients["os_months"], patients["os_event"]
    curve = survival.kaplan_meier(time, event, 0.95).assign(panel="a", group="g")
    coarse = monthly(curve)
    assert "events" not in coarse
    months = coarse["month"].to_numpy()
    expected = survival.survival_at(survival.kaplan_meier(time, event, 0.95), months)
    np.testing.assert_array_equal(coarse["survival"], expected["survival"])
    np.testing.assert_array_equal(coarse["at_risk"], survival.numbers_at_risk(time, months))
