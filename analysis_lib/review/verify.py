"""Is what lies here what the run wrote, and does it agree with the committed expectation?

Nothing heavy is computed again: hashes against ``run.json``, then every number of the CSVs against
``tests/expected/<study>``, to the byte on the same platform and within ``tests/expected/tolerances.yaml`` elsewhere.
"""

from __future__ import annotations

import json
import lzma
import re
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import pandas as pd
import yaml

from analysis_lib.common.errors import StudyError
from analysis_lib.common.files import replacing, write_text
from analysis_lib.core.artefacts import describe, produced
from analysis_lib.core.project import Study
from analysis_lib.review.coarse import without_patients
from analysis_lib.review.record import file_hash, platform_key, read_run

LARGEST_PLAIN_BYTES = 30_000  # larger tables are kept compressed
NUMBER = re.compile(r"(?<![\w.])[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
DIFFERENCE_COLUMNS = ["file", "row", "column", "expected", "found", "difference", "relative"]
SHOWN = 20


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
    same_platform: bool = False
    tables: int = 0
    numbers: int = 0
    not_compared: list[str] = field(default_factory=list)
    other_bytes: list[str] = field(default_factory=list)
    differences: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=DIFFERENCE_COLUMNS))

    @property
    def intact(self) -> bool:
        """Whether every file of the run is there as the run left it."""
        return not self.missing and not self.changed

    @property
    def agrees(self) -> bool:
        """Whether files and numbers are the expected ones, to the byte on the same platform."""
        return self.intact and self.differences.empty and not (self.same_platform and self.other_bytes)

    @property
    def text(self) -> str:
        """The verdict as it is printed."""
        return "\n".join(_lines(self)) + "\n"


def verify(study: Study) -> Verdict:
    """Check the study's outputs against its run and against the committed expectation.

    Raises VerifyError where the study has not been run.
    """
    params, run = study.params, _run_of(study)
    verdict = Verdict(study.name, run)
    for name, expected in run["outputs"].items():
        verdict.files += 1
        path = study.project.root / name
        if not path.is_file():
            verdict.missing.append(name)
        elif file_hash(path) != expected:
            verdict.changed.append(name)
    now, then = params.model_dump(mode="json"), run["parameters"]
    if {**now, "workers": 0} != {**then, "workers": 0}:
        verdict.notes.append(f"params/{params.study}.yaml has changed since the run; make study STUDY={params.study}")
    if not run["outputs"]:
        verdict.notes.append("the run lists no output")
    folder = study.project.expected / params.study
    if (folder / "expected.json").is_file():
        _compare_with(verdict, study, folder)
    return verdict


def write_expectation(study: Study) -> Path:
    """Keep the CSVs of a finished, untouched run as the expectation of the study, with platform and hashes.

    It is committed, so no patient's row or time is in it (``coarse``); a hash stands for every byte of such files.
    """
    params, run = study.params, _run_of(study)
    verdict = verify(study)
    if not verdict.intact:
        raise VerifyError(
            f"outputs of {params.study} are not those of its run ({', '.join(verdict.missing + verdict.changed)}); "
            f"run make study STUDY={params.study} first"
        )
    folder = study.project.expected / params.study
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*"):
        old.unlink()
    files = _tables(study)
    for name, path in files.items():
        content = _content(path)
        if len(content) > LARGEST_PLAIN_BYTES:
            name, content = f"{name}.xz", lzma.compress(content, preset=9)
        with replacing(folder / name) as temporary:
            temporary.write_bytes(content)
    record = {
        "platform": platform_key(run["environment"]),
        "system": run["environment"]["system"],
        "cpu": run["environment"]["cpu"]["model"],
        "hashes": {Path(name).name: run["outputs"][name] for name in _figure_names(study, run)},
    }
    write_text(folder / "expected.json", json.dumps(record, indent=1) + "\n")
    return folder


