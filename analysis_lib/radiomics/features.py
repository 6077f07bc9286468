"""Radiomics of every patient: extracted in parallel, kept by region and patient, resumed after any interruption.

A file is valid for one key: the fingerprint of the patient's inputs, the region's parameter file, and code and packages
that extract (``common.code``). What changed or is damaged is recomputed, nothing else. Files appear whole or not at
all, so a killed run loses at most the patients it was at, and two runs at once write the same bytes.
"""

from __future__ import annotations

import json
import platform
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import pandas as pd
import SimpleITK as sitk

from analysis_lib.common.code import code_of
from analysis_lib.common.errors import FULL_DISK, StudyError
from analysis_lib.common.files import remove_leftovers, write_text
from analysis_lib.common.keep import hash_of
from analysis_lib.common.pool import memory_limit, worker_count
from analysis_lib.common.progress import Progress
from analysis_lib.radiomics import RADIOMICS_STAGE
from analysis_lib.radiomics.cluster import ClusterError, run_dask, scheduler_address
from analysis_lib.radiomics.fast_radiomics import extract
from analysis_lib.radiomics.names import parse
from analysis_lib.radiomics.plan import NoRadiomicsError, expected_names, slow_note
from analysis_lib.radiomics.workers import Result, run_local

Load = Callable[[str], tuple[sitk.Image, dict[str, sitk.Image]]]


MEMORY_GB = 4  # that one patient may take, of a table of cases, which has no parameter file


class FeatureCountError(StudyError, ValueError):
    """The parameter files give another number of features than the study says."""


@dataclass(frozen=True)
class Task:
    """What a worker does for one patient; picklable if ``load`` and ``fingerprint`` are."""

    load: Load
    fingerprint: Callable[[str], str]
    parameter_files: dict[str, Path]
    cache_dir: Path
    memory_gb: float = MEMORY_GB
    code: tuple[str, ...] = field(default_factory=lambda: code_of(extract))

    def __call__(self, patient_id: str) -> Result:
        """Features of one patient, kept in ``cache_dir``; what prevents them is the reason of the Result."""
        if self.code != (here := code_of(extract)):  # a worker of another environment would give other bytes
            differing = ", ".join(sorted(set(here) - set(self.code)))
            raise ClusterError(f"worker {platform.node()} has {differing}; start it from the environment of this run")
        try:
            kept, lacking = self._kept(patient_id)
            if lacking:
                with memory_limit(self.memory_gb):
                    kept |= self._extract(patient_id, lacking)
        except NoRadiomicsError as error:
            return Result(patient_id, None, str(error), RADIOMICS_STAGE)
        except Exception as error:  # one patient never stops the others; the reason goes to the exclusions
            if isinstance(error, OSError) and error.errno in FULL_DISK:
                raise
            if isinstance(error, OSError) and error.filename:  # whose text shows the file: its name may be a person's
                return Result(patient_id, None, f"a file of the patient cannot be read ({error.strerror})")
            reason = " ".join(str(error).split()) or "the reason is not known; export CT and mask again"
            known = isinstance(error, ValueError)  # written for a reader
            return Result(patient_id, None, reason if known else f"the features cannot be computed: {reason}")
        # Outside the block above: a full disk is no fault of this patient, it stops the run.
        for roi, (path, key) in lacking.items():
            content = {"key": key, "hash": hash_of(kept[roi]), "features": kept[roi]}
            write_text(path, json.dumps(content, separators=(",\n", ": ")) + "\n", sync=False)
        return Result(patient_id, {name: v for roi in self.parameter_files for name, v in kept[roi].items()})

    def _kept(self, patient_id: str) -> tuple[dict[str, dict[str, float]], dict[str, tuple[Path, str]]]:
        """Features of the regions that are kept, and file and key of the others."""
        fingerprint, kept, lacking = self.fingerprint(patient_id), {}, {}
        for roi, path in self.parameter_files.items():
            parameters = path.read_text(encoding="utf-8")
            key = hash_of(fingerprint, roi, parameters, self.code)
            file = self.cache_dir / region_folder(roi, parameters) / f"{quote(patient_id, safe='')}.json"
            features = _read_cached(file, key)
            if features is None:
                lacking[roi] = (file, key)
            else:
                kept[roi] = features
        return kept, lacking

    def _extract(self, patient_id: str, rois: Iterable[str]) -> dict[str, dict[str, float]]:
        image, masks = self.load(patient_id)
        found: dict[str, dict[str, float]] = {}
        for roi in rois:
            path = self.parameter_files[roi]
            if roi not in masks:
                raise NoRadiomicsError(f"no mask of {roi.upper()}")
            where = f"{roi.upper()}: " if roi else ""
            try:
                values = extract(image, masks[roi], path, label=1)
            except NoRadiomicsError as error:
                raise NoRadiomicsError(f"{where}{error}") from error
            except (ValueError, RuntimeError) as error:
                raise ValueError(f"{where}{error}") from error
            if difference := set(values) ^ set(expected_names(path)):
                raise ValueError(f"{where}missing or unexpected features: {', '.join(sorted(difference))}")
            found[roi] = {_column(roi, name): value for name, value in values.items()}
        return found


