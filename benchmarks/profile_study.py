"""Where the time of a study goes: each stage and notebook of its last run, and the functions of the slowest notebook.

python benchmarks/profile_study.py STUDY [NOTEBOOK] after ``make study``; a notebook's cells run in this process.
"""

from __future__ import annotations

import cProfile
import json
import pstats
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SHOWN = 40


def main() -> None:
    sys.path.insert(0, str(ROOT))
    import analysis_lib  # noqa: F401, I001  pins
    import nbformat

    study, *named = sys.argv[1:]
    records = [json.loads(path.read_text()) for path in (ROOT / "build" / study / "stages").glob("*.json")]
    for record in sorted(records, key=lambda record: -record["cpu_s"]):
        peak = max(record["peak_memory_mb"].values())
        print(f"{record['stage']:26s} {record['wall_s']:8.1f} s {record['cpu_s']:8.1f} s of processors {peak:6.0f} MB")
    if not records:
        raise SystemExit(f"study '{study}' has not run; make study STUDY={study}")
    notebooks = [r for r in records if (ROOT / "notebooks" / f"{r['stage']}.ipynb").is_file()]
    name = named[0] if named else max(notebooks, key=lambda record: record["cpu_s"])["stage"]
    profile, variables = cProfile.Profile(), dict[str, object]()
    for cell in nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", 4).cells:
        if cell.cell_type == "code":
            tags = cell.metadata.get("tags", [])
            code = compile(f"study = {study!r}" if "parameters" in tags else cell.source, name, "exec")
            profile.runctx(code, variables, variables)
    print(f"\n{name}, what is kept read from build/cache:")
    pstats.Stats(profile).sort_stats("cumulative").print_stats(str(ROOT), SHOWN)


if __name__ == "__main__":
    main()
