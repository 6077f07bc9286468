"""The record of a run: each stage as it ends, and ``run.json`` when all have ended.

``run.json`` holds the git commit and whether the tree was clean (null without git), the parameters as resolved,
hashes of inputs, code and outputs, versions, the machine, thread settings, and time and memory of each stage. It
lies in ``build/<study>`` with a copy in ``figures/<study>``, names no patient, and names no path of the machine.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from analysis_lib import PINNED
from analysis_lib.common.files import file_hash, write_text
from analysis_lib.common.hashes import known_hashes
from analysis_lib.core.artefacts import ALL_NOTEBOOKS, produced, reported_notebooks
from analysis_lib.core.prepare import input_files
from analysis_lib.core.project import Project, Study
from analysis_lib.core.written import note_written
from analysis_lib.review.progress import PLAN, verdict, verdict_file

STAGES = ["prepare", "cohort", "inputs", "measure", "assemble", "features", "exclusions", "stability", "optimism"]
# Those whose version may move the last digit of a number, or a dot of a figure.
DECIDING_PACKAGES = [
    *("numpy", "scipy", "pandas", "scikit-learn", "scikit-survival", "lifelines", "tensorflow", "keras", "numba"),
    *("pyradiomics", "SimpleITK", "PyWavelets", "matplotlib", "pillow"),
]
BUILD_FILES = [
    *("measured.parquet", "measured_exclusions.parquet", "features.parquet", "features_exclusions.parquet"),
    *("patients.parquet", "exclusions.parquet", "stability.parquet", "optimism.csv", "paper_comparison.parquet"),
    *("risk.csv", "held_out_risk.csv", "survival.csv", "comparators.csv"),
    *("validation/predictions.csv", "validation/model.json"),
]


# ---- one stage ---------------------------------------------------------------------------------------------


@contextmanager
def recorded_stage(study: Study, name: str, clock: float) -> Iterator[None]:
    """Write time and memory of the block to ``build/<study>/stages/<name>.json`` when it ends well.

    ``clock`` is the value of ``time.monotonic()`` when the command began, its imports included.
    After an interrupt the stage resumes and its record is that of the last part.
    """
    started, begun_ns = datetime.now(UTC) - timedelta(seconds=time.monotonic() - clock), time.time_ns()
    yield
    _end_workers()
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    stage = {
        "stage": name,
        "started": started.isoformat(timespec="seconds"),
        "wall_s": round(time.monotonic() - clock, 2),
        "cpu_s": round(own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime, 2),
        "peak_memory_mb": {
            "command": round(own.ru_maxrss / 1024, 1),
            "largest_child": round(children.ru_maxrss / 1024, 1),  # a worker, or the notebook
        },
        "workers": study.params.workers or len(os.sched_getaffinity(0)),
        "git": git_state(study.project),
    }
    write_text(study.build / "stages" / f"{name}.json", json.dumps(stage, indent=1) + "\n")
    note_written(study, name, begun_ns)


def _end_workers() -> None:
    """End joblib's waiting processes: the operating system tells of a child's memory only when it has ended."""
    if "joblib.externals.loky.reusable_executor" in sys.modules:
        from joblib.externals.loky import get_reusable_executor

        get_reusable_executor().shutdown(wait=True)


# ---- the run -----------------------------------------------------------------------------------------------


def write_run(study: Study, fingerprint: dict[str, str] | None = None) -> Path:
    """Write ``run.json`` of a finished run, and its copy beside the figures; returns its path.

    ``fingerprint``: of this machine, where it is known (``fingerprint.kept_fingerprint``).
    """
    text = json.dumps(run_record(study) | {"fingerprint": fingerprint}, indent=1, ensure_ascii=False) + "\n"
    path = study.build / "run.json"
    write_text(path, text)
    write_text(study.figures / "run.json", text)
    write_text(verdict_file(study), verdict(study))
    (study.build / PLAN).unlink(missing_ok=True)
    return path


def read_run(study: Study) -> dict | None:
    """The record of the study's last run; None where there is none."""
    path = study.build / "run.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def run_record(study: Study) -> dict:
    """Everything ``run.json`` says."""
    params = study.params
    order = {name: k for k, name in enumerate([*STAGES, *ALL_NOTEBOOKS])}
    paths = (study.build / "stages").glob("*.json")
    ordered = sorted(paths, key=lambda path: (order.get(path.stem, len(order)), path.stem))
    stages = [json.loads(path.read_text(encoding="utf-8")) for path in ordered]
    return {
        "study": params.study,
        "title": params.heading,
        "synthetic": params.synthetic,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "git": git_state(study.project),
        "seed": params.seed,
        "parameters": params.model_dump(mode="json"),
        "inputs": input_hashes(study),
        "code": code_hashes(study.project),
        "outputs": {name: file_hash(path) for name, path in output_files(study).items()},
        "environment": environment(),
        "stages": stages,
        "stages_wall_s": round(sum(stage["wall_s"] for stage in stages), 1),
    }


