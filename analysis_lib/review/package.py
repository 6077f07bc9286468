"""One zip of a study for a journal: README, report, figures, tables, parameters, notebooks, run.json, RO-Crate.

No patient goes with it. A table with a row a patient is left out, the exact times in curves of survival and incidence
are taken at whole months, and an output of a notebook that shows a patient is removed; LEFT_OUT.md lists each. What is
packed is searched for every patient identifier and every measured value, and the package is refused if one is found.
"""

from __future__ import annotations

import json
import re
import tempfile
import zipfile
from datetime import datetime
from pathlib import Path

import pandas as pd
import yaml
from rocrate.model import ComputerLanguage, ContextEntity, File, Person
from rocrate.rocrate import ROCrate

from analysis_lib.common.errors import StudyError
from analysis_lib.common.files import replacing
from analysis_lib.core.artefacts import ALL_NOTEBOOKS, describe, produced
from analysis_lib.core.notebooks import nbformat  # as it starts quickly
from analysis_lib.core.parameters import Params
from analysis_lib.core.project import CHECKOUT, Study
from analysis_lib.review import protocol
from analysis_lib.review.guard import KINDS, Patients, as_it_may_leave
from analysis_lib.review.record import read_run
from analysis_lib.review.report import render
from analysis_lib.review.verdict import verdict_of

LICENSE = "https://spdx.org/licenses/GPL-3.0-or-later"


PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": "Process Run Crate",
    "https://w3id.org/ro/wfrun/workflow/0.5": "Workflow Run Crate",
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": "Workflow RO-Crate",
}
FORMATS = {"csv": "text/csv", "html": "text/html", "png": "image/png", "pdf": "application/pdf", "md": "text/markdown"}
FORMATS |= {"json": "application/json", "ipynb": "application/x-ipynb+json", "yaml": "application/yaml"}
# The parameters say what a site calls its column of identifiers, the report has the code of notebooks.
NO_TABLES = ("parameters.yaml", "run.json", "report.html")


class PackageError(StudyError):
    """The study cannot be packed; the message says why and what to do."""


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
        content = as_it_may_leave(study.figures / name, guard, left_out)
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
    for name in ("LICENSE", "CITATION.cff", "Makefile"):
        files[name] = (CHECKOUT / name).read_bytes()
    if (study.figures / protocol.NAME).is_file():
        files[protocol.NAME] = (study.figures / protocol.NAME).read_bytes()
    files["LEFT_OUT.md"] = _left_out(left_out).encode()
    files["report.html"] = render(study, run).encode()
    files["README.md"] = _readme(study, run, sorted(files)).encode()
    for name, content in files.items():
        if trace := guard.seen_in(_readable(name, content), is_table=name not in NO_TABLES):
            raise PackageError(
                f"{name} still shows a patient (the {' '.join(trace)}); nothing was packed, please report this"
            )
    path = study.build / "package" / f"{study.name}.zip"
    with replacing(path) as temporary:
        _zip(files | {"ro-crate-metadata.json": _crate(study.params, run, files)}, temporary, run["finished"])
    return path


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
    if name == "report.html":  # pictures and downloads, which were asked one by one, left aside
        return re.sub(r"data:[^\"]*", "", content.decode("utf-8"))
    if not name.endswith(".ipynb"):
        return content.decode("utf-8")
    cells = nbformat.reads(content.decode("utf-8"), as_version=4).cells
    return "\n".join(_words(output) for cell in cells for output in cell.get("outputs", []))


