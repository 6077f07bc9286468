"""What make protocol writes before anybody looks, and what verify and report say of it afterwards."""

import re

import numpy as np
import pytest
from finished import toy_study

from analysis_lib.core.parameters import load_params
from analysis_lib.core.project import Project, Study
from analysis_lib.core.question_params import Endpoint
from analysis_lib.results.hypotheses import events_needed, hypotheses
from analysis_lib.results.published import printed_numbers
from analysis_lib.review import protocol
from analysis_lib.review.record import read_run
from analysis_lib.review.report import render
from analysis_lib.review.verify import verify
from analysis_lib.survival.cox import cox_fit
from analysis_lib.ui.command_line import main


def path_of(study):
    return study.figures / protocol.NAME


def sign(study):
    path = path_of(study)
    path.write_text(path.read_text().replace("\nName:\n\nDate:\n", "\nName: A. Reader\n\nDate: 2026-12-01\n"))


def with_l2(study, l2):
    network = study.params.network.model_copy(update={"l2": l2})
    return toy_study(study.project.root, network=network)


def test_every_hypothesis_has_its_estimand_and_the_printed_number():
    params, printed = load_params("standin"), printed_numbers()
    table = hypotheses(params, printed)
    assert table["hypothesis"].unique().tolist() == [f"H{k}" for k in range(1, 9)]
    for name, cells in printed["table2"].items():
        for key, cell in cells.items():
            for outcome in ("OS", "RFS"):
                row = table[table["statement"].str.contains(f" {key} ") & (table["set"] == name)]
                row = row[row["outcome"] == outcome].iloc[0]
                values = row[["published", "published_low", "published_high", "published_p"]].tolist()
                np.testing.assert_array_equal(values, cell.get(outcome, [np.nan] * 4))
    c_index = table[table["estimand"].str.startswith("Harrell")].set_index("set")["published"]
    assert c_index.to_dict() == {name: values[0] for name, values in printed["c_index"].items()}


def test_the_hypotheses_are_those_of_the_question():
    rfs = load_params("smoke").model_copy(update={"endpoint": Endpoint.model_validate("rfs")})
    rfs = type(rfs).model_validate(rfs.model_dump())
    table = hypotheses(rfs, printed_numbers(endpoint=rfs.endpoint))
    assert table["outcome"].iloc[0] == "RFS" and table.loc[table["hypothesis"] == "H6", "published"].isna().all()
    tace = hypotheses(load_params("public_hcc_tace"), printed_numbers("published_tace"))
    assert tace.loc[tace["estimand"].str.contains("per SD"), "published"].tolist() == [0.79]
    alone = load_params("smoke").model_copy(
        update={"features": load_params("smoke").features.model_copy(update={"rois": {}})}
    )
    assert "C-index" not in " ".join(hypotheses(alone, printed_numbers())["estimand"])


def test_a_set_of_another_name_has_the_first_printed_set_beside_it():
    params = load_params("smoke")
    sets = {"kiel": params.cohort.sets["discovery"], "lt": params.cohort.sets["lt"]}
    params = params.model_copy(update={"cohort": params.cohort.model_copy(update={"sets": sets})})
    table = hypotheses(params, printed_numbers())
    first = table[(table["hypothesis"] == "H1") & (table["outcome"] == "OS")].set_index("set")
    assert first.loc["kiel", ["published", "of"]].tolist() == [1.58, "discovery"]
    assert first.loc["lt", ["published", "of"]].tolist() == [1.59, ""]


def test_events_needed_are_those_at_which_the_test_has_that_power():
    assert events_needed(2.0, 0.5, 0.05, 0.8) == 66  # 65.3 by hand: 4 (1.960 + 0.842)² / (log 2)²
    assert events_needed(0.5, 0.5, 0.05, 0.8) == 66 and np.isnan(events_needed(1.0, 0.5, 0.05, 0.8))
    assert np.isnan(events_needed(2.0, 0.0, 0.05, 0.8)) and np.isnan(events_needed(np.nan, 0.5, 0.05, 0.8))
    rng, n = np.random.default_rng(1), int(events_needed(1.8, 0.3, 0.05, 0.8))
    found = 0
    for _ in range(300):
        group = (np.arange(n) < 0.3 * n).astype(float)
        fit = cox_fit(rng.exponential(1 / 1.8**group), np.ones(n, bool), group[:, None])
        found += abs(fit.coefficients[0]) > 1.96 * np.sqrt(fit.covariance[0, 0])
    assert 0.73 < found / 300 < 0.87


def test_the_protocol_names_what_will_be_asked_and_how(tmp_path):
    study = toy_study(tmp_path)
    assert "sign it" in protocol.write_protocol(study)
    text = path_of(study).read_text()
    for d in study.params.definitions.values():
        assert d.doi in text and f"{d.men:g}" in text
    for said in (
        "No result of these patients was there when it was written.",
        "| Discovery | OS | 1.58 (1.07–2.35), P=0.02 | 153 |",
        "Discovery patients were split at random, with seed 20240101, into training and internal test (30%).",
        "the risk score is the mean of 2 networks",
        "overall survival (columns os_months and os_event), months after surgery",
        "12 months, 36 months, 60 months",
        "200 and 200 bootstrap replicates",
        "20 imputed data sets",
        study.note,
    ):
        assert said in text, said
    assert text.index('"parameters"') < text.index("## Signed") and "Saved model" not in text
    assert not re.search(r"None|nan|\bNA\b|<.*object", text.partition("```json")[0])