def compare_tables(
    expected: pd.DataFrame, found: pd.DataFrame, file: str, tolerance_of: dict | None
) -> tuple[pd.DataFrame, int]:
    """Cells that differ (DIFFERENCE_COLUMNS) and the number of numbers compared.

    ``tolerance_of`` maps a column to (relative, absolute), its key None to the default; None asks for equality. Both
    frames hold text as it stands in the file. Numbers inside text ('55.9 ± 11.1') may differ by one in the last digit
    where equality is not asked for.
    """
    rows: list[tuple] = []
    if list(expected.columns) != list(found.columns):
        rows.append((file, "", "columns", ", ".join(expected.columns), ", ".join(found.columns), None, None))
    if len(expected) != len(found):
        rows.append((file, "", "number of rows", len(expected), len(found), len(found) - len(expected), None))
    numbers = 0
    columns = [c for c in expected.columns if c in found.columns]
    labels = _row_labels(expected)
    for column in columns:
        relative, absolute = (0.0, 0.0) if tolerance_of is None else tolerance_of.get(column, tolerance_of[None])
        pairs = zip(labels, expected[column], found[column], strict=False)
        for label, a, b in pairs:
            x, y = _number(a), _number(b)
            if x is not None:
                numbers += 1
            if a == b:
                continue
            if x is not None and y is not None:
                if abs(y - x) <= absolute + relative * abs(x):
                    continue
                rows.append((file, label, column, a, b, y - x, (y - x) / abs(x) if x else None))
            elif tolerance_of is None or not _same_text(a, b):
                rows.append((file, label, column, a, b, None, None))
    return pd.DataFrame(rows, columns=DIFFERENCE_COLUMNS), numbers


def _compare_with(verdict: Verdict, study: Study, folder: Path) -> None:
    verdict.expectation = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
    verdict.same_platform = verdict.expectation["platform"] == platform_key(verdict.run["environment"])
    tolerances = yaml.safe_load((study.project.expected / "tolerances.yaml").read_text(encoding="utf-8"))
    found = _tables(study)
    differences = []
    for path in sorted(folder.glob("*.csv*")):
        name = path.name.removesuffix(".xz")
        if name not in found:
            differences.append(
                pd.DataFrame([(name, "", "file", "present", "absent", None, None)], columns=DIFFERENCE_COLUMNS)
            )
            continue
        stem = Path(name).stem
        from_model = describe(stem).model or name == "risk.csv"
        if from_model and not verdict.same_platform and stem in tolerances["model"]["same_platform_only"]:
            verdict.not_compared.append(name)
            continue
        content = lzma.decompress(path.read_bytes()) if path.suffix == ".xz" else path.read_bytes()
        rule = None if verdict.same_platform else _rule(tolerances, from_model)
        rows, numbers = compare_tables(_text_table(content), _text_table(_content(found[name])), name, rule)
        verdict.tables += 1
        verdict.numbers += numbers
        differences.append(rows)
    for name in sorted(set(found) - {p.name.removesuffix(".xz") for p in folder.glob("*.csv*")}):
        verdict.not_compared.append(name)
        verdict.notes.append(f"{name} has no expectation; make expect STUDY={study.name} writes one")
    now = {Path(name).name: verdict.run["outputs"][name] for name in _figure_names(study, verdict.run)}
    gone = [n for n in verdict.expectation["hashes"] if n not in now and not n.endswith(".csv")]
    if gone:
        rows = [(name, "", "file", "present", "absent", None, None) for name in gone]
        differences.append(pd.DataFrame(rows, columns=DIFFERENCE_COLUMNS))
    if differences := [d for d in differences if len(d)]:
        verdict.differences = pd.concat([d.astype(object) for d in differences], ignore_index=True)
    verdict.other_bytes = [n for n, value in verdict.expectation["hashes"].items() if now.get(n) != value]


def _rule(tolerances: dict, from_model: bool) -> dict:
    if not from_model:
        entry = tolerances["statistics"]
        return {None: (float(entry["relative"]), float(entry["absolute"]))}
    model = tolerances["model"]
    columns = {None: model["default"], **model["columns"]}
    return {name: (float(entry["relative"]), float(entry["absolute"])) for name, entry in columns.items()}


def _run_of(study: Study) -> dict:
    run = read_run(study)
    if run is None:
        raise VerifyError(f"study '{study.name}' has no run to verify; make study STUDY={study.name}")
    return run


def _tables(study: Study) -> dict[str, Path]:
    files = {name: study.figures / name for name in produced(study) if name.endswith(".csv")}
    risk = study.build / "risk.csv"
    return files | ({"risk.csv": risk} if risk.is_file() else {})


def _figure_names(study: Study, run: dict) -> list[str]:
    folder = study.project.name_of(study.figures) + "/"
    return [name for name in run["outputs"] if name.startswith(folder) or name.endswith("/risk.csv")]


def _content(path: Path) -> bytes:
    """The bytes of a CSV, or of what may be told of it where it shows patients."""
    content = path.read_bytes()
    table = pd.read_csv(BytesIO(content), float_precision="round_trip")
    told = without_patients(table)
    return content if told is table else told.to_csv(index=False, lineterminator="\n").encode()


