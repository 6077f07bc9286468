"""The committed expectation of a study, ``tests/expected/<study>``: its tables, the hash of every table and figure, and
the kinds of processor on which those very bytes were seen.

It is committed, so no patient's row or time is in it (``coarse``); a hash stands for every byte of such files.
"""

from __future__ import annotations

import hashlib
import json
import lzma
from io import BytesIO
from pathlib import Path

import pandas as pd

from analysis_lib.common.files import read_csv, replacing, write_text
from analysis_lib.core.artefacts import produced
from analysis_lib.core.project import Study
from analysis_lib.review.coarse import without_patients
from analysis_lib.review.record import platform_key

LARGEST_PLAIN_BYTES = 30_000  # larger tables are kept compressed


def read_expectation(folder: Path) -> dict | None:
    """``expected.json`` of tests/expected/<study>; None without.

    Holds platform (the versions at the first run), seen_on, hashes, and the fingerprint if it is known.
    """
    path = folder / "expected.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def expected_tables(folder: Path) -> dict[str, pd.DataFrame]:
    """The tables of an expectation by file name, as text."""
    tables = {}
    for path in sorted(folder.glob("*.csv*")):
        content = lzma.decompress(path.read_bytes()) if path.suffix == ".xz" else path.read_bytes()
        tables[path.name.removesuffix(".xz")] = text_table(content)
    return tables


def run_tables(study: Study) -> dict[str, Path]:
    """The CSVs of a run that an expectation holds, by file name."""
    files = {name: study.figures / name for name in produced(study) if name.endswith(".csv")}
    risk = study.build / "risk.csv"
    return files | ({"risk.csv": risk} if risk.is_file() else {})


def run_hashes(study: Study, run: dict) -> dict[str, str]:
    """Hash of each table and figure of a run, and of the risks, by file name."""
    folder = study.project.name_of(study.figures) + "/"
    names = [name for name in run["outputs"] if name.startswith(folder) or name.endswith("/risk.csv")]
    return {Path(name).name: run["outputs"][name] for name in names}


def told(path: Path) -> bytes:
    """The bytes of a CSV, or of what may be told of it where it shows patients."""
    content = path.read_bytes()
    table = read_csv(BytesIO(content))
    coarse = without_patients(table)
    return content if coarse is table else coarse.to_csv(index=False, lineterminator="\n").encode()


def text_table(content: bytes) -> pd.DataFrame:
    """A CSV with each cell as it stands in the file."""
    return pd.read_csv(BytesIO(content), dtype=str, keep_default_na=False)


def digest(expectation: dict) -> str:
    """One short hash of all tables and figures of an expectation: what a page made from them can name."""
    return hashlib.sha256(json.dumps(expectation["hashes"], sort_keys=True).encode()).hexdigest()[:16]


def machine(run: dict) -> dict[str, str]:
    """The kind of processor of a run, its system, and the day."""
    environment = run["environment"]
    cpu = environment["cpu"]
    return {"cpu": cpu["model"], "target": cpu["target"], "system": environment["system"], "date": run["finished"][:10]}


def machine_words(seen: dict[str, str]) -> str:
    """An entry of ``seen_on`` in one line."""
    return f"{seen['cpu']} ({seen['target']}), {seen['system']}, {seen['date']}"


def write_tables(study: Study, run: dict) -> str:
    """Keep a run as the expectation; returns what was done, as a sentence.

    Where all bytes are those of the committed expectation, the run's kind of processor joins ``seen_on`` and nothing
    else changes; with other bytes everything is written anew, and the list begins with this machine.
    """
    folder, hashes, here = study.project.expected / study.name, run_hashes(study, run), machine(run)
    record = read_expectation(folder)
    if record and record["hashes"] == hashes:
        known = [(seen["cpu"], seen["target"]) for seen in record["seen_on"]]
        if (here["cpu"], here["target"]) in known:
            return (
                f"the bytes are those of the expectation, seen on this kind of processor before: {machine_words(here)}"
            )
        record["seen_on"].append(here)
        if run.get("fingerprint"):
            record.setdefault("fingerprint", run["fingerprint"])
        done = f"the bytes are those of the expectation; this kind of processor is added: {machine_words(here)}"
    else:
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("*"):
            old.unlink()
        for name, path in run_tables(study).items():
            content = told(path)
            if len(content) > LARGEST_PLAIN_BYTES:
                name, content = f"{name}.xz", lzma.compress(content, preset=9)
            with replacing(folder / name) as temporary:
                temporary.write_bytes(content)
        record = {"platform": platform_key(run["environment"]), "seen_on": [here], "hashes": hashes}
        if run.get("fingerprint"):
            record["fingerprint"] = run["fingerprint"]
        done = f"written anew, seen on one kind of processor: {machine_words(here)}"
    write_text(folder / "expected.json", json.dumps(record, indent=1) + "\n")
    return done


__all__ = [
    "digest",
    "expected_tables",
    "machine_words",
    "read_expectation",
    "run_hashes",
    "run_tables",
    "text_table",
    "told",
    "write_tables",
]