@pytest.mark.parametrize("name", ["public_hcc_tace", "public_hnscc", "site.example", "smoke"])
def test_every_study_has_a_protocol(name, tmp_path):
    study = Study(load_params(name), Project(tmp_path))
    protocol.write_protocol(study)
    assert path_of(study).read_text().count("\n### H") >= len(study.params.definitions)


def test_a_site_that_judges_a_saved_model_trains_nothing(tmp_path):
    study = toy_study(tmp_path)
    cohort = study.params.cohort.judged(["external"])
    protocol.write_protocol(study := toy_study(tmp_path, cohort=cohort))
    text = path_of(study).read_text()
    assert "Nothing is trained. A saved model" in text and text.rstrip().endswith("Saved model (its SHA256SUMS):")
    assert "were split at random" not in text and "An AutoEncoder" not in text


def test_a_moved_cut_off_stands_beside_the_published_one(tmp_path):
    study = toy_study(tmp_path)
    moved = study.params.definitions["PMI"].model_copy(update={"men": 6.0})
    study = toy_study(tmp_path, definitions=study.params.definitions | {"PMI": moved})
    protocol.write_protocol(study)
    assert "| 6 (published 6.36) | 3.92 |" in path_of(study).read_text()


def test_an_unsigned_protocol_follows_its_parameters_and_a_signed_one_stays(tmp_path):
    study = toy_study(tmp_path)
    protocol.write_protocol(study)
    first = path_of(study).read_bytes()
    assert "stands as it is" in protocol.write_protocol(study) and path_of(study).read_bytes() == first
    protocol.write_protocol(with_l2(study, 0.25))
    assert path_of(study).read_bytes() != first
    sign(study)
    before = path_of(study).read_bytes()
    with pytest.raises(protocol.ProtocolError, match=r"signed \(2026-12-01\).*network\.l2: 0\.25 in the protocol"):
        protocol.write_protocol(study)
    assert "signed 2026-12-01" in protocol.write_protocol(with_l2(study, 0.25))
    assert path_of(study).read_bytes() == before


@pytest.mark.parametrize("half", ["Name: A. Reader", "Date: 2026-12-01"])
def test_a_half_signed_protocol_is_not_signed(half, tmp_path):
    study = toy_study(tmp_path)
    protocol.write_protocol(study)
    path = path_of(study)
    path.write_text(path.read_text().replace(f"\n{half[:5]}\n", f"\n{half}\n"))
    assert half in path.read_text() and protocol.signed(path) == ""


def test_verify_and_report_say_what_has_moved_since(finished):
    assert not any("protocol" in note for note in verify(finished).notes)
    study = with_l2(finished, 0.25)
    assert "sign it" in protocol.write_protocol(study)
    assert "Results of these patients were there when it was written, of toy (run of" in path_of(study).read_text()
    sign(study)
    notes = verify(finished).notes
    assert "protocol (signed 2026-12-01): parameters of the run that have moved since: 1" in notes
    l2 = finished.params.network.l2
    assert f"moved since the protocol: network.l2: 0.25 in the protocol, {l2} now" in notes
    html = render(finished, read_run(finished))
    assert "parameters of the run that have moved since: 1" in html and "network.l2: 0.25 in the protocol" in html


def test_a_run_as_it_was_written_down_says_so(finished):
    protocol.write_protocol(finished)
    sign(finished)
    assert verify(finished).notes == ["protocol (signed 2026-12-01): the run has its parameters"]
    path = path_of(finished)
    path.write_text(path.read_text().replace("1.58 (1.07–2.35)", "1.28 (1.07–2.35)"))
    assert any("its text is not as it was written" in note for note in verify(finished).notes)
    path.write_text(path.read_text().replace('"seed": 20240101', '"seed": 1'))
    assert "moved since the protocol: seed: 1 in the protocol, 20240101 now" in verify(finished).notes
    path.write_text("# Protocol\n")
    assert any("holds no parameters any more" in note for note in verify(finished).notes)


def test_code_and_files_that_changed_are_told_apart_from_parameters(finished):
    (finished.project.params_dir / "published.yaml").write_text("doi: 1\n")
    protocol.write_protocol(finished)
    run = read_run(finished)
    run["code"]["analysis_lib"] = "another"
    assert protocol.standing(finished, run)[-1] == "moved since the protocol: code: analysis_lib: has changed"
    (finished.project.params_dir / "published.yaml").write_text("doi: 2\n")
    assert "moved since the protocol: params/published.yaml: has changed" in protocol.standing(finished, run)


def test_the_command_writes_it(tmp_path, capsys):
    project = Project(tmp_path)
    project.params_dir.mkdir()
    for path in Project().params_dir.glob("*.yaml"):
        (project.params_dir / path.name).write_bytes(path.read_bytes())
    assert main(["protocol", "--study", "smoke"], project) == 0
    assert "written: figures/smoke/protocol.md" in capsys.readouterr().out
    text = (tmp_path / "figures/smoke/protocol.md").read_text()
    assert '"params/features_sm.yaml"' in text and '"params/published.yaml"' in text