def git_state(project: Project) -> dict | None:
    """Commit, and whether nothing differs from it; None where the project is no git checkout of its own."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(project.root), "--no-optional-locks", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()

    try:
        # A tarball unpacked inside somebody else's repository must not take that one's commit for its own.
        if Path(git("rev-parse", "--show-toplevel")).resolve() != project.root:
            return None
        changed = [line[3:] for line in git("status", "--porcelain").splitlines()]
        return {"commit": git("rev-parse", "HEAD"), "clean": not changed, "changed": len(changed)}
    except (OSError, subprocess.SubprocessError):
        return None


def output_files(study: Study) -> dict[str, Path]:
    """What a run leaves behind, by name relative to the project: results, tables of patients, model, notebooks."""
    files = [study.figures / name for name in produced(study)]
    files += [study.build / name for name in BUILD_FILES]
    files += sorted(study.model.glob("*"))
    files += [study.executed(name) for name in reported_notebooks(study.params)]
    return {study.project.name_of(path): path for path in files if path.is_file()}


def input_hashes(study: Study) -> dict:
    """Number of files, bytes and one hash of each part of the data: clinical table, images and masks, feature table.

    The hash runs over names and contents, so that it is the same on every machine.
    """
    hashes = {}
    parts: dict[str, list[Path]] = {"clinical table": [], "images and masks": []}
    for path in input_files(study):
        table = "feature table" if study.params.features.table and path == study.feature_file else "images and masks"
        parts.setdefault("clinical table" if path == study.clinical_file else table, []).append(path)
    with known_hashes(study.hashes) as hash_by:
        for part, files in parts.items():
            digest, size = hashlib.sha256(), 0
            for file in files:
                digest.update(f"{file.relative_to(study.data).as_posix()}\0{hash_by(file)}\n".encode())
                size += file.stat().st_size
            hashes[part] = {"files": len(files), "bytes": size, "sha256": digest.hexdigest()}
    return hashes


def code_hashes(project: Project) -> dict[str, str]:
    """One hash each of library, notebooks and parameter files, for where there is no git to ask."""
    hashes = {}
    for folder, pattern in (("analysis_lib", "*.py"), ("notebooks", "*.ipynb"), ("params", "*.yaml")):
        digest = hashlib.sha256()
        for path in sorted((project.root / folder).rglob(pattern)):
            if ".ipynb_checkpoints" not in path.parts:
                digest.update(f"{project.name_of(path)}\0{file_hash(path)}\n".encode())
        hashes[folder] = digest.hexdigest()
    lock = project.root / "requirements.lock"
    return hashes | ({"requirements.lock": file_hash(lock)} if lock.is_file() else {})


def environment() -> dict:
    """Versions of packages and compilers, the processor, the linear algebra library and the thread settings."""
    return {
        "python": platform.python_version(),
        "packages": {
            d.metadata["Name"]: d.version
            for d in sorted(importlib.metadata.distributions(), key=lambda d: (d.metadata["Name"] or "").lower())
            if d.metadata["Name"]
        },
        "compilers": {"python": platform.python_compiler(), "c": _first_line("cc", "--version"), "llvm": _llvm()},
        "system": f"{platform.system()} {platform.release()} {platform.machine()}, {' '.join(platform.libc_ver())}",
        "libc": " ".join(platform.libc_ver()),
        "cpu": {"model": _cpu_model(), "target": _cpu_target(), "cores": len(os.sched_getaffinity(0))},
        "blas": _blas(),
        "threads": dict(PINNED),
    }


def platform_key(environment: dict) -> dict:
    """The part of the environment that decides the last digits: same key, same bytes."""
    packages = {name.lower(): number for name, number in environment["packages"].items()}
    return {
        "python": environment["python"],
        "machine": platform.machine(),
        "cpu_target": environment["cpu"]["target"],
        "blas": environment["blas"],
        "libc": environment.get("libc"),
        "packages": {name: packages.get(name.lower()) for name in DECIDING_PACKAGES},
    }


def _first_line(*command: str) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
        return done.stdout.splitlines()[0]
    except (OSError, subprocess.SubprocessError, IndexError):
        return None


def _llvm() -> str:
    from llvmlite import binding

    return ".".join(map(str, binding.llvm_version_info))


def _cpu_target() -> str:
    from llvmlite import binding

    return binding.get_host_cpu_name()


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _blas() -> str:
    import numpy.linalg  # noqa: F401  loads NumPy's library, the next line SciPy's
    import scipy.linalg  # noqa: F401
    from threadpoolctl import threadpool_info

    blas = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    return "; ".join(sorted({f"{b['internal_api']} {b['version']} {b.get('architecture', '')}".strip() for b in blas}))
