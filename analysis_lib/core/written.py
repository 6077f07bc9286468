"""Whether the files of a study are still as they were written.

make goes by times. A machine that loses power, or a disk that fails, can leave a file empty or changed with its time
kept, which make takes for done. So each stage notes size, time and hash of what it wrote, and the next make asks again
for the stages and notebooks of files that are others at the same time.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from analysis_lib.common.files import file_hash, write_text
from analysis_lib.core.project import Study

NOTED = "stages"  # folder below build/<study>
APART = {NOTED, "again", "params", "stability", "multiverse", "search"}  # compared by what they hold, or kept by hash
EARLIER_NS = 10**9  # by which the clock of a file system may lag behind


def note_written(study: Study, stage: str, since_ns: int) -> None:
    """Note every file of build/ and figures/ that was written since (time.time_ns) as the stage's.

    A table that the stage left alone, as it holds the same, stays noted as it was. Of the synthetic patients' images
    every file is noted, whenever it was drawn, and its size alone, for they are many.
    """
    record, noted = study.build / NOTED / f"{stage}.written", dict[str, list]()
    for name, known in (_read(record) or {}).items():
        path = study.project.root / name
        if path.is_file() and path.stat().st_mtime_ns == known[0]:
            noted[name] = known
    if stage == "cohort" and study.params.synthetic and not study.params.data_dir:
        for path in (path for place in ("ct", "masks") for path in (study.data / place).rglob("*") if path.is_file()):
            noted[study.project.name_of(path)] = [path.stat().st_mtime_ns, path.stat().st_size, ""]
    for folder in (study.build, study.figures):
        for path in sorted(folder.rglob("*")):
            if path.relative_to(folder).parts[0] in APART or path.name.startswith(".") or not path.is_file():
                continue
            try:
                status = path.stat()
                if status.st_mtime_ns >= since_ns - EARLIER_NS:
                    noted[study.project.name_of(path)] = [status.st_mtime_ns, status.st_size, file_hash(path)]
            except FileNotFoundError:  # another stage at the same time replaced it, and notes it
                continue
    write_text(record, json.dumps(noted, indent=0) + "\n")


def damaged_files(study: Study) -> dict[str, set[str]]:
    """Files that have the time at which a stage wrote them and another size or content, by stage."""
    found: dict[str, set[str]] = {}
    for record in sorted((study.build / NOTED).glob("*.written")):
        noted = _read(record)
        if noted is None:  # nothing is known of the stage's files
            record.unlink()
            found[record.stem] = set()
            continue
        for name, (time_ns, size, told) in noted.items():
            path = study.project.root / name
            if not path.is_file() or (status := path.stat()).st_mtime_ns != time_ns:
                continue
            if status.st_size != size or (told and file_hash(path) != told):
                found.setdefault(record.stem, set()).add(name)
    return found


def stages_to_repeat(study: Study) -> set[str]:
    """Stages and notebooks whose files are not as they were written; says which, and takes these files away."""
    damaged = damaged_files(study)
    for name in sorted({name for names in damaged.values() for name in names}):
        print(f"{name} is not as it was written (a power failure?); it is made again", file=sys.stderr)
        (study.project.root / name).unlink(missing_ok=True)
    run = study.build / "run.json"
    if run.is_file() and not _is_json(run):
        run.unlink()
    return set(damaged)


def _read(record: Path) -> dict[str, list] | None:
    """What a record says; None where there is none, or it is damaged."""
    try:
        return json.loads(record.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return False
    return True
