"""Where a run of make is, a line after each step, and what it found, at its end."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from analysis_lib.common.progress import length
from analysis_lib.core.project import Study
from analysis_lib.review.verdict import verdict_of

PLAN = ".plan"  # steps that make is going to run, a line each, written as it begins
# How long each takes beside the others, as in a first run of the study standin; only ratios count.
WEIGHTS = {
    **{"measure": 80, "features": 200, "optimism": 350, "stability": 1, "assemble": 1, "exclusions": 1},
    **{"04_autoencoder_deepsurv": 120, "02_sarcopenia": 10, "03_radiomics_pca": 10, "06_discrimination": 12},
    **{"09_beyond_the_letter": 15, "12_added_value": 15, "13_extended_table2": 12},
}
OTHER = 5


def progress_line(study: Study) -> str:
    """Steps done and to come with the time left, of the make that runs; empty where none does.

    The time left is that of the steps done, by their share of ``WEIGHTS``; the drawing of synthetic patients before
    them is no step, and tells nothing of them.
    """
    plan = study.build / PLAN
    if not plan.is_file():
        return ""
    begun, steps = plan.stat().st_mtime, list(dict.fromkeys(plan.read_text(encoding="utf-8").split()))
    done = [step for step in steps if _ended(study, step) >= begun]
    left = [step for step in steps if step not in done]
    if not done:
        return ""
    text = f"{len(done)} of {len(steps)} steps done"
    if not left:
        return f"{text}, in {length(time.time() - begun)}"
    weight = {step: WEIGHTS.get(step, OTHER) for step in steps}
    took = time.time() - max(begun, _ended(study, "cohort"))
    share = sum(weight[step] for step in left) / sum(weight[step] for step in done)
    to_come = " ".join(step[:2] if step[:2].isdigit() else step for step in left)  # a notebook by its number
    return f"{text}, about {length(took * share)} left; to come: {to_come}"


def tell_progress(study: Study, step: str) -> None:
    """Say on standard error where the run is, now that ``step`` has ended."""
    if line := progress_line(study):
        print(f"{step} done; {line}", file=sys.stderr, flush=True)


def _ended(study: Study, step: str) -> float:
    record = study.build / "stages" / f"{step}.json"
    return record.stat().st_mtime if record.is_file() else 0.0


def verdict(study: Study) -> str:
    """What a reader wants to know first of a finished run, and where the rest is."""
    name = study.project.name_of
    pages = f"tables and figures: {name(study.figures)}; notebooks: {name(study.build / 'notebooks')}"
    return "\n".join([*verdict_of(study), f"{pages}; one page of all: make report STUDY={study.name}"]) + "\n"


def verdict_file(study: Study) -> Path:
    """Where ``verdict`` of the last run is written."""
    return study.build / "verdict.txt"
