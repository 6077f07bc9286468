"""One zip of a study for a journal: figures, tables, parameters, executed notebooks, run.json, RO-Crate metadata.

No patient goes with it. A table with a row a patient is left out, the exact times in curves of survival and incidence
are taken at whole months, and an output of a notebook that shows a patient is removed; LEFT_OUT.md lists each. What is
packed is searched for every patient identifier and every measured value, and the package is refused if one is found.
"""

from __future__ import annotations

import io
import json
import re
import tempfile
import zipfile
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from rocrate.rocrate import ROCrate

from analysis_lib.common.errors import StudyError
from analysis_lib.common.files import read_csv, replacing
from analysis_lib.core.artefacts import ALL_NOTEBOOKS, describe, produced
from analysis_lib.core.notebooks import nbformat  # as it starts quickly
from analysis_lib.core.parameters import Params
from analysis_lib.core.project import Study
from analysis_lib.review.coarse import is_curve, monthly
from analysis_lib.review.record import read_run

# A time or measurement with this many digits is one patient's; fewer occur in results too.
TELLING_DIGITS = 7
FEW_VALUES = 0.1  # share of the numbers of a table that may be patients' where its rows are not
SHORTEST_TELLING_ID = 4  # a shorter identifier, as '12', is also a number in every table
LICENSE = "https://spdx.org/licenses/GPL-3.0-or-later"
KINDS = {"column": "identifiers", "identifier": "an identifier", "value": "a measured value"}
TOKEN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
NUMBER = re.compile(r"\d+\.\d+(?:[eE][-+]?\d+)?")


class PackageError(StudyError):
    """The study cannot be packed; the message says why and what to do."""


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


def write_package(study: Study) -> Path:
    """Write ``build/<study>/package/<study>.zip``; returns its path.

    Raises PackageError without a finished run, or if a patient were in it.
    """
    run = read_run(study)
    if run is None:
        raise PackageError(f"study '{study.name}' has not been run; {study.command}")
    guard = Patients(study)
    left_out: list[tuple[str, str]] = []
    files: dict[str, bytes] = {}
    for name in produced(study):
        content = _result(study.figures / name, guard, left_out)
        if content is not None:
            files[f"figures/{name}"] = content
    exclusions = study.exclusions().groupby(["set", "stage"], sort=False).size().rename("patients").reset_index()
    files["figures/exclusions_counted.csv"] = _csv(exclusions)
    for name in ALL_NOTEBOOKS:
        path = study.executed(name)
        if path.is_file():
            files[f"notebooks/{name}.ipynb"] = _notebook(path, guard, left_out)
    parameters = yaml.safe_dump(run["parameters"], sort_keys=False, allow_unicode=True)
    files["parameters.yaml"] = f"# Parameters of the run, as resolved.\n{parameters}".encode()
    files["run.json"] = _json(run)
    for name in ("LICENSE", "CITATION.cff"):
        if (study.project.root / name).is_file():
            files[name] = (study.project.root / name).read_bytes()
    files["LEFT_OUT.md"] = _left_out(left_out).encode()
    for name, content in files.items():
        if trace := guard.seen_in(_readable(name, content), is_table=name not in ("parameters.yaml", "run.json")):
            raise PackageError(
                f"{name} still shows a patient (the {' '.join(trace)}); nothing was packed, please report this"
            )
    path = study.build / "package" / f"{study.name}.zip"
    with replacing(path) as temporary:
        _zip(files | {"ro-crate-metadata.json": _crate(study.params, run, files)}, temporary, run["finished"])
    return path


def _result(path: Path, guard: Patients, left_out: list[tuple[str, str]]) -> bytes | None:
    """A file of the results as it may leave, or None."""
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
            return _csv(monthly(table))
    return content


def _notebook(path: Path, guard: Patients, left_out: list[tuple[str, str]]) -> bytes:
    """The executed notebook without the outputs that show a patient."""
    notebook = nbformat.read(path, as_version=4)
    for number, cell in enumerate(notebook.cells, start=1):
        if cell.cell_type != "code":
            continue
        kept = []
        for output in cell.outputs:
            if trace := guard.seen_in(_words(output)):
                left_out.append((f"notebooks/{path.name}, cell {number}", f"an output with {KINDS[trace[0]]}"))
            else:
                kept.append(output)
        cell.outputs = kept
    return nbformat.writes(notebook).encode()


def _words(output: dict) -> str:
    """The text of a notebook's output, its pictures left aside."""
    shown = {kind: value for kind, value in output.get("data", {}).items() if not kind.startswith("image/")}
    return json.dumps([shown, output.get("text", ""), output.get("traceback", "")])


def _readable(name: str, content: bytes) -> str:
    """What the last search goes through: text, and of notebooks their outputs (their code names columns)."""
    if name.endswith((".png", ".pdf")):
        return ""
    if not name.endswith(".ipynb"):
        return content.decode("utf-8")
    cells = nbformat.reads(content.decode("utf-8"), as_version=4).cells
    return "\n".join(_words(output) for cell in cells for output in cell.get("outputs", []))


def _left_out(rows: list[tuple[str, str]]) -> str:
    lines = [
        "# What was left out",
        "",
        "This package holds no row of a patient. Left out or made coarser:",
        "",
        "| what | why |",
        "|---|---|",
        *(f"| {what} | {why} |" for what, why in rows),
        "| the tables of patients, features and risks, the fitted model, CT and masks | they are patients' |",
        "",
        "`figures/exclusions_counted.csv` counts the excluded patients by set and stage.",
    ]
    return "\n".join(lines) + "\n"


def _crate(params: Params, run: dict, files: dict[str, bytes]) -> bytes:
    """RO-Crate 1.1 metadata of the package's files, by the rocrate library."""
    crate = ROCrate(gen_preview=False)
    crate.name = params.title
    note = "Synthetic images and outcomes: no patient data. " if params.synthetic else ""
    crate.description = f"{note}Tables, figures, parameters and executed notebooks of the study '{params.study}'."
    crate.datePublished = datetime.fromisoformat(run["finished"])
    crate.license = LICENSE
    kinds = {
        "csv": "text/csv",
        "html": "text/html",
        "png": "image/png",
        "pdf": "application/pdf",
        "md": "text/markdown",
    }
    kinds |= {"json": "application/json", "ipynb": "application/x-ipynb+json", "yaml": "application/yaml"}
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            suffix = name.rpartition(".")[2]
            properties = {"contentSize": str(len(content)), "encodingFormat": kinds.get(suffix, "text/plain")}
            if name.startswith("figures/"):
                properties["name"] = describe(Path(name).stem).title
            source = Path(folder) / name
            source.parent.mkdir(parents=True, exist_ok=True)
            source.write_bytes(content)
            crate.add_file(source, name, properties=properties)
        crate.write(Path(folder) / "crate")
        text = (Path(folder) / "crate" / "ro-crate-metadata.json").read_text(encoding="utf-8")
    return (json.dumps(json.loads(text), indent=1, ensure_ascii=False) + "\n").encode()


def _zip(files: dict[str, bytes], path: Path, finished: str) -> None:
    stamp = datetime.fromisoformat(finished).timetuple()[:6]  # of the run, so that packing again gives the same bytes
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, date_time=stamp)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(entry, files[name])


def _csv(table: pd.DataFrame) -> bytes:
    return table.to_csv(index=False, lineterminator="\n").encode()


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()
