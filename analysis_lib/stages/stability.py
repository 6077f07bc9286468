"""Which features repeat themselves when mask, bins or noise change: their ICC over disturbed images."""

from __future__ import annotations

from functools import partial

import pandas as pd

from analysis_lib.cohort.sources import located, sources
from analysis_lib.common.files import write_parquet
from analysis_lib.core.parameters import PARAMS_DIR, Params
from analysis_lib.stages import StageError
from analysis_lib.stages.features import image_fingerprint, load_images
from analysis_lib.stages.variants import draw, extract_variants, families
from analysis_lib.survival.agreement import icc_table


def analyse_stability(params: Params, quiet: bool = False) -> None:
    """Features of disturbed images of some training patients, and their ICC, to ``stability.parquet``.

    Variants that fail are in ``stability_exclusions.parquet``.
    """
    patients = pd.read_parquet(params.build_path / "patients.parquet", columns=["patient_id", "split"])
    train = patients.loc[patients["split"] == "train", "patient_id"].tolist()
    found = sources(params, located(params))
    chosen = draw(train, params.stability.patients, params.seed)
    values, failures = extract_variants(
        chosen,
        load=partial(load_images, found, params.images),
        fingerprint=partial(image_fingerprint, found, params.images),
        parameter_files={roi: PARAMS_DIR / entry.parameter_file for roi, entry in params.features.rois.items()},
        settings=params.stability,
        seed=params.seed,
        folder=params.build_path / "stability",
        workers=params.workers,
        quiet=quiet,
    )
    write_parquet(failures, params.build_path / "stability_exclusions.parquet")
    table = icc_table(values, families(params.stability), params.statistics.confidence)
    if table["patients"].min() < 3:
        raise StageError(
            "too few patients with all variants for an ICC; see stability_exclusions.parquet, raise stability.patients"
        )
    write_parquet(table, params.build_path / "stability.parquet")
