"""How far one split of few patients can be trusted: the whole pipeline fitted again and again.

Scaling, AutoEncoder, networks and cut-off are learnt anew in every replicate, so that nothing of a tested
patient is in any of them. Three kinds:

- ``split``: another random split of the discovery set in the study's proportion, tested on the part left out;
- ``bootstrap``: fitted to a bootstrap sample of the study's training patients, and tested on that sample
  (``c_index_train``), on the patients it was drawn from (``c_index``) and on those it left out
  (``c_index_left_out``). The mean difference of the first two is the optimism of the training C-index (Harrell FE
  et al. Stat Med 1996;15:361, doi 10.1002/(SICI)1097-0258(19960229)15:4<361::AID-SIM168>3.0.CO;2-4). It is too
  small for a model that learns patients by heart, since two thirds of the original ones are in the sample; the
  .632+ estimate mends that by the left-out ones (Efron B, Tibshirani R. JASA 1997;92:548, doi
  10.1080/01621459.1997.10474007);
- ``permuted``: a split with the outcomes dealt to other patients, the negative control.

The models of the bootstrap samples are tested in the study's test sets too (``TESTED``). How far their C-indices there
scatter is what another sample of training patients would have changed; an interval that counts this and the patients
tested on is wider than one of the model as it stands.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pandas as pd

from analysis_lib.common.distributions import norm, student
from analysis_lib.common.keep import keeping
from analysis_lib.common.pool import map_patients
from analysis_lib.core.parameters import CohortParams, Params
from analysis_lib.core.project import Study
from analysis_lib.stages.refit import BATCH, COLUMNS, KINDS, TESTED, one_replicate, used_columns
from analysis_lib.survival.analytic import c_index_analytic
from analysis_lib.survival.survival import c_index

FIT_GB = 1.3  # memory of a worker that fits the pipeline


def resample_pipeline(study: Study, quiet: bool = False) -> None:
    """Fit the whole pipeline to other splits and bootstrap samples, to ``optimism.csv``."""
    params = study.params
    if not params.radiomics:
        study.write_no_optimism()
        return
    params.cohort.check_trained()
    patients, features = study.patients(with_radiomics=True), study.features(as_extracted=True)
    table = resample(patients, features, params, study.cache / "optimism", quiet)
    study.write_optimism(table)


def resample(
    patients: pd.DataFrame, features: pd.DataFrame, params: Params, folder: Path, quiet: bool = False
) -> pd.DataFrame:
    """All replicates that ``params.optimism`` asks for, one row each (COLUMNS), in a fixed order.

    patients : as patients.parquet. features : by patient_id, as extracted. Each
    replicate is kept in ``folder`` as it is done, so that an interrupted run goes on where it stopped, with the same
    result for any number of processes.
    """
    patients = patients.reset_index(drop=True)
    x = features.loc[patients["patient_id"]]
    table = patients[[*used_columns(params.network), "split"]]
    if params.features.harmonise.batch:
        table = table.assign(**{BATCH: patients[params.features.harmonise.batch]})
    counts = {"split": params.optimism.repeats, "bootstrap": params.optimism.repeats}
    counts["permuted"] = params.optimism.permutations if params.optimism.repeats else 0
    given = table, x, params.cohort, params.autoencoder, params.network, params.seed
    whole = keeping(replicates, folder, apart=("folder", "workers", "quiet"))
    return whole(given, counts, folder, params.workers, quiet)


def replicates(given: tuple, counts: dict[str, int], folder: Path, workers: int, quiet: bool) -> pd.DataFrame:
    """So many replicates of each kind; ``given``: the arguments of ``one_replicate`` but kind and number.

    Kept as a whole too, since to hash the features once for each replicate takes long where all are known.
    """
    jobs = [(*given, kind, r) for kind in KINDS for r in range(counts[kind])]
    rows = map_patients(
        keeping(one_replicate, folder),
        jobs,
        workers=workers,
        label="resampling the pipeline",
        quiet=quiet,
        unit="fit",
        each_gb=FIT_GB,
    )
    return pd.DataFrame(itertools.chain.from_iterable(rows), columns=COLUMNS)


def own_c_index(patients: pd.DataFrame, risk: pd.DataFrame) -> tuple[float, float]:
    """C-index of the study's own model in its training and its internal test patients; NaN where there is nobody.

    patients : as patients.parquet; risk : as risk.csv.
    """
    table = patients.merge(risk[["patient_id", "risk"]], on="patient_id", validate="one_to_one")
    parts = [table[table["split"] == name] for name in ("train", "internal")]
    values = [c_index(p["time_months"], p["event"], p["risk"]) if len(p) else np.nan for p in parts]
    return float(values[0]), float(values[1])


def tested_c_index(patients: pd.DataFrame, risk: pd.DataFrame, cohort: CohortParams) -> pd.DataFrame:
    """C-index of the study's own model in each test set, with its standard error over patients: set, c_index, se."""
    table = patients.merge(risk[["patient_id", "risk"]], on="patient_id", validate="one_to_one")
    rows = []
    for name in cohort.test_sets:
        part = table[table["split"] == name]
        found = c_index_analytic(part["time_months"], part["event"], part["risk"], 0.95) if len(part) else {}
        rows.append((name, found.get("c_index", np.nan), found.get("se", np.nan)))
    return pd.DataFrame(rows, columns=["set", "c_index", "se"])


