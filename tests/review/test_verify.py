"""The three verdicts of `make verify`, and what `make expect` keeps."""

import json

import pandas as pd

from analysis_lib.review import expectation, record, verify


def read(path):
    return pd.read_csv(path, float_precision="round_trip")


def test_verify_sees_a_changed_and_a_missing_file(finished):
    assert verify.verify(finished).intact
    (finished.figures / "fig1.png").unlink()
    with (finished.figures / "table2.csv").open("a") as file:
        file.write("x")
    verdict = verify.verify(finished)
    assert verdict.missing == ["figures/toy/fig1.png"] and verdict.changed == ["figures/toy/table2.csv"]
    assert not verdict.reproduced and verdict.text.startswith("NOT reproduced: files are missing or")


def change(study, name, edit):
    """Change a table of a finished run, and record it as what the run wrote."""
    path = study.figures / name if name != "risk.csv" else study.build / name
    edit(table := read(path))
    table.to_csv(path, index=False, lineterminator="\n")
    record.write_run(study)


def head(study):
    return verify.verify(study).text.splitlines()[0]


def test_the_same_bytes_are_the_first_verdict(finished):
    verify.write_expectation(finished)
    verdict = verify.verify(finished)
    assert verdict.reproduced and head(finished) == "reproduced to the byte"
    assert "seen on\n  " in verdict.text and verdict.run["environment"]["cpu"]["model"] in verdict.text


def test_other_digits_are_the_second_verdict(finished):
    verify.write_expectation(finished)
    change(finished, "table2.csv", lambda t: t.__setitem__("hr", t["hr"] * (1 + 1e-11)))
    verdict = verify.verify(finished)
    assert verdict.reproduced and not verdict.same_bytes
    assert head(finished).startswith(
        f"reproduced in every conclusion; digits differ in {len(verdict.cells)} cells by at most 1"
    )
    assert set(verdict.cells["column"]) == {"hr"} and "by most: Table 2 (table2.csv), set " in verdict.text


def test_another_conclusion_is_the_third_verdict_and_named(finished):
    verify.write_expectation(finished)
    change(finished, "risk_groups.csv", lambda t: t.__setitem__("hr", t["hr"].mask(t["set"] == "lt", t["hr"] * 1.1)))
    text = verify.verify(finished).text
    assert text.startswith("NOT reproduced: these conclusions changed\n")
    assert "Risk groups in numbers (risk_groups.csv), set lt, hazard ratio (hr): " in text
    assert "differs by more than 5%" in text


def test_without_a_network_more_than_rounding_is_another_number(finished):
    verify.write_expectation(finished)
    change(finished, "table2.csv", lambda t: t.__setitem__("hr", t["hr"] * (1 + 1e-4)))
    verdict = verify.verify(finished)
    assert not verdict.reproduced and "more than rounding" in verdict.text


def test_one_patients_risk_group_shows_though_no_patient_is_in_the_expectation(finished):
    folder = verify.write_expectation(finished)[0]
    cut_off = json.loads((finished.build / "model" / "model.json").read_text())["cutoff"]

    def to_the_other_side(table):
        k = table.index[(table["set"] == "lt") & (table["risk"] < cut_off)][0]
        table.loc[k, "risk"] = cut_off + 0.01

    change(finished, "risk.csv", to_the_other_side)
    changed = verify.verify(finished).conclusions
    assert "n_high_risk" in set(changed.loc[changed["file"] == "risk.csv", "column"])
    assert "patient_id" not in (folder / "risk.csv").read_text()


def test_a_missing_picture_is_not_reproduced(finished):
    verify.write_expectation(finished)
    (finished.figures / "fig1.png").unlink()
    record.write_run(finished)
    verdict = verify.verify(finished)
    assert not verdict.reproduced and "fig1.png" in set(verdict.conclusions["file"])


def test_a_study_of_ones_own_is_compared_with_nothing(finished):
    verdict = verify.verify(finished)
    assert verdict.reproduced and head(finished).startswith("intact, compared with nothing")


def seen_on(finished):
    return expectation.read_expectation(finished.project.expected / finished.name)["seen_on"]


def another_processor(finished, monkeypatch):
    environment = record.environment()
    other = environment | {"cpu": environment["cpu"] | {"model": "Another One", "target": "another"}}
    monkeypatch.setattr(record, "environment", lambda: other)
    record.write_run(finished)


def test_expect_adds_a_processor_that_made_the_same_bytes(finished, monkeypatch):
    folder = verify.write_expectation(finished)[0]
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".json"}
    _, done = verify.write_expectation(finished)
    assert "before" in done and len(seen_on(finished)) == 1
    another_processor(finished, monkeypatch)
    _, done = verify.write_expectation(finished)
    assert "is added: Another One (another)" in done and [s["target"] for s in seen_on(finished)][1:] == ["another"]
    assert before == {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".json"}


def test_expect_begins_anew_with_other_bytes(finished, monkeypatch):
    verify.write_expectation(finished)
    another_processor(finished, monkeypatch)
    change(finished, "table2.csv", lambda t: t.__setitem__("hr", t["hr"] * (1 + 1e-11)))
    verify.write_expectation(finished)
    assert [s["target"] for s in seen_on(finished)] == ["another"]
    assert head(finished) == "reproduced to the byte"


def test_a_fingerprint_is_compared_part_by_part(finished):
    path = finished.build / "run.json"
    run = json.loads(path.read_text())
    path.write_text(json.dumps(run | {"fingerprint": {"features": "a", "risks": "b"}}))
    verify.write_expectation(finished)
    assert "fingerprint: the same as the expectation" in verify.verify(finished).text
    path.write_text(json.dumps(run | {"fingerprint": {"features": "a", "risks": "c"}}))
    assert "fingerprint: differs in part risks" in verify.verify(finished).text