def _readme(study: Study, run: dict, names: list[str]) -> str:
    """The first page of the package: the verdict, what lies where, and how the study is made again."""
    said = "\n".join(f"{k}. {text}" for k, text in enumerate(verdict_of(study), start=1))
    counts = {folder: sum(name.startswith(f"{folder}/") for name in names) for folder in ("figures", "notebooks")}
    asked = f"\n| `{protocol.NAME}` | what was asked, written down beforehand |" if protocol.NAME in names else ""
    commit = f"commit {run['git']['commit']}" if run["git"] else "a copy without git"
    return f"""# {study.params.title}

{f"**{study.note}**" if study.note else "No patient is in this package; LEFT_OUT.md says what is not."}

{said}

| look at | for |
|---|---|
| `report.html` | everything in one page: open it in a browser, it needs no other file |
| `figures/` | {counts["figures"]} files: each table and figure, with the numbers it is drawn from |
| `notebooks/` | {counts["notebooks"]} notebooks as they ran |
| `parameters.yaml` | every parameter of the run |{asked}
| `run.json` | {commit}, versions, hashes of inputs and outputs, machine, time of each stage |
| `LEFT_OUT.md` | what was left out or made coarser, so that no patient can be told |
| `ro-crate-metadata.json` | the same for machines |

To make it again: check out the commit, put `parameters.yaml` as `params/{study.name}.yaml`, then `{study.command}`
and `make verify STUDY={study.name}`.
"""


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
    """RO-Crate 1.1 metadata of the package's files and of the run that made them, by the rocrate library.

    Profile Workflow Run Crate 0.5: the Makefile is the workflow, the parameters go in, tables and figures come out.
    """
    crate = ROCrate(gen_preview=False, version="1.1")
    crate.name = params.heading
    note = "Synthetic images and outcomes: no patient data. " if params.synthetic else ""
    crate.description = f"{note}Tables, figures, parameters and executed notebooks of the study '{params.study}'."
    crate.datePublished = datetime.fromisoformat(run["finished"])
    crate.license = LICENSE
    crate.root_dataset["conformsTo"] = [
        crate.add(ContextEntity(crate, uri, {"@type": "CreativeWork", "name": name, "version": uri.rpartition("/")[2]}))
        for uri, name in PROFILES.items()
    ]
    with tempfile.TemporaryDirectory() as folder:
        entities = {}
        for name, content in files.items():
            suffix = name.rpartition(".")[2]
            properties = {"contentSize": str(len(content)), "encodingFormat": FORMATS.get(suffix, "text/plain")}
            if name.startswith("figures/"):
                properties["name"] = describe(Path(name).stem).title
            source = Path(folder) / name
            source.parent.mkdir(parents=True, exist_ok=True)
            source.write_bytes(content)
            if name != "Makefile":
                entities[name] = crate.add_file(source, name, properties=properties)
        _add_run(crate, run, Path(folder) / "Makefile", entities)
        crate.write(Path(folder) / "crate")
        text = (Path(folder) / "crate" / "ro-crate-metadata.json").read_text(encoding="utf-8")
    return (json.dumps(json.loads(text), indent=1, ensure_ascii=False) + "\n").encode()


def _add_run(crate: ROCrate, run: dict, makefile: Path, entities: dict[str, File]) -> None:
    """The workflow and its one run: what it read, what it made, when, with what, on what."""
    make = ComputerLanguage(crate, "#make", {"name": "GNU Make", "url": {"@id": "https://www.gnu.org/software/make/"}})
    crate.add(make)
    workflow = crate.add_workflow(makefile, "Makefile", main=True, lang=make, properties={"name": "make study"})
    workflow["license"] = LICENSE
    if run["git"]:
        workflow["version"] = run["git"]["commit"]
    workflow["description"] = "From CT, masks and a clinical table to every table and figure."
    slots = {}
    for name, kind, what in (
        ("parameters", "File", "parameters of the study"),
        ("results", "Dataset", "tables and figures"),
    ):
        slot = crate.add_formal_parameter(name, kind, identifier=f"#{name}", description=what, valueRequired=True)
        slots[name] = slot
    workflow["input"], workflow["output"] = slots["parameters"], slots["results"]
    entities["parameters.yaml"]["exampleOfWork"] = slots["parameters"]
    results = [entity for name, entity in entities.items() if name.startswith("figures/")]
    for entity in results:
        entity["exampleOfWork"] = slots["results"]
    agent = crate.add(Person(crate, "#who-ran-it", {"name": "Who ran the study"}))
    started = min((stage["started"] for stage in run["stages"]), default=run["finished"])
    action = crate.add_action(
        workflow,
        "#run",
        object=[entities["parameters.yaml"]],
        result=results,
        properties={
            "name": f"make study STUDY={run['study']}",
            "startTime": started,
            "endTime": run["finished"],
            "actionStatus": "http://schema.org/CompletedActionStatus",
            "description": f"{run['environment']['system']}, {run['environment']['cpu']['model']}; see run.json",
        },
    )
    action["agent"] = agent
    crate.root_dataset["mentions"] = action


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
