"""How long a second question takes: a new study on the same patients, a cut-off changed in it, one patient's indices.

python benchmarks/bench_whatif.py [--study smoke] prints a table and writes build/bench/whatif.json; the study must be
finished (make study). Wall seconds of whole commands, and the largest memory of all their processes
together: proportional set size, so that what forks share counts once. First, unless --quick, make study of that study
from nothing, the drawing of synthetic patients included (what is there is put aside and comes back).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NAME = "bench-whatif"
WHATIF = "base: {study}\ntitle: What if\ndata_dir: data/{study}\ndefinitions: {{PMI: {{men: {men}, women: 3.0}}}}\n"
MAKE = ["make", "-o", ".venv/.ready"]


def measured(*commands: list[str]) -> dict[str, float]:
    """Wall seconds of the commands, one after the other, and peak MB of all processes in this folder together."""
    known, peak, started = set(_processes()), 0.0, time.monotonic()
    for command in commands:
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        while process.poll() is None:
            peak = max(peak, sum(_memory_mb(pid) for pid in _processes() if pid not in known))
            with contextlib.suppress(subprocess.TimeoutExpired):  # rarely, for to look takes time from who works
                process.wait(min(4.0, 0.2 + (time.monotonic() - started) / 50))
        if process.returncode:
            raise SystemExit(f"{' '.join(command)} failed: {process.stderr.read()[-2000:]}")
    return {"wall_s": round(time.monotonic() - started, 2), "peak_mb": round(peak)}


def _processes() -> list[int]:
    """All that work in this checkout, whoever started them: forks for a command have another parent."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if Path(os.readlink(path / "cwd")).is_relative_to(ROOT):
                found.append(int(path.name))
        except OSError:
            continue
    return found


def _memory_mb(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:")), 0.0)


def first_mask(study: str) -> tuple[Path, Path]:
    """CT and mask of the first patient."""
    data = ROOT / "data" / study
    mask = sorted((data / "masks").iterdir())[0]
    return data / "ct" / mask.name.split(".")[0], mask


def remove() -> None:
    """Everything of the study that was only timed."""
    (ROOT / "params" / f"{NAME}.yaml").unlink(missing_ok=True)
    for folder in ("build", "figures"):
        shutil.rmtree(ROOT / folder / NAME, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--study", default=os.environ.get("STUDY", "smoke"), help="a finished study")
    parser.add_argument("--quick", action="store_true", help="without make study from nothing")
    options = parser.parse_args()
    study, rows, found = options.study, {}, {}
    run = [*MAKE, "study", f"STUDY={study}"]
    if not options.quick:
        places = [ROOT / "build" / study, ROOT / "build" / "cache", ROOT / "figures" / study]
        if (ROOT / "data" / study / ".drawn").is_dir():
            places.append(ROOT / "data" / study)
        aside = [(place, place.with_name(f".aside-{place.name}")) for place in places]
        for place, kept in aside:
            if place.exists():
                place.rename(kept)
        begun = time.time()
        try:
            rows["make study"] = measured(run)
            first = max((ROOT / "figures" / study / name).stat().st_mtime for name in ("table2.csv", "fig2.png"))
            found["first_table_s"] = round(first - begun, 1)
        finally:
            for place, kept in aside:
                if kept.exists():
                    shutil.rmtree(place, ignore_errors=True)
                    kept.rename(place)
    params, ask = ROOT / "params" / f"{NAME}.yaml", [*MAKE, "study", f"STUDY={NAME}"]
    try:
        params.write_text(WHATIF.format(study=study, men=5.0), encoding="utf-8")
        measured(ask)  # what depends on code alone, and what an earlier version of it kept
        shutil.rmtree(ROOT / "build" / NAME)
        shutil.rmtree(ROOT / "figures" / NAME)
        params.write_text(WHATIF.format(study=study, men=5.1), encoding="utf-8")
        rows["a new study"] = measured(ask, [*MAKE, "compare", f"A={study}", f"B={NAME}"])
        params.write_text(WHATIF.format(study=study, men=5.2), encoding="utf-8")
        rows["one cut-off changed"] = measured(ask)
        rows["nothing changed"] = measured(ask)
    finally:
        remove()
    ct, mask = first_mask(study)
    indices = [sys.executable, "-m", "analysis_lib", "indices", "--ct", str(ct), "--mask", str(mask), "--sex", "M"]
    rows["one patient, indices"] = min(
        (measured([*indices, "--height-m", "1.7"]) for _ in range(3)), key=lambda r: r["wall_s"]
    )
    for name, row in rows.items():
        print(f"{name:52s} {row['wall_s']:8.2f} s {row['peak_mb']:6.0f} MB")
    path = ROOT / "build" / "bench" / "whatif.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        json.dumps({"study": study, "cores": len(os.sched_getaffinity(0)), "rows": rows, **found}, indent=1) + "\n",
        encoding="utf-8",
    )


if __name__ == "__main__":
    main()
