"""Commands that read finished runs: record, verify, expect, certificate, report, site, compare, package; protocol."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from analysis_lib.core.project import Project, Study


def add_commands(commands, project: Project) -> None:
    """Add them to the parser of ``python -m analysis_lib``, for the studies of a project."""

    def add(name: str, text: str, function: Callable[[Study, argparse.Namespace], int | None]):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--study", required=True, help="name of the parameter file, params/<study>.yaml")
        command.set_defaults(run=lambda options: function(project.study(options.study), options))
        return command

    add("protocol", "Write what the study will ask and what would count as reproduced, to be signed.", _protocol)
    add("record", "Write run.json of a finished run.", _record)
    add("verify", "Check a run's files and conclusions; 1 if a file or a conclusion changed.", _verify)
    add("expect", "Keep a run's tables as the expectation that verify compares with.", _expect)
    add("report", "Write report.html of a finished run, and report.pdf if Chromium is there.", _report)
    add("site", "Write report, notebooks and documentation of a finished run as one static site.", _site)
    add("package", "Write one zip of a finished run without any patient.", _package)
    both = commands.add_parser("compare", help="Compare two studies.", description="Each number in A and in B.")
    both.add_argument("a", help="name of the first study")
    both.add_argument("b", help="name of the second")
    both.set_defaults(run=lambda options: _compare(project.study(options.a), project.study(options.b)))
    certificate = add("certificate", "Write REPRODUCTION.md of a run made from an empty folder.", _certificate)
    certificate.add_argument(
        "--steps", type=Path, required=True, help="lines of name, seconds and command, tab-separated"
    )
    certificate.add_argument("--checker", default="", help="who ran it")
    certificate.add_argument("--out", type=Path, default=Path("REPRODUCTION.md"))

    fingerprint = commands.add_parser(
        "fingerprint",
        help="Hashes of the numerical core: equal lines, equal numbers.",
        description="One line for each part of the numerical core: what a processor computes, to the byte.",
    )
    fingerprint.set_defaults(run=lambda _: _fingerprint(project))


def _fingerprint(project: Project) -> None:
    from analysis_lib.review.fingerprint import fingerprint, together

    parts = fingerprint(project.params_dir / "features_sm.yaml")
    for name, value in parts.items():
        print(f"{name:<26} {value}")
    print(f"{'all':<26} {together(parts)}")


def _protocol(study: Study, _: argparse.Namespace) -> None:
    from analysis_lib.review.protocol import write_protocol

    print(write_protocol(study))


def _record(study: Study, _: argparse.Namespace) -> None:
    from analysis_lib.review.fingerprint import kept_fingerprint
    from analysis_lib.review.record import write_run

    write_run(study, kept_fingerprint(study.project))


def _verify(study: Study, _: argparse.Namespace) -> int:
    from analysis_lib.review.verify import verify, write_verdict

    verdict = verify(study)
    write_verdict(study, verdict)
    print(verdict.text, end="")
    return 0 if verdict.reproduced else 1


def _expect(study: Study, _: argparse.Namespace) -> None:
    from analysis_lib.review.verify import write_expectation

    folder, done = write_expectation(study)
    print(f"expectation of '{study.name}' in {folder}: {done}; commit it with the change that explains it")


def _report(study: Study, _: argparse.Namespace) -> None:
    from analysis_lib.review.report import write_report

    for path in write_report(study):
        print(f"written: {path}")


def _site(study: Study, _: argparse.Namespace) -> None:
    from analysis_lib.review.site import write_site

    print(f"written: {write_site(study)}")


def _package(study: Study, _: argparse.Namespace) -> None:
    from analysis_lib.review.package import write_package

    print(f"written: {write_package(study)}")


def _compare(a: Study, b: Study) -> None:
    from analysis_lib.review.compare import write_comparison

    folder, text = write_comparison(a, b)
    print(text)
    print(f"written: {folder / 'compare.html'} and compare.csv")


def _certificate(study: Study, options: argparse.Namespace) -> int:
    from analysis_lib.review.certificate import write_certificate

    return write_certificate(study, options.steps, options.checker, options.out)
