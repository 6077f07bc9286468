"""Is what lies here what the run wrote, and does it agree with the committed expectation?

Nothing heavy is computed again: hashes against ``run.json`` and ``tests/expected/<study>/expected.json``, then, where
bytes differ, every number of the CSVs against the expected tables, judged by ``tests/expected/conclusions.yaml``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from analysis_lib.common.errors import StudyError
from analysis_lib.common.files import file_hash, replacing, write_text
from analysis_lib.core.artefacts import VALIDATION, describe
from analysis_lib.core.project import Study
from analysis_lib.review import expectation
from analysis_lib.review.conclusions import Conclusions, read_conclusions
from analysis_lib.review.judge import CELLS, compare_tables
from analysis_lib.review.protocol import standing
from analysis_lib.review.record import platform_key, read_run

SHOWN = 40
SAME_BYTES = "reproduced to the byte"
NOT = "NOT reproduced"
VERSIONS_ASIDE = ("cpu_target", "blas")  # they name the processor


class VerifyError(StudyError):
    """There is nothing to verify; the message says what to run."""


@dataclass
class Verdict:
    """What was checked and what differs; ``text`` is what a reviewer pastes."""

    study: str
    run: dict
    files: int = 0
    missing: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    expectation: dict | None = None
    other_bytes: list[str] = field(default_factory=list)
    tables: int = 0
    not_compared: dict[str, str] = field(default_factory=dict)
    cells: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=CELLS))

    @property
    def intact(self) -> bool:
        """Whether every file is there as the run wrote it."""
        return not self.missing and not self.changed

    @property
    def same_bytes(self) -> bool:
        """Whether every table and figure has the expected bytes."""
        return self.expectation is not None and self.intact and not self.other_bytes

    @property
    def conclusions(self) -> pd.DataFrame:
        """The cells that change a conclusion."""
        return self.cells[self.cells["conclusion"] != ""]

    @property
    def reproduced(self) -> bool:
        """Every file as the run wrote it, and every conclusion as expected; without expectation the files alone."""
        return self.intact and self.conclusions.empty

    @property
    def head(self) -> str:
        """The first line: the verdict."""
        if not self.conclusions.empty:
            return f"{NOT}: these conclusions changed"
        if not self.intact:
            return f"{NOT}: files are missing or are not those that the run wrote"
        if self.expectation is None:
            return f"intact, compared with nothing: there is no expectation in tests/expected/{self.study}"
        if self.same_bytes:
            return SAME_BYTES
        worst = self.cells["difference"].max() if len(self.cells) else 0.0
        return f"reproduced in every conclusion; digits differ in {len(self.cells)} cells by at most {worst:.2g}"

    @property
    def text(self) -> str:
        """What `make verify` prints."""
        return "\n".join(_lines(self)) + "\n"


def verify(study: Study) -> Verdict:
    """Check the study's outputs against its run and against the committed expectation.

    Raises VerifyError where the study has not been run.
    """
    run = _run_of(study)
    verdict = Verdict(study.name, run)
    for name, expected in run["outputs"].items():
        verdict.files += 1
        path = study.project.root / name
        if not path.is_file():
            verdict.missing.append(name)
        elif file_hash(path) != expected:
            verdict.changed.append(name)
    now, then = study.params.model_dump(mode="json"), run["parameters"]
    if {**now, "workers": 0} != {**then, "workers": 0}:
        verdict.notes.append(f"params/{study.name}.yaml has changed since the run; {study.command}")
    if not run["outputs"]:
        verdict.notes.append("the run lists no output")
    verdict.notes += standing(study, run)
    verdict.expectation = expectation.read_expectation(study.project.expected / study.name)
    if verdict.expectation is not None:
        _compare(verdict, study)
    return verdict


def write_expectation(study: Study) -> tuple[Path, str]:
    """Keep a finished, untouched run as the expectation of its study: its folder, and what was done."""
    run = _run_of(study)
    verdict = verify(study)
    if not verdict.intact:
        raise VerifyError(
            f"outputs of {study.name} are not those of its run ({', '.join(verdict.missing + verdict.changed)}); "
            f"run {study.command} first"
        )
    done = expectation.write_tables(study, run)
    return study.project.expected / study.name, done


def _run_of(study: Study) -> dict:
    run = read_run(study)
    if run is None:
        raise VerifyError(f"study '{study.name}' has no run to verify; {study.command}")
    return run


def _compare(verdict: Verdict, study: Study) -> None:
    """Bytes first. Where any differ, or lie here otherwise than the run wrote them, the numbers of every table."""
    hashes, expected_hashes = expectation.run_hashes(study, verdict.run), (verdict.expectation or {})["hashes"]
    # a validation is of the model that somebody names, and no part of the study that is expected
    asked = {file for files in VALIDATION.values() for file in files}
    new = [name for name in hashes if name not in expected_hashes and name not in asked]
    verdict.other_bytes = [name for name, value in expected_hashes.items() if hashes.get(name) != value] + new
    if verdict.same_bytes:
        return
    conclusions = read_conclusions(study.project.expected / "conclusions.yaml")
    expected, found = expectation.expected_tables(study.project.expected / study.name), expectation.run_tables(study)
    parts = [_absent(name) for name in expected_hashes if name not in hashes and not name.endswith(".csv")]
    for name, table in expected.items():
        if name not in found:
            parts.append(_absent(name))
            continue
        stem = Path(name).stem
        parts.append(compare_tables(table, expectation.text_table(expectation.told(found[name])), stem, conclusions))
        verdict.tables += 1
        for column, entry in conclusions.of(stem).not_compared.items():
            if column in table:
                verdict.not_compared[f"{stem}.csv, {column}"] = f"{entry['why']}; its numbers: {entry['in']}"
    parts.append(_risk_groups_again(study, found, conclusions))
    for name in sorted(set(found) - set(expected)):
        verdict.not_compared[name] = f"the expectation lacks it; make expect STUDY={study.name} after a look at it"
    drawn = [name for name in verdict.other_bytes if not name.endswith(".csv") and name in hashes]
    if drawn:
        verdict.not_compared[", ".join(drawn)] = "other bytes, drawn from the tables that are compared"
    if filled := [part.astype(object) for part in parts if len(part)]:
        verdict.cells = pd.concat(filled, ignore_index=True)
        verdict.cells["difference"] = verdict.cells["difference"].astype(float)


def _absent(name: str) -> pd.DataFrame:
    return pd.DataFrame([(name, "", "", "file", "present", "absent", None, "a file is missing")], columns=CELLS)


def _risk_groups_again(study: Study, found: dict[str, Path], conclusions: Conclusions) -> pd.DataFrame:
    """Risk groups from each patient's risk, against the run's own table of them.

    The expectation holds no patient, so this is what a single patient's changed risk group shows in.
    """
    needed = [study.build / name for name in ("risk.csv", "patients.parquet", "model/model.json")]
    if "risk_groups.csv" not in found or not all(path.is_file() for path in needed):
        return pd.DataFrame(columns=CELLS)
    from analysis_lib.results.risk_groups import risk_group_table  # here, because only other bytes need it

    table = study.patients().merge(study.risk().drop(columns="set"), on="patient_id")
    again = risk_group_table(table, study.params.cohort, study.cut_off(), study.params.statistics)
    again = expectation.text_table(again.to_csv(index=False, lineterminator="\n").encode())
    written = expectation.text_table(found["risk_groups.csv"].read_bytes())
    cells = compare_tables(written, again, "risk_groups", conclusions)
    changed = cells[cells["conclusion"] != ""]
    return changed.assign(file="risk.csv", conclusion="the risks give other groups than risk_groups.csv says")


# ---- words ---------------------------------------------------------------------------------------------------


def _lines(verdict: Verdict) -> list[str]:
    run, git = verdict.run, verdict.run["git"]
    lines = [verdict.head]
    for row in verdict.conclusions.head(SHOWN).itertuples():
        lines.append(f"  {_place(row)}: {_short(row.expected)} expected, {_short(row.found)} found: {row.conclusion}")
    if len(verdict.conclusions) > SHOWN:
        lines.append(f"  and {len(verdict.conclusions) - SHOWN} more, in build/{verdict.study}/verify.csv")
    commit = "no git" if git is None else f"commit {git['commit'][:12]}"
    if git and not git["clean"]:
        commit += f" with {git['changed']} files changed"
    intact = verdict.files - len(verdict.missing) - len(verdict.changed)
    lines += [
        f"study: {verdict.study}, run of {run['finished']}, {commit}",
        f"data: {'synthetic, nothing in it is a patient' if run['synthetic'] else 'patients'}",
        f"machine: {run['environment']['cpu']['model']} ({run['environment']['cpu']['target']}), "
        f"{run['environment']['system']}, Python {run['environment']['python']}",
        f"files: {intact} of {verdict.files} are those that the run wrote",
    ]
    lines += [f"  missing: {name}" for name in verdict.missing] + [f"  changed: {name}" for name in verdict.changed]
    if verdict.expectation is not None:
        lines += _expectation_lines(verdict, verdict.expectation)
    return lines + [f"note: {note}" for note in verdict.notes]


def _expectation_lines(verdict: Verdict, expected: dict) -> list[str]:
    run = verdict.run
    same = sum(name not in verdict.other_bytes for name in expected["hashes"])
    lines = [
        f"bytes: {same} of {len(expected['hashes'])} tables and figures have the expected bytes, which were seen on"
    ]
    lines += [f"  {expectation.machine_words(seen)}" for seen in expected["seen_on"]]
    then, now = expected.get("fingerprint"), run.get("fingerprint")
    if then and now:
        parts = [part for part in then if now.get(part) != then[part]]
        lines.append(
            f"fingerprint: {'differs in part ' + ', '.join(parts) if parts else 'the same as the expectation'}"
        )
    if verdict.same_bytes:
        return lines
    then, now = expected["platform"], platform_key(run["environment"])
    moved = {k: (then["packages"].get(k), v) for k, v in now["packages"].items() if then["packages"].get(k) != v}
    moved |= {k: (then[k], now[k]) for k in then if k not in ("packages", *VERSIONS_ASIDE) and then[k] != now[k]}
    if moved:
        lines.append("versions: " + "; ".join(f"{k} {now}, expected with {then}" for k, (then, now) in moved.items()))
    digits = verdict.cells[verdict.cells["conclusion"] == ""]
    lines.append(
        f"conclusions: {verdict.tables} tables compared by tests/expected/conclusions.yaml, {len(verdict.conclusions)} "
        f"conclusions changed, {len(digits)} more cells differ in digits"
    )
    if len(digits):
        row = digits.loc[digits["difference"].fillna(0).idxmax()]
        lines.append(f"  by most: {_place(row)}: {row.expected} expected, {row.found} found")
        lines.append("  (measured as a share of the expected number, or of 1 where it is smaller)")
    if verdict.not_compared:
        lines.append("not compared:")
        lines += [f"  {what}: {why}" for what, why in verdict.not_compared.items()]
    return lines


def _place(row) -> str:
    """Table, row and quantity in the field's words."""
    quantity = row.quantity if row.quantity in ("", row.column) else f"{row.quantity} ({row.column})"
    parts = [f"{describe(Path(row.file).stem).title} ({row.file})", row.row, quantity if row.column else row.quantity]
    return ", ".join(part for part in parts if part)


def _short(text: object) -> str:
    """Numbers to six digits, as a reader takes them in."""
    return re.sub(r"\d+\.\d{6,}(e[-+]\d+)?", lambda found: f"{float(found.group()):.6g}", str(text))


def write_verdict(study: Study, verdict: Verdict) -> None:
    """Write the verdict and all differences beside the run: verify.txt and verify.csv."""
    write_text(study.build / "verify.txt", verdict.text)
    with replacing(study.build / "verify.csv") as temporary:
        verdict.cells.to_csv(temporary, index=False, lineterminator="\n")


__all__ = ["Verdict", "VerifyError", "verify", "write_expectation", "write_verdict"]
