"""Commands of the library that read finished runs: record, verify, expect, certificate, report, compare, package."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from analysis_lib.core.parameters import Params, load_params


def add_commands(commands) -> None:
    """Add them to the parser of ``python -m analysis_lib``."""

    def add(name: str, text: str, function: Callable[[Params, argparse.Namespace], int | None]):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--study", required=True, help="name of the parameter file, params/<study>.yaml")
        command.set_defaults(run=lambda options: function(load_params(options.study), options))
        return command

    add("record", "Write run.json of a finished run.", _record)
    add("verify", "Check a run's files and numbers; 1 if they differ.", _verify)
    add("expect", "Keep a run's tables as the expectation that verify compares with.", _expect)
    add("report", "Write report.html of a finished run, and report.pdf if Chromium is there.", _report)
    add("package", "Write one zip of a finished run without any patient.", _package)
    both = commands.add_parser("compare", help="Compare two studies.", description="Each number in A and in B.")
    both.add_argument("a", help="name of the first study")
    both.add_argument("b", help="name of the second")
    both.set_defaults(run=_compare)
    certificate = add("certificate", "Write REPRODUCTION.md of a run made from an empty folder.", _certificate)
    certificate.add_argument(
        "--steps", type=Path, required=True, help="lines of name, seconds and command, tab-separated"
    )
    certificate.add_argument("--checker", default="", help="who ran it")
    certificate.add_argument("--out", type=Path, default=Path("REPRODUCTION.md"))


def _record(params: Params, _: argparse.Namespace) -> None:
    from analysis_lib.review.record import write_run

    write_run(params)


def _verify(params: Params, _: argparse.Namespace) -> int:
    from analysis_lib.review.verify import verify, write_verdict

    verdict = verify(params)
    write_verdict(params, verdict)
    print(verdict.text, end="")
    agrees = verdict.agrees if verdict.expectation is not None else verdict.intact
    return 0 if agrees else 1


def _expect(params: Params, _: argparse.Namespace) -> None:
    from analysis_lib.review.verify import write_expectation

    folder = write_expectation(params)
    print(f"expectation of '{params.study}' written to {folder}; commit it with the change that explains it")


def _report(params: Params, _: argparse.Namespace) -> None:
    from analysis_lib.review.report import write_report

    for path in write_report(params):
        print(f"written: {path}")


def _package(params: Params, _: argparse.Namespace) -> None:
    from analysis_lib.review.package import write_package

    print(f"written: {write_package(params)}")


def _compare(options: argparse.Namespace) -> None:
    from analysis_lib.review.compare import write_comparison

    folder, text = write_comparison(load_params(options.a), load_params(options.b))
    print(text)
    print(f"written: {folder / 'compare.html'} and compare.csv")


def _certificate(params: Params, options: argparse.Namespace) -> int:
    from analysis_lib.review.certificate import write_certificate

    return write_certificate(params, options.steps, options.checker, options.out)