def with_marks(
    replicates: pd.DataFrame, single: float, printed: tuple[float, float, float] | None = None
) -> pd.DataFrame:
    """The replicates and, below them, the study's one split and the letter's number, as the figure shows them."""
    replicates = replicates[replicates["kind"] != TESTED]
    marks = pd.DataFrame({"kind": ["single split", "letter"], "c_index": [single, printed[0] if printed else np.nan]})
    marks = marks if printed else marks.head(1)
    if replicates.empty:
        return marks.reindex(columns=replicates.columns)
    return pd.concat([replicates, marks])


def summary(
    table: pd.DataFrame, apparent: float, single: float, confidence: float, tested: pd.DataFrame | None = None
) -> pd.DataFrame:
    """One row a quantity: name, value, low, high, n, meaning.

    apparent : C-index of the study's model in its training patients. single : in its internal test set, NaN
    where there is none. tested : as from ``tested_c_index``. low and high are the quantiles over the replicates, but
    for 'permuted mean', which has the normal interval of a mean, and the C-index in the test sets, which has that of
    the patients' variance alone and with the variance over the models of other training samples added.
    """
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    known = {kind: table.loc[(table["kind"] == kind) & table["c_index"].notna()].astype(
        {"c_index": float, "c_index_train": float, "c_index_left_out": float}) for kind in KINDS}  # fmt: skip
    rows = [("training", apparent, np.nan, np.nan, 1, "C-index in the training patients themselves")]
    rows.append(
        ("single split", single, np.nan, np.nan, int(not np.isnan(single)), "C-index in the one internal test set")
    )
    if len(split := known["split"]["c_index"]):
        rows.append(("repeated splits", split.mean(), *split.quantile(tails), len(split), "mean over random splits"))
        place = np.nan if np.isnan(single) else float((split < single).mean() + 0.5 * (split == single).mean())
        rows.append(("place of the single split", place, np.nan, np.nan, len(split), "share of random splits below it"))
    if len(boot := known["bootstrap"]):
        gap = boot["c_index_train"] - boot["c_index"]
        rows.append(("optimism", gap.mean(), *gap.quantile(tails), len(gap), "training less original, bootstrap"))
        rows.append(("training, corrected", apparent - gap.mean(), np.nan, np.nan, len(gap), "training less optimism"))
        left = boot["c_index_left_out"].dropna()
        rows.append(
            ("left out", left.mean(), *left.quantile(tails), len(left), "bootstrap, patients not in the sample")
        )
        plus = point632_plus(apparent, left.mean())
        rows.append(
            ("training, .632+", plus, np.nan, np.nan, len(left), "training and left out, weighed by overfitting")
        )
    if len(permuted := known["permuted"]["c_index"]) > 1:
        width = student.ppf(tails[1], len(permuted) - 1) * permuted.std() / np.sqrt(len(permuted))
        rows.append(
            ("permuted mean", permuted.mean(), permuted.mean() - width, permuted.mean() + width, len(permuted),
             "outcomes dealt to other patients; must hold 0.5")
        )  # fmt: skip
    if tested is not None:
        rows += _with_the_models_uncertainty(table, tested, confidence)
    return pd.DataFrame(rows, columns=["quantity", "value", "low", "high", "n", "meaning"])


def _with_the_models_uncertainty(table: pd.DataFrame, tested: pd.DataFrame, confidence: float) -> list[tuple]:
    """Two rows a test set: the C-index with the interval of the model as it stands, and with that of any such model."""
    rows, z = [], norm.ppf((1 + confidence) / 2)
    for own in tested.dropna().itertuples():
        again = table.loc[(table["kind"] == TESTED) & (table["set"] == own.set), "c_index"].dropna().astype(float)
        name, value = f"C-index, {own.set}", own.c_index
        rows.append((name, value, value - z * own.se, value + z * own.se, 1, "this model; interval over patients"))
        if len(again) > 1:
            width = z * np.hypot(own.se, again.std())
            rows.append(
                (f"{name}, any model", value, value - width, value + width, len(again),
                 "interval over patients and over models of other training samples")
            )  # fmt: skip
    return rows


def point632_plus(apparent: float, left_out: float) -> float:
    """Efron and Tibshirani's .632+ estimate of a C-index, whose value without information is 0.5."""
    left_out = max(left_out, 0.5)
    gap = max(apparent - left_out, 0.0)
    overfitting = gap / (apparent - 0.5) if apparent > 0.5 else 0.0
    weight = 0.632 / (1 - 0.368 * overfitting)
    return (1 - weight) * apparent + weight * left_out
