"""What a reader sees first of a finished run, or of a committed one: the five sentences of its verdict."""

from __future__ import annotations

from analysis_lib.common.files import read_csv
from analysis_lib.core.project import Study
from analysis_lib.results.verdict import sentences

TABLES = {"comparison": "paper_comparison", "c_index": "c_index", "difference": "c_index_difference"}
TABLES |= {"calibration": "calibration_summary"}


def verdict_of(study: Study) -> list[str]:
    """The sentences on a finished run; of a study that only judged another's model, its answer to that."""
    patients = study.patients()
    counts = patients.groupby("set", sort=False).agg(n=("event", "size"), events=("event", "sum")).reset_index()
    tables = {
        key: study.result(name) if (study.figures / f"{name}.csv").is_file() else None for key, name in TABLES.items()
    }
    said = sentences(counts, study.params, **tables)
    if study.only_validated:
        said.append(study.answers().get("17_validation", ""))
    return [text for text in said if text]


def verdict_of_expectation(study: Study) -> list[str]:
    """The same sentences on the committed run of the study, from ``tests/expected/<study>``."""
    folder = study.project.expected / study.name
    files = {path.name.partition(".")[0]: path for path in folder.glob("*.csv*")}
    extended = read_csv(files["table2_extended"])
    first = extended["outcome"] == extended["outcome"].iloc[0]  # the study's own endpoint
    counts = extended[first].groupby("set", sort=False)[["n", "events"]].max().reset_index()
    given = {key: read_csv(files[name]) for key, name in TABLES.items() if name in files}
    return sentences(counts, study.params, **given)
