"""make in a copy of the checkout, as a user calls it: not as a part of the make that runs the tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OF_MAKE = ("MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MFLAGS")


def as_a_user() -> dict[str, str]:
    """The environment of a make that is no part of another."""
    return {name: value for name, value in os.environ.items() if name not in OF_MAKE}


def copy_checkout(copy: Path, *ignored: str) -> Path:
    """What a study needs of the repository, in ``copy``, with the environment linked in."""
    for name in ("analysis_lib", "notebooks", "params", "tools"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns(*ignored))
    for name in ("Makefile", "pyproject.toml", "requirements.lock", "LICENSE", "CITATION.cff"):
        shutil.copy2(ROOT / name, copy / name)
    (copy / ".venv").symlink_to(Path(sys.prefix), target_is_directory=True)
    # The copy of the lock must not look newer than the environment that was made from it.
    old = (Path(sys.prefix) / "pyvenv.cfg").stat().st_mtime - 10
    for path in [copy / "pyproject.toml", copy / "requirements.lock", *(copy / "tools").iterdir()]:
        os.utime(path, (old, old))
    return copy


def make(copy: Path, *arguments: str, succeed: bool = True) -> subprocess.CompletedProcess:
    """Run make in ``copy``; it must succeed, or fail where it is said to."""
    result = subprocess.run(["make", *arguments], cwd=copy, env=as_a_user(), capture_output=True, text=True)
    assert (result.returncode == 0) == succeed, result.stdout[-2000:] + result.stderr[-4000:]
    return result


def outputs(copy: Path, study: str) -> dict[str, bytes]:
    """Tables and figures in every format, and the risks; not the record of the run, which has times in it."""
    files = {p.name: p.read_bytes() for p in sorted((copy / "figures" / study).iterdir()) if p.name != "run.json"}
    return files | {"risk": (copy / "build" / study / "risk.csv").read_bytes()}
