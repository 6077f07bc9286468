"""Command line of the library: the heavy stages for make, and a quick look at one patient.

python -m analysis_lib indices --ct FOLDER_OR_FILE --mask FILE [--sex M --height-m 1.72] [--json]
python -m analysis_lib STAGE --study NAME
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from analysis_lib.certify.commands import add_commands
from analysis_lib.errors import StudyError
from analysis_lib.params import HuWindow, ParameterError, Params, load_params

STARTED = time.monotonic()  # before the heavy imports, which count as part of a stage


def main(arguments: list[str] | None = None) -> int:
    """Run one command; 0 on success, 2 with one line on standard error otherwise."""
    options = _parser().parse_args(arguments)
    try:
        return options.run(options) or 0
    except StudyError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where it stopped", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m analysis_lib", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def stage(name: str, text: str, function: Callable[[Params, argparse.Namespace], None]) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--study", required=True, help="name of the parameter file, params/<study>.yaml")
        command.add_argument("--quiet", action="store_true", help="no progress bar")
        command.set_defaults(run=lambda options: _recorded(load_params(options.study), name, function, options))
        return command

    stage("prepare", "Check the parameters and write each section for make.", _prepare)
    stage("cohort", "Write the synthetic cohort (studies with a standin section and no data_dir of another).", _cohort)
    stage("inputs", "List the input files, so that make sees when one changed.", _inputs)
    stage("measure", "Measure areas and densities from CT and masks.", _measure)
    stage("features", "Extract the radiomics features.", _features)
    stage("assemble", "Join the stages into one table of analysed patients.", _assemble)
    notebook = stage("notebook", "Run one numbered notebook headless.", _notebook)
    notebook.add_argument("name", help="for example 02_sarcopenia")

    docs = commands.add_parser("docs", help="Write the generated pages of docs/.", description="Write generated pages.")
    docs.set_defaults(run=_docs)

    add_commands(commands)

    one = commands.add_parser(
        "indices",
        help="Muscle indices of one patient, without a study.",
        description="Muscle indices of one patient.",
    )
    one.add_argument("--ct", required=True, type=Path, help="folder of DICOM files, or one NIfTI or NRRD file")
    one.add_argument("--mask", required=True, type=Path, help="3D Slicer .seg.nrrd with the segments SM and PM")
    one.add_argument("--sex", choices=["M", "F"], help="for the cut-offs")
    one.add_argument("--height-m", type=float, help="for SMI and PMI")
    one.add_argument("--sm-hu", type=float, nargs=2, metavar=("LOW", "HIGH"), help="HU window of SM")
    one.add_argument("--pm-hu", type=float, nargs=2, metavar=("LOW", "HIGH"), help="HU window of PM")
    one.add_argument("--json", action="store_true", help="print JSON")
    one.add_argument("--study", default="defaults", help="parameter file with windows and cut-offs")
    one.set_defaults(run=_indices)
    return parser


def _recorded(params: Params, name: str, function: Callable[[Params, argparse.Namespace], None], options) -> None:
    """Run one stage and keep its time and memory; a notebook is a stage under its own name."""
    from analysis_lib.certify.record import recorded_stage

    with recorded_stage(params, getattr(options, "name", name), STARTED):
        function(params, options)


def _prepare(params: Params, _: argparse.Namespace) -> None:
    from analysis_lib.prepare import prepare

    prepare(params)


def _cohort(params: Params, options: argparse.Namespace) -> None:
    if params.standin is None or params.data_dir:
        return  # real patients, or another study's: data that this study reads and must not write
    from analysis_lib.standin.make import make_cohort

    make_cohort(params, quiet=options.quiet)


def _inputs(params: Params, _: argparse.Namespace) -> None:
    from analysis_lib.prepare import list_inputs

    list_inputs(params)


def _measure(params: Params, options: argparse.Namespace) -> None:
    from analysis_lib.stages import measure_patients

    measure_patients(params, options.quiet)


def _features(params: Params, options: argparse.Namespace) -> None:
    from analysis_lib.stages import extract_features

    extract_features(params, options.quiet)


def _assemble(params: Params, _: argparse.Namespace) -> None:
    from analysis_lib.stages import assemble_patients

    assemble_patients(params)


def _notebook(params: Params, options: argparse.Namespace) -> None:
    from analysis_lib.notebooks import run_notebook

    run_notebook(params, options.name)


def _docs(_: argparse.Namespace) -> None:
    from analysis_lib.reference import write_pages

    write_pages()


def _indices(options: argparse.Namespace) -> None:
    from analysis_lib.cohort.clinical import COLUMNS
    from analysis_lib.imaging.indices import MEASURES, add_height_indices, measure, sarcopenic

    params = load_params(options.study)
    if options.height_m is not None:
        height = next(c for c in COLUMNS if c.name == "height_m")
        if not height.low <= options.height_m <= height.high:
            raise ParameterError(
                f"--height-m {options.height_m:g} is outside {height.low:g} to {height.high:g}; give metres"
            )
    images = params.images
    for muscle, window in (("sm", options.sm_hu), ("pm", options.pm_hu)):
        if window is not None:
            if window[0] >= window[1]:
                raise ParameterError(f"--{muscle}-hu {window[0]:g} {window[1]:g}: the low end must come first")
            segment = getattr(images, muscle).model_copy(update={"hu_window": HuWindow(low=window[0], high=window[1])})
            images = images.model_copy(update={muscle: segment})
    measured = measure(options.ct, options.mask, images)

    import pandas as pd

    row = {name: measured[name] for name in MEASURES} | {"sex": options.sex, "height_m": options.height_m}
    table = add_height_indices(pd.DataFrame([row]).astype({"height_m": float}))
    values = {name: None if pd.isna(v := table.at[0, name]) else float(v) for name in (*MEASURES, "smi", "pmi")}
    verdicts = {}
    for name, definition in params.definitions.items():
        verdict = sarcopenic(table, definition)[0]
        verdicts[name] = {
            "source": definition.source,
            "doi": definition.doi,
            "cut_off": {"M": definition.men, "F": definition.women}.get(options.sex),
            "unit": definition.unit,
            "sarcopenic": None if pd.isna(verdict) else bool(verdict),
        }
    slices = {"sm": measured["sm_slices"], "pm": measured["pm_slices"], "z_mm": measured["slices_z_mm"]}
    if options.json:
        print(json.dumps(values | {"slices": slices, "definitions": verdicts}, indent=2))
        return
    units = {
        "sm_area_cm2": "cm²",
        "sm_mean_hu": "HU",
        "pm_area_cm2": "cm²",
        "pm_mean_hu": "HU",
        "smi": "cm²/m²",
        "pmi": "cm²/m²",
    }
    for name, value in values.items():
        print(f"{name:<12} {'needs --height-m' if value is None else f'{value:10.4f} {units[name]}'}")
    print(
        f"slices       {', '.join(map(str, sorted({*slices['sm'], *slices['pm']})))} (0 = most caudal), "
        f"z = {slices['z_mm']} mm"
    )
    for name, verdict in verdicts.items():
        word = {
            None: "needs --sex" if options.sex is None else "needs --height-m",
            True: "sarcopenic",
            False: "not sarcopenic",
        }
        cut_off = "" if verdict["cut_off"] is None else f" (below {verdict['cut_off']:g} {verdict['unit']})"
        print(f"{name:<5} {verdict['source']:<15} {word[verdict['sarcopenic']]}{cut_off}")


if __name__ == "__main__":
    sys.exit(main())