def _text_table(content: bytes) -> pd.DataFrame:
    return pd.read_csv(BytesIO(content), dtype=str, keep_default_na=False)


def _number(text: object) -> float | None:
    try:
        return float(str(text))
    except ValueError:
        return None


def _same_text(a: str, b: str) -> bool:
    """Equal but for numbers that differ by at most one in their last digit."""
    if NUMBER.sub("#", a) != NUMBER.sub("#", b):
        return False
    for x, y in zip(NUMBER.findall(a), NUMBER.findall(b), strict=True):
        digits = len(x.partition(".")[2])
        if abs(float(x) - float(y)) > 1.01 * 10.0**-digits:
            return False
    return True


def _row_labels(table: pd.DataFrame) -> list[str]:
    """What names a row for a reader: its leading cells that are no numbers, else its number."""
    labels = []
    for k, row in enumerate(table.itertuples(index=False), start=1):
        words = [str(v) for v in row if v and _number(v) is None and v not in ("True", "False")][:4]
        labels.append(f"{k}: {' '.join(words)}"[:80] if words else str(k))
    return labels


def _lines(verdict: Verdict) -> list[str]:
    run, git = verdict.run, verdict.run["git"]
    if verdict.expectation is None:
        head = "INTACT, NOT COMPARED" if verdict.intact else "OUTPUTS CHANGED"
    else:
        head = "VERIFIED" if verdict.agrees else "DIFFERS"
    commit = "no git" if git is None else f"commit {git['commit'][:12]}"
    if git and not git["clean"]:
        commit += f" with {git['changed']} files changed"
    intact = verdict.files - len(verdict.missing) - len(verdict.changed)
    lines = [
        f"{head}: study '{verdict.study}', run of {run['finished']}, {commit}",
        f"  data: {'synthetic, nothing in it is a patient' if run['synthetic'] else 'patients'}",
        f"  machine: {run['environment']['cpu']['model']} ({run['environment']['cpu']['target']}), "
        f"{run['environment']['system']}, Python {run['environment']['python']}",
        f"  files: {intact} of {verdict.files} are those that the run wrote",
    ]
    lines += [f"    missing: {name}" for name in verdict.missing] + [f"    changed: {name}" for name in verdict.changed]
    if verdict.expectation is None:
        lines.append(f"  numbers: no expectation in tests/expected/{verdict.study}, so none was compared")
    else:
        how = (
            "to the byte (same platform)" if verdict.same_platform else "within the stated tolerances (other platform)"
        )
        lines.append(
            f"  numbers: {verdict.numbers} in {verdict.tables} tables compared {how}; "
            f"{len(verdict.differences)} cells differ"
        )
        same = len(verdict.expectation["hashes"]) - len(verdict.other_bytes)
        lines.append(
            f"  bytes: {same} of {len(verdict.expectation['hashes'])} tables and figures have the expected bytes"
        )
        if verdict.same_platform:
            lines += [f"    other bytes: {name}" for name in verdict.other_bytes]
        if verdict.not_compared:
            lines.append(f"  not compared: {', '.join(verdict.not_compared)}")
    lines += [f"  note: {note}" for note in verdict.notes]
    if len(verdict.differences):
        lines.append("  what differs (file, row, column: expected, found, relative difference):")
        worst = verdict.differences.assign(
            size=verdict.differences["relative"].astype(float).abs().fillna(float("inf"))
        )
        worst = worst.sort_values("size", ascending=False, kind="stable").head(SHOWN)
        for row in worst.itertuples():
            gap = "" if pd.isna(row.relative) else f" ({row.relative:+.2%})"
            lines.append(f"    {row.file}, {row.row}, {row.column}: {row.expected}, {row.found}{gap}")
        if len(verdict.differences) > SHOWN:
            lines.append(f"    and {len(verdict.differences) - SHOWN} more, in build/{verdict.study}/verify.csv")
    return lines


def write_verdict(study: Study, verdict: Verdict) -> None:
    """Write the verdict and all differences beside the run: verify.txt and verify.csv."""
    write_text(study.build / "verify.txt", verdict.text)
    with replacing(study.build / "verify.csv") as temporary:
        verdict.differences.to_csv(temporary, index=False, lineterminator="\n")


__all__ = ["Verdict", "VerifyError", "compare_tables", "verify", "write_expectation", "write_verdict"]
