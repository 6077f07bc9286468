"""What would betray a patient in a text, and a file of the results as it may leave a site."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np

from analysis_lib.common.files import read_csv
from analysis_lib.core.project import Study
from analysis_lib.review.coarse import is_curve, monthly

# A time or measurement with this many digits is one patient's; fewer occur in results too.
TELLING_DIGITS = 7
FEW_VALUES = 0.1  # share of the numbers of a table that may be patients' where its rows are not
SHORTEST_TELLING_ID = 4  # a shorter identifier, as '12', is also a number in every table
KINDS = {"column": "identifiers", "identifier": "an identifier", "value": "a measured value"}
TOKEN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
NUMBER = re.compile(r"\d+\.\d+(?:[eE][-+]?\d+)?")


class Patients:
    """What would betray a patient: identifiers, and values that only one patient has."""

    def __init__(self, study: Study) -> None:
        patients, exclusions = study.patients(), study.exclusions()
        ids = {*patients["patient_id"].astype(str), *exclusions["patient_id"].astype(str)}
        if "series_uid" in patients:
            ids |= set(patients["series_uid"].dropna().astype(str))
        self.ids = {i for i in ids if len(i) >= SHORTEST_TELLING_ID}
        frames = [patients]
        if (study.build / "risk.csv").is_file():
            frames.append(study.risk())
        numbers = np.concatenate([f.select_dtypes("number").to_numpy(float).ravel() for f in frames])
        texts = {repr(float(v)) for v in numbers[np.isfinite(numbers)]}
        self.values = {t for t in texts if len(re.sub(r"\D|e.*$", "", t).strip("0")) >= TELLING_DIGITS}

    def rounded(self, text: str) -> str:
        """A table with those numbers rounded that are one patient's value, as a median time from dates is.

        As it is where there is an identifier, or where so many numbers are patients' that the rows may be theirs.
        """
        numbers = NUMBER.findall(text)
        theirs = sum(number in self.values for number in numbers)
        if "patient_id" in text or theirs > FEW_VALUES * len(numbers):
            return text
        return NUMBER.sub(lambda found: f"{float(found[0]):.4g}" if found[0] in self.values else found[0], text)

    def seen_in(self, text: str, is_table: bool = True) -> tuple[str, str] | None:
        """The first trace of a patient in a text, as its kind (of ``KINDS``) and itself; None without any.

        The parameters are no table: there a site says what its column of identifiers is called.
        """
        if is_table and "patient_id" in text:
            return "column", "patient_id"
        for token in TOKEN.findall(text):
            if token.strip("._-") in self.ids:
                return "identifier", token
        return next((("value", v) for v in NUMBER.findall(text) if v in self.values), None)


def as_it_may_leave(path: Path, guard: Patients, left_out: list[tuple[str, str]]) -> bytes | None:
    """A file of the results as it may leave, or None; what was left out or made coarser goes to ``left_out``."""
    name = f"figures/{path.name}"
    content = path.read_bytes()
    if path.suffix == ".pdf":
        # Vector graphics hold the coordinates of each dot and step: where those are patients', only the picture goes.
        source = path.with_suffix(".csv")
        if source.is_file():
            text = source.read_text(encoding="utf-8")
            if guard.seen_in(text) or is_curve(read_csv(io.StringIO(text), nrows=0)):
                left_out.append((name, "vector graphic, exact to the patient; the picture (.png) is in the package"))
                return None
        return content
    if path.suffix not in (".csv", ".html"):
        return content
    text = content.decode("utf-8")
    if path.suffix == ".csv" and (coarse := guard.rounded(text)) != text:
        text, content = coarse, coarse.encode()
        left_out.append((name, "a few numbers are one patient's, as a median is: rounded to four digits"))
    if trace := guard.seen_in(text):
        left_out.append((name, f"one row a patient: {KINDS[trace[0]]}"))
        return None
    if path.suffix == ".csv":
        table = read_csv(io.StringIO(text))
        if is_curve(table):
            left_out.append((name, "exact times of events; the curves are in the package at whole months"))
            return monthly(table).to_csv(index=False, lineterminator="\n").encode()
    return content
