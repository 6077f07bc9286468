"""Which features repeat themselves when mask, bins or noise change: their ICC over disturbed images."""

from __future__ import annotations

from functools import partial

from analysis_lib.cohort.sources import located, sources
from analysis_lib.common.code import code_key
from analysis_lib.core.project import Study
from analysis_lib.ct import indices
from analysis_lib.stages import StageError
from analysis_lib.stages.features import image_fingerprint, load_images
from analysis_lib.stages.variants import draw, extract_variants, families
from analysis_lib.survival.agreement import icc_table


def analyse_stability(study: Study, quiet: bool = False) -> None:
    """Features of disturbed images of some training patients, and their ICC, to ``stability.parquet``.

    Variants that fail are in ``stability_exclusions.parquet``.
    """
    params, patients = study.params, study.patients()
    train = patients.loc[patients["split"] == "train", "patient_id"].tolist()
    found = sources(study, located(study))
    chosen = draw(train, params.stability.patients, params.seed)
    values, failures = extract_variants(
        chosen,
        load=partial(load_images, found, params.images),
        fingerprint=partial(image_fingerprint, found, params.images, code_key(indices.load_images)),
        parameter_files=study.parameter_files,
        settings=params.stability,
        seed=params.seed,
        folder=study.build / "stability",
        workers=params.workers,
        quiet=quiet,
    )
    study.write_stability_exclusions(failures)
    table = icc_table(values, families(params.stability), params.statistics.confidence)
    if table["patients"].min() < 3:
        raise StageError(
            "too few patients with all variants for an ICC; see stability_exclusions.parquet, raise stability.patients"
        )
    study.write_stability(table)
