"""Command line of the library: the heavy stages for make, and a quick look at one patient.

python -m analysis_lib indices --ct FOLDER_OR_FILE --mask FILE [--sex M --height-m 1.72] [--json]
python -m analysis_lib features --table CASES.csv --params PYRADIOMICS.yaml --out FEATURES.csv
python -m analysis_lib features --image FILE_OR_FOLDER --mask FILE --params PYRADIOMICS.yaml [--json]
python -m analysis_lib STAGE --study NAME
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from analysis_lib.common.errors import FULL_DISK, StudyError
from analysis_lib.core.parameters import ParameterError
from analysis_lib.core.project import Project, Study
from analysis_lib.ct.settings import HuWindow
from analysis_lib.review.commands import add_commands
from analysis_lib.ui.help import GroupedParser
from analysis_lib.ui.interrupts import stop_with_make

STARTED = time.monotonic()  # before the heavy imports, which count as part of a stage


def main(arguments: list[str] | None = None, project: Project | None = None) -> int:
    """Run one command on the studies of a project, this checkout unless told otherwise.

    Returns 0 on success, 1 if some cases failed, 2 with one line on standard error otherwise.
    """
    project = project or Project()
    options = _parser(project).parse_args(arguments)
    stop_with_make()
    try:
        return options.run(options) or 0
    except StudyError as error:
        print(f"error: {' '.join((error.at_terminal or str(error)).split())}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {_file_error(error, project.root)}", file=sys.stderr)
        return 2
    except MemoryError:
        print("error: there is not enough memory; close other programs, or set fewer workers", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where it stopped", file=sys.stderr)
        return 130


def _parser(project: Project) -> argparse.ArgumentParser:
    parser = GroupedParser(prog="python -m analysis_lib", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=argparse.ArgumentParser)

    def stage(
        name: str, text: str, function: Callable[[Study, argparse.Namespace], int | None]
    ) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--study", required=True, help="name of the parameter file, params/<study>.yaml")
        command.add_argument("--quiet", action="store_true", help="no progress bar")
        command.set_defaults(run=lambda options: _recorded(project.study(options.study), name, function, options))
        return command

    stage("prepare", "Check the parameters and write each section for make.", _prepare)
    stage("cohort", "Write the synthetic cohort (studies with a standin section and no data_dir of another).", _cohort)
    stage("inputs", "List the input files, so that make sees when one changed.", _inputs)
    stage("fetch", "Take the patients of a public collection: CT and, where it has one, the clinical table.", _fetch)
    masks = stage("masks", "Outline the muscles of every patient by TotalSegmentator.", _masks)
    masks.add_argument("--program", default=".venv-masks/bin/TotalSegmentator", help="TotalSegmentator's command")
    masks.add_argument("--device", default="gpu", help="gpu, cpu or mps, as TotalSegmentator has it")
    stage("check", "Read everything and show what was found, before anything is computed.", _check)
    stage("measure", "Measure areas and densities from CT and masks.", _measure)
    _add_features(commands, project)
    stage("assemble", "Write the table of analysed patients, by what was measured.", _assemble)
    stage("exclusions", "Write the table of who was excluded, with the reasons.", _exclusions)
    stage("stability", "Extract features of disturbed images and masks (if stability.patients > 0).", _stability)
    stage("optimism", "Fit the whole pipeline to other splits and bootstrap samples.", _optimism)
    stage("search", "Search hyperparameters inside the training set.", _search)
    notebook = stage("notebook", "Run one numbered notebook headless.", _notebook)
    notebook.add_argument("name", help="for example 02_sarcopenia")

    predict = stage("predict", "Apply a saved model to patients without outcomes.", _predict)
    predict.add_argument("--model", required=True, type=Path, help="folder of the model, build/<study>/model")

    validate = stage("validate", "Judge a saved model on the study's patients; nothing is trained.", _validate)
    validate.add_argument("--model", required=True, type=Path, help="folder of the model, build/<study>/model_to_share")

    stage("export-model", "Write the fitted model for others, without a number of a single patient.", _export_model)
    stage("multiverse", "Run the choices an analyst could have made instead, and the power calculation.", _multiverse)
    stage("gallery", "Write the small pictures of docs/gallery.", _gallery)

    text = "Write what code each stage and notebook runs, so that make sees what a change concerns."
    commands.add_parser("code", help=text, description=text).set_defaults(run=lambda options: _code(project, options))

    docs = commands.add_parser("docs", help="Write the generated pages of docs/.", description="Write generated pages.")
    docs.set_defaults(run=_docs)

    add_commands(commands, project)

    _add_indices(commands, project)
    _add_fit(commands)
    return parser


def _add_indices(commands: argparse._SubParsersAction, project: Project) -> None:
    one = commands.add_parser(
        "indices",
        help="Muscle indices of one patient, without a study.",
        description="Muscle indices of one patient.",
    )
    one.add_argument("--ct", required=True, type=Path, help="folder of DICOM files, or one NIfTI or NRRD file")
    one.add_argument(
        "--mask",
        required=True,
        type=Path,
        nargs="+",
        help=".seg.nrrd, label map, DICOM SEG or RTSTRUCT; several files where each holds one muscle",
    )
    one.add_argument("--label-table", type=Path, help="names of a label map's labels, where not beside it")
    one.add_argument("--l3-slice", choices=["all", "middle", "vertebra"], help="which slices of the mask count")
    one.add_argument("--l3-z-mm", type=float, help="count the slice at this height only (LPS, mm)")
    one.add_argument("--series-uid", default="", help="Series Instance UID, where the folder holds several CT series")
    one.add_argument("--sex", choices=["M", "F"], help="for the cut-offs")
    one.add_argument("--height-m", type=float, help="for SMI and PMI")
    one.add_argument("--sm-hu", type=float, nargs=2, metavar=("LOW", "HIGH"), help="HU window of SM")
    one.add_argument("--pm-hu", type=float, nargs=2, metavar=("LOW", "HIGH"), help="HU window of PM")
    one.add_argument("--json", action="store_true", help="print JSON")
    one.add_argument("--study", default="defaults", help="parameter file with windows and cut-offs")
    one.set_defaults(run=lambda options: _indices(project, options))


def _add_fit(commands: argparse._SubParsersAction) -> None:
    fit = commands.add_parser(
        "fit",
        help="The survival network on any table, without a study.",
        description="Fit the Cox networks on a table with one row a patient, and measure them on every split.",
    )
    fit.add_argument("--table", required=True, type=Path, help="CSV, Parquet or XLSX, one row a patient")
    fit.add_argument("--time", required=True, help="column of follow-up times")
    fit.add_argument("--event", required=True, help="column that is 1 for an event, 0 for a censored patient")
    fit.add_argument("--split", help="column with train, test (or other test sets), perhaps valid; else 7:3 is drawn")
    fit.add_argument("--drop", nargs="+", action="extend", default=[], metavar="COLUMN", help="no covariates")
    codes = "values that say 'not known' in any column, such as -9 999"
    fit.add_argument("--missing", nargs="+", action="extend", default=[], metavar="CODE", help=codes)
    fit.add_argument("--autoencoder", type=int, metavar="N", help="variables of an AutoEncoder; without, none")
    fit.add_argument("--seeds", type=int, default=10, help="networks in the ensemble")
    alone = "the networks alone, without ridge and elastic-net Cox beside them"
    fit.add_argument("--networks-alone", action="store_true", help=alone)
    fit.add_argument("--seed", type=int, default=0, help="of the split and of every network")
    fit.add_argument("--out", required=True, type=Path, help="folder for metrics.json, risk.csv and the model")
    fit.set_defaults(run=_fit)


def _file_error(error: OSError, root: Path) -> str:
    """One line on a file that cannot be read or written; its path is shown only if the study itself made it."""
    cause = error.strerror or " ".join(str(error).split()) or type(error).__name__
    full = any(f"[Errno {code}]" in str(error) for code in FULL_DISK)  # pydicom raises it again without the number
    if error.errno in FULL_DISK or (error.errno is None and full):
        return "the disk or its quota is full; free some space, then the same command goes on where it stopped"
    path = Path(str(error.filename or "")).absolute()
    made = any(path.is_relative_to(root / name) for name in ("build", "figures"))
    return f"{path.relative_to(root)}: {cause}" if made else f"a file cannot be read or written: {cause}"


def _add_features(commands: argparse._SubParsersAction, project: Project) -> None:
    text = "Extract the radiomics features of a study, of a table of cases, or of one image and mask."
    command = commands.add_parser("features", help=text, description=text)
    source = command.add_mutually_exclusive_group(required=True)
    source.add_argument("--study", help="name of the parameter file, params/<study>.yaml")
    source.add_argument("--table", type=Path, help="CSV with Image, Mask and optionally ID, Label, Segment")
    source.add_argument("--image", type=Path, help="one image: a file that ITK reads, or a folder of DICOM files")
    command.add_argument("--mask", type=Path, help="with --image: the mask, on the image's grid")
    command.add_argument("--label", type=int, help="with --image: value in the mask (default: the parameter file's)")
    command.add_argument("--segment", default="", help="with --image: name of the segment in a .seg.nrrd")
    command.add_argument("--params", type=Path, help="PyRadiomics parameter file, with --table and --image")
    command.add_argument("--out", type=Path, help="with --table: .csv or .parquet to write")
    command.add_argument("--workers", type=int, default=0, help="with --table: processes, 0 takes all cores")
    command.add_argument("--json", action="store_true", help="with --image: print JSON")
    command.add_argument("--quiet", action="store_true", help="no progress bar")
    command.set_defaults(run=lambda options: _features(project, options, command))


def _recorded(
    study: Study, name: str, function: Callable[[Study, argparse.Namespace], int | None], options
) -> int | None:
    """Run one stage and keep its time and memory; a notebook is a stage under its own name."""
    from analysis_lib.review.progress import tell_progress
    from analysis_lib.review.record import recorded_stage

    name = getattr(options, "name", name)
    with recorded_stage(study, name, STARTED):
        status = function(study, options)
    if not options.quiet:
        tell_progress(study, name)
    return status


def _prepare(study: Study, _: argparse.Namespace) -> None:
    from analysis_lib.core.prepare import prepare

    prepare(study)


def _code(project: Project, _: argparse.Namespace) -> None:
    from analysis_lib.core.prepare import write_code

    write_code(project, project.root / "build" / "code")


def _cohort(study: Study, options: argparse.Namespace) -> None:
    params = study.params
    if params.standin is None or params.data_dir:
        return  # real patients, or another study's: data that this study reads and must not write
    from analysis_lib.standin.make import make_cohort

    # The published cut-offs, not the study's own: a what-if on a definition must not change the patients.
    published = study.project.params("defaults").definitions
    make_cohort(params.standin, published, params.seed, study.data, params.workers, options.quiet)


def _inputs(study: Study, _: argparse.Namespace) -> None:
    from analysis_lib.core.prepare import list_inputs

    list_inputs(study)


def _fetch(study: Study, options: argparse.Namespace) -> None:
    from analysis_lib.stages.fetch import fetch

    print(fetch(study, options.quiet))


def _masks(study: Study, options: argparse.Namespace) -> int:
    from analysis_lib.stages.masks import segment_patients

    text, failed = segment_patients(study, options.program, options.device, options.quiet)
    print(text)
    return 1 if failed else 0


def _check(study: Study, options: argparse.Namespace) -> int:
    from analysis_lib.review.check import check_study, page_path

    found = check_study(study, options.quiet)
    for remark in found.remarks:
        print(f"warning: {remark}", file=sys.stderr)
    print(
        f"{found.usable} of {len(found.table)} patients can be analysed; "
        f"look at {study.project.name_of(page_path(study))}"
    )
    if found.usable:
        print(f"then: {study.params.cohort.command(study.name)}")
    return 0 if found.usable else 2


def _measure(study: Study, options: argparse.Namespace) -> None:
    from analysis_lib.stages.measure import measure_patients

    measure_patients(study, options.quiet)


def _features(project: Project, options: argparse.Namespace, command: argparse.ArgumentParser) -> int | None:
    if options.study:
        from analysis_lib.stages.features import extract_features

        study = project.study(options.study)
        return _recorded(study, "features", lambda study, _: extract_features(study, options.quiet), options)
    from analysis_lib.stages.cases import extract_one, extract_table

    if options.params is None:
        command.error("--params is needed with --table and --image")
    if options.image:
        if options.mask is None:
            command.error("--mask is needed with --image")
        values = extract_one(options.image, options.mask, options.params, options.label, options.segment)
        print(json.dumps(values, indent=1) if options.json else "\n".join(f"{k}: {v!r}" for k, v in values.items()))
        return 0
    if options.out is None:
        command.error("--out is needed with --table")
    done, failures = extract_table(options.table, options.params, options.out, options.workers, options.quiet)
    print(f"{options.out}: {len(done)} cases, {len(failures)} failed")
    for row in failures.to_dict("records"):
        print(f"failed: {row.get('ID') or row['Image']}: {row['reason']}", file=sys.stderr)
    return 1 if len(failures) else 0


def _assemble(study: Study, _: argparse.Namespace) -> None:
    from analysis_lib.stages.assemble import assemble_patients

    assemble_patients(study)


def _exclusions(study: Study, _: argparse.Namespace) -> None:
    from analysis_lib.stages.assemble import list_exclusions

    list_exclusions(study)


def _stability(study: Study, options: argparse.Namespace) -> None:
    if study.params.stability.patients == 0:
        return
    from analysis_lib.stages.stability import analyse_stability

    analyse_stability(study, options.quiet)


def _optimism(study: Study, options: argparse.Namespace) -> None:
    from analysis_lib.stages.optimism import resample_pipeline

    os.nice(10)  # notebook 04 runs beside it, and most others wait for that one
    resample_pipeline(study, options.quiet)


def _search(study: Study, options: argparse.Namespace) -> None:
    from analysis_lib.stages.search import search_hyperparameters

    search_hyperparameters(study, options.quiet)


def _notebook(study: Study, options: argparse.Namespace) -> None:
    from analysis_lib.core.notebooks import run_notebook

    run_notebook(study, options.name)


def _predict(study: Study, options: argparse.Namespace) -> None:
    from analysis_lib.stages.predict import predict

    print(predict(study, options.model, options.quiet))


def _validate(study: Study, options: argparse.Namespace) -> None:
    from analysis_lib.stages.validate import validate

    print(validate(study, options.model))


def _export_model(study: Study, _: argparse.Namespace) -> None:
    from analysis_lib.stages.export import export_model

    print(export_model(study))


def _multiverse(study: Study, options: argparse.Namespace) -> None:
    from analysis_lib.results.multiverse import run_multiverse

    run_multiverse(study, options.quiet)


def _gallery(study: Study, _: argparse.Namespace) -> None:
    from analysis_lib.ui.gallery import make_gallery

    make_gallery(study)


def _docs(_: argparse.Namespace) -> None:
    from analysis_lib.ui.reference import write_pages

    write_pages()


def _fit(options: argparse.Namespace) -> None:
    from analysis_lib.coxnet.fit_table import fit_table

    metrics = fit_table(
        options.table,
        options.time,
        options.event,
        options.out,
        split=options.split,
        drop=options.drop,
        missing=options.missing,
        code_size=options.autoencoder,
        seeds=options.seeds,
        partner=not options.networks_alone,
        seed=options.seed,
    )
    for note in json.loads((options.out / "report.json").read_text(encoding="utf-8"))["notes"]:
        print(f"note: {note}", file=sys.stderr)
    for name, found in metrics.items():
        value, low, high = (f"{found[k]:.3f}" if found[k] is not None else "NA" for k in ("c_index", "low", "high"))
        print(f"{name:<12} C-index {value} ({low}-{high}), {found['n']} patients, {found['events']} events")


def _indices(project: Project, options: argparse.Namespace) -> None:
    from analysis_lib.cohort.columns import COLUMNS
    from analysis_lib.common.sarcopenia import BY_HEIGHT, add_height_indices, cut_offs, sarcopenic
    from analysis_lib.ct.indices import ATTENUATION, MEASURES, measure
    from analysis_lib.ct.masks import listed

    params = project.params(options.study)
    if options.height_m is not None:
        height = next(c for c in COLUMNS if c.name == "height_m")
        if not height.low <= options.height_m <= height.high:
            raise ParameterError(
                f"--height-m {options.height_m:g} is outside {height.low:g} to {height.high:g}; give metres"
            )
    images = params.images
    for muscle, window in (("sm", options.sm_hu), ("pm", options.pm_hu)):
        if window is not None:
            if not all(map(math.isfinite, window)):
                raise ParameterError(f"--{muscle}-hu {window[0]:g} {window[1]:g}: give two numbers of HU")
            if window[0] >= window[1]:
                raise ParameterError(f"--{muscle}-hu {window[0]:g} {window[1]:g}: the low end must come first")
            segment = getattr(images, muscle).model_copy(update={"hu_window": HuWindow(low=window[0], high=window[1])})
            images = images.model_copy(update={muscle: segment})
    if options.l3_slice or options.l3_z_mm is not None:
        images = images.model_copy(update={"l3_slice": "z_mm" if options.l3_z_mm is not None else options.l3_slice})
    where = {"series_uid": options.series_uid, "label_table": options.label_table, "l3_z_mm": options.l3_z_mm}
    measured = measure(options.ct, options.mask, images, **where, need_sm=False)

    import pandas as pd

    areas = (*MEASURES, *ATTENUATION)
    row = {name: measured[name] for name in areas} | {"sex": options.sex, "height_m": options.height_m}
    table = add_height_indices(pd.DataFrame([row]).astype({"height_m": float}))
    names = [*areas, *table.columns.difference([*row], sort=False)]
    values = {name: None if pd.isna(v := table.at[0, name]) else float(v) for name in names}
    verdicts: dict[str, dict[str, Any]] = {}
    for name, definition in params.definitions.items():
        verdict, cut_off = sarcopenic(table, definition)[0], cut_offs(table, definition)[0]
        verdicts[name] = {
            "source": definition.source,
            "doi": definition.doi,
            "cut_off": None if pd.isna(cut_off) else float(cut_off),
            "unit": definition.unit,
            "sarcopenic": None if pd.isna(verdict) else bool(verdict),
        }
    slices = {"sm": measured["sm_slices"], "pm": measured["pm_slices"], "z_mm": measured["slices_z_mm"]}
    if options.json:
        series = {"series": measured["ct_series"], "notes": measured["ct_notes"], "flags": measured["flagged"]}
        print(json.dumps(values | {"slices": slices, "ct": series, "definitions": verdicts}, indent=2))
        return
    units = {"_area_cm2": "cm²", "_mean_hu": "HU", **dict.fromkeys(BY_HEIGHT, "cm²/m²")}
    for name, value in values.items():
        unit = next((text for end, text in units.items() if name.endswith(end)), "")
        shown = _why_no_value(measured, values, name) if value is None else f"{value:10.4f} {unit}"
        print(f"{name:<12} {shown}".rstrip())
    print(
        f"slices       {', '.join(map(str, sorted({*slices['sm'], *slices['pm']})))} (0 = most caudal), "
        f"z = {slices['z_mm']} mm"
    )
    print(f"CT           {'; '.join(filter(None, [measured['ct_series'], measured['ct_notes']]))}")
    for text in measured["flagged"].values():
        print(f"flag         {text}")
    if not (slices["sm"] and slices["pm"]):
        print(f"mask         {listed(measured['segment_names'])}")
    for name, verdict in verdicts.items():
        word = {
            None: _why_no_verdict(options, measured, values, params.definitions[name].column),
            True: "sarcopenic",
            False: "not sarcopenic",
        }
        cut_off = "" if verdict["cut_off"] is None else f" (below {verdict['cut_off']:g} {verdict['unit']})"
        print(f"{name:<5} {verdict['source']:<15} {word[verdict['sarcopenic']]}{cut_off}")


NO_SEGMENT, NO_HU = "no segment", "needs HU, see CT"


def _why_no_value(row: dict[str, Any], values: dict[str, float | None], name: str) -> str:
    """An index by height has its muscle's area and no height; else there is no mask, or it is in doubt whether HU."""
    from analysis_lib.common.sarcopenia import BY_HEIGHT

    measured = BY_HEIGHT.get(name, name)
    if values[measured] is not None:
        return "needs --height-m"
    muscle = "pm" if measured.startswith("pm") else "sm"  # normal and low attenuation are of SM
    return NO_HU if row["doubts"] and row[f"{muscle}_slices"] else NO_SEGMENT


def _why_no_verdict(
    options: argparse.Namespace, row: dict[str, Any], values: dict[str, float | None], column: str
) -> str:
    needs = ["--sex"] if options.sex is None else []
    if values[column] is not None:
        return f"needs {' '.join(needs) or 'the BMI'}"
    if (why := _why_no_value(row, values, column)) in (NO_SEGMENT, NO_HU):
        return why
    return f"needs {' and '.join([*needs, '--height-m'])}"