def region_folder(roi: str, parameters: str) -> str:
    """Where the files of a region lie: its name and a hash of its parameter file."""
    return f"{roi or 'roi'}-{hash_of(parameters)[:12]}"


def feature_table(
    patient_ids: Iterable[str],
    load: Load,
    fingerprint: Callable[[str], str],
    parameter_files: dict[str, Path],
    cache_dir: Path,
    expected_count: int | None = None,
    workers: int = 0,
    quiet: bool = False,
    memory_gb: float = MEMORY_GB,
    executor: Callable[[Callable[[str], Result], Sequence[str], int], Iterator[Result]] | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Radiomics features of all patients.

    load: patient_id -> (CT in HU, {'sm': mask, 'pm': mask}), images on one grid, label 1; called in workers.
    fingerprint: patient_id -> text that changes when the patient's input files do.
    parameter_files: {'sm': PyRadiomics parameter file, ...}; the key becomes the prefix of the columns, none if ''.
    cache_dir: one file a patient, in a folder for each region and parameter file.
    workers: processes, 0 takes all cores. quiet: no progress on stderr.
    memory_gb: what one patient may take; see ``memory_limit``.
    executor: (task, patient_ids, workers) -> results in any order. If None, the Dask cluster that the environment
    variable SCHEDULER names, else processes of this machine (``run_local``); ``run_here`` is this process alone.
    The table does not depend on it.

    Returns (features, failures): features has index patient_id, sorted, and one float64 column a feature;
    failures has patient_id, stage, reason; the stage is 'features', or
    'radiomics' where nothing is wrong with the images but there can be no radiomics (RADIOMICS_STAGE).

    Raises FeatureCountError before any work when the parameter files do not give ``expected_count`` features.
    """
    parameter_files = {roi: Path(path) for roi, path in parameter_files.items()}
    columns = feature_names(parameter_files, expected_count)
    ids = sorted(set(patient_ids))
    for note in filter(None, map(slow_note, parameter_files.values())):
        print(f"note: {note}", file=sys.stderr)
    for roi, path in parameter_files.items():
        folder = Path(cache_dir) / region_folder(roi, path.read_text(encoding="utf-8"))
        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder)
    task = Task(load, fingerprint, parameter_files, Path(cache_dir), memory_gb)
    done: dict[str, dict[str, float]] = {}
    failed: list[tuple[str, str, str]] = []
    ipython = sys.modules.get("IPython")
    quiet = quiet or (ipython is not None and ipython.get_ipython() is not None)  # a notebook shows results, not bars
    with Progress(len(ids), "features", "patient", quiet) as progress:
        for result in (executor or _executor())(task, ids, worker_count(workers)):
            if result.features is None:
                failed.append((result.patient_id, result.stage, result.reason))
            else:
                done[result.patient_id] = result.features
            progress.update(f"{len(failed)} failed" if failed else "")
    table = pd.DataFrame.from_dict(done, orient="index", columns=columns, dtype="float64").sort_index()
    table.index.name = "patient_id"
    failures = pd.DataFrame(sorted(failed), columns=["patient_id", "stage", "reason"])
    return table, failures


def feature_names(
    parameter_files: dict[str, Path], expected_count: int | None = None, usual: Sequence[str] = ()
) -> list[str]:
    """Columns of the table, ``<roi>_<image>_<class>_<Feature>``, in the order of the parameter files.

    Raises FeatureCountError where they are not ``expected_count``; if so many are ``usual``, it names the difference.
    """
    names = [_column(roi, name) for roi, path in parameter_files.items() for name in expected_names(path)]
    if expected_count is not None and len(names) != expected_count:
        groups = Counter("_".join(parse(name)[::2]).lstrip("_") for name in names)
        counts = ", ".join(f"{group} {n}" for group, n in groups.items())
        raise FeatureCountError(
            f"features.expected_count is {expected_count}, but the parameter files give {len(names)} "
            f"({counts}); change the parameter files or expected_count{_difference(names, usual, expected_count)}"
        )
    return names


def _difference(names: list[str], usual: Sequence[str], expected_count: int) -> str:
    """What is missing and what is too much, as far as the usual features are expected."""
    if len(usual) != expected_count:
        return ""
    parts = {
        "missing": [n for n in usual if n not in set(names)],
        "not expected": [n for n in names if n not in usual],
    }
    return "".join(f". {len(found)} {what}: {', '.join(found)}" for what, found in parts.items() if found)


def _column(roi: str, name: str) -> str:
    return f"{roi}_{name}" if roi else name


def _executor() -> Callable[[Callable[[str], Result], Sequence[str], int], Iterator[Result]]:
    if address := scheduler_address():
        return lambda task, ids, _: run_dask(task, ids, address)
    return run_local


def _read_cached(path: Path, key: str) -> dict[str, float] | None:
    """The patient's features, or None if there are none, or of other inputs or code, or damaged."""
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        features = stored["features"]
        return features if stored["key"] == key and stored["hash"] == hash_of(features) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
