"""Features of every variant of some patients (``perturb``), extracted like any others: in parallel, resumed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from analysis_lib.common.files import write_text_if_changed
from analysis_lib.core.parameters import StabilityParams
from analysis_lib.radiomics.features import Load, feature_table
from analysis_lib.radiomics.perturb import CONTROLS, MASK_VARIANTS, perturb

_VARIANTS = ("original", "noise", *MASK_VARIANTS, *CONTROLS)


def families(settings: StabilityParams) -> dict[str, list[str]]:
    """Kinds of disturbance and the variants that each compares, the undisturbed one first; then the controls."""
    return {
        "mask": ["original", *MASK_VARIANTS],
        "bins": ["original", *(_bin_variant(width) for width in settings.bin_widths_hu)],
        "noise": ["original", "noise"],
        **{control: ["original", control] for control in CONTROLS},
    }


def draw(patient_ids: list[str], number: int, seed: int) -> list[str]:
    """So many patients at random; who else is in the list does not change a patient's place in the draw."""

    def place(name: str) -> str:
        return hashlib.blake2b(name.encode(), key=f"stability {seed}".encode(), digest_size=16).hexdigest()

    return sorted(sorted(patient_ids, key=place)[:number])


def extract_variants(
    patient_ids: list[str],
    load: Load,
    fingerprint: Callable[[str], str],
    parameter_files: dict[str, Path],
    settings: StabilityParams,
    seed: int,
    folder: Path,
    **options: Any,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Features of all variants, index (patient_id, variant), and failures (patient_id, variant, reason).

    load, fingerprint, parameter_files, options: as for ``feature_table``. Results are kept in ``folder``.
    """
    key = f"{seed} {settings.noise_hu} {settings.contour_px} {settings.moved_mm}"
    jobs = [(parameter_files, [f"{name}@{variant}" for name in patient_ids for variant in _VARIANTS])]
    for width in settings.bin_widths_hu:
        variant = _bin_variant(width)
        files = {
            roi: _with_bin_width(path, width, folder / f"{roi}_{variant}.yaml") for roi, path in parameter_files.items()
        }
        jobs.append((files, [f"{name}@{variant}" for name in patient_ids]))
    tables, failures = [], []
    for files, names in jobs:
        table, failed = feature_table(
            names,
            load=partial(_load_variant, load, settings, seed),
            fingerprint=partial(_fingerprint_variant, fingerprint, key),
            parameter_files=files,
            cache_dir=folder / "cases",
            **options,
        )
        tables.append(table)
        failures.append(failed)
    values, failed = pd.concat(tables), pd.concat(failures, ignore_index=True)
    values.index = _split_names(values.index)
    split = _split_names(failed["patient_id"])
    failed = split.to_frame(index=False).assign(reason=failed["reason"].to_numpy())
    return values.sort_index(), failed


def _bin_variant(width_hu: float) -> str:
    return f"bin-{width_hu:g}"


def _with_bin_width(source: Path, width_hu: float, target: Path) -> Path:
    content = yaml.safe_load(source.read_text(encoding="utf-8"))
    content["setting"] = {**content.get("setting", {}), "binWidth": width_hu}
    write_text_if_changed(target, yaml.safe_dump(content, sort_keys=False))
    return target


def _load_variant(load: Load, settings: StabilityParams, seed: int, name: str):
    patient_id, variant = name.rsplit("@", 1)
    image, masks = load(patient_id)
    disturbed = "original" if variant.startswith("bin-") else variant
    return perturb(
        image,
        masks,
        disturbed,
        f"{seed} {patient_id}",
        settings.noise_hu,
        settings.contour_px,
        settings.moved_mm,
    )


def _fingerprint_variant(fingerprint: Callable[[str], str], key: str, name: str) -> str:
    patient_id, variant = name.rsplit("@", 1)
    return f"{fingerprint(patient_id)} {variant} {key}"


def _split_names(names: Any) -> pd.MultiIndex:
    pairs = [str(name).rsplit("@", 1) for name in names]
    return pd.MultiIndex.from_tuples([tuple(pair) for pair in pairs], names=["patient_id", "variant"])
