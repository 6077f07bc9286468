"""What a run of make says: after each step where it is, at its end what it found."""

from __future__ import annotations

import os
import re
import time

from analysis_lib.review.progress import PLAN, progress_line, verdict


def test_the_line_after_a_step(finished):
    study, begun = finished, time.time() - 100
    plan, records = study.build / PLAN, study.build / "stages"
    assert progress_line(study) == ""  # no make runs
    plan.write_text("measure\nfeatures\nassemble\n01_cohort\nfeatures\n")
    os.utime(plan, (begun, begun))
    records.mkdir(exist_ok=True)
    for path in records.glob("*.json"):
        os.utime(path, (begun - 9, begun - 9))
    assert progress_line(study) == ""  # nothing of it is done
    (records / "measure.json").touch()
    line = progress_line(study)
    assert line.startswith("1 of 4 steps done, about 4 min left") and line.endswith("to come: features assemble 01")
    (records / "cohort.json").touch()  # 80 of the 100 seconds went into drawing
    os.utime(records / "cohort.json", (begun + 80, begun + 80))
    assert re.search("about 5[0-9] s left", progress_line(study))
    for name in ("features", "assemble", "01_cohort"):
        (records / f"{name}.json").touch()
    assert progress_line(study).startswith("4 of 4 steps done, in 2 min")


def test_the_verdict_is_of_the_tables_of_the_run(finished):
    text = verdict(finished)
    assert text.startswith("110 synthetic patients (Discovery 60, External test 25, External LT test 25), of whom")
    assert "P values lie on the printed side of 0.05" in text and "0.70 (0.60–0.80) in Internal test" in text
    assert f"figures/{finished.name}" in text and f"make report STUDY={finished.name}" in text
