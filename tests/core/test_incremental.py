"""A change of one cut-off: what runs again, how long it takes, and that the bytes are those of a run from scratch."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DEPENDS_ON_CUT_OFFS = [
    "02_sarcopenia",
    "03_radiomics_pca",
    "06_discrimination",
    "07_paper_comparison",
    "12_added_value",
    "13_extended_table2",
    "14_index_splines",
]
TWEAK = "base: smoke\ndata_dir: data/smoke\ndefinitions: {{PMI: {{men: {men}, women: 3.0}}}}\n"


def make(copy: Path, *arguments: str) -> subprocess.CompletedProcess:
    result = subprocess.run(["make", *arguments], cwd=copy, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-4000:]
    return result


def outputs(copy: Path, study: str) -> dict[str, bytes]:
    folder = copy / "figures" / study
    files = {p.name: p.read_bytes() for p in sorted(folder.iterdir()) if p.name != "run.json"}
    return files | {"risk.csv": (copy / "build" / study / "risk.csv").read_bytes()}


@pytest.mark.slow
def test_a_new_cut_off_gives_the_bytes_of_a_run_from_scratch(tmp_path):
    for name in ("analysis_lib", "notebooks", "params", "tools"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy2(ROOT / name, tmp_path / name)
    (tmp_path / ".venv").symlink_to(Path(sys.prefix), target_is_directory=True)
    old = (Path(sys.prefix) / "pyvenv.cfg").stat().st_mtime - 10
    for path in [tmp_path / "pyproject.toml", tmp_path / "requirements.lock", *(tmp_path / "tools").iterdir()]:
        os.utime(path, (old, old))
    make(tmp_path, "build/smoke/cohort.done", "STUDY=smoke")  # the patients
    tweak = tmp_path / "params" / "tweak.yaml"
    tweak.write_text(TWEAK.format(men=5.0))
    make(tmp_path, "study", "STUDY=tweak")
    tweak.write_text(TWEAK.format(men=5.5))
    started = time.monotonic()
    result = make(tmp_path, "study", "STUDY=tweak")
    print(f"{time.monotonic() - started:.0f} s after a new cut-off")  # a number for the reader; -s shows it
    ran = sorted(line.split()[1] for line in result.stdout.splitlines() if line.startswith("notebook "))
    assert ran == DEPENDS_ON_CUT_OFFS
    incremental = outputs(tmp_path, "tweak")
    for folder in ("build/tweak", "build/cache", "figures/tweak"):
        shutil.rmtree(tmp_path / folder)
    make(tmp_path, "study", "STUDY=tweak")
    scratch = outputs(tmp_path, "tweak")
    assert incremental.keys() == scratch.keys()
    assert [name for name in scratch if scratch[name] != incremental[name]] == []
