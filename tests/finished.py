"""A small finished study in a folder of its own, made by the library without notebooks, for tests of what reads one."""

from __future__ import annotations

import json
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd

from analysis_lib.core.parameters import Params, load_params
from analysis_lib.core.project import Project, Study
from analysis_lib.figures import style, tables
from analysis_lib.figures.components import pca_frame
from analysis_lib.figures.curves import incidence_grid, spline_grid
from analysis_lib.figures.flowchart import flowchart
from analysis_lib.figures.kaplan_meier import km_grid
from analysis_lib.results import published
from analysis_lib.results.incidence import CAUSES, incidences
from analysis_lib.results.risk_groups import risk_group_curves, risk_group_table
from analysis_lib.results.separation import ellipses
from analysis_lib.results.splines import spline_curves
from analysis_lib.results.table1 import flowchart_counts, table_one
from analysis_lib.results.table2 import TABLE2_COLUMNS, sarcopenia_curves, table_two
from analysis_lib.review import record

SIZES = {"discovery": 60, "external": 25, "lt": 25}


def toy_patients(seed: int = 7) -> pd.DataFrame:
    """Patients as in patients.parquet, drawn at random."""
    rng = np.random.default_rng(seed)
    n = sum(SIZES.values())
    names = np.repeat(list(SIZES), list(SIZES.values()))
    height, sm, pm = rng.normal(1.66, 0.07, n), rng.normal(130, 22, n), rng.normal(15.5, 3, n)
    split = np.where(names == "discovery", np.where(np.arange(n) % 10 < 7, "train", "internal"), names)
    months = rng.exponential(60, n).clip(1, 90).round(2)
    return pd.DataFrame(
        {
            "patient_id": [f"{name[0].upper()}{k:04d}" for k, name in enumerate(names)],
            "set": names,
            "split": split,
            "sex": rng.choice(["M", "F"], n),
            "age": rng.normal(55, 10, n).round(1),
            "height_m": height.round(2),
            "bmi": rng.normal(23, 3, n).round(1),
            "os_months": months,
            "os_event": (rng.random(n) < 0.5).astype(float),
            "rfs_months": np.where(names == "external", np.nan, (months * 0.7).round(2)),
            "rfs_event": np.where(names == "external", np.nan, (rng.random(n) < 0.6).astype(float)),
            "tumour_diameter_over_5cm": rng.integers(0, 2, n).astype(float),
            "tumour_single": rng.integers(0, 2, n).astype(float),
            "vascular_invasion": np.where(names == "external", np.nan, rng.integers(0, 2, n)),
            "sm_area_cm2": sm,
            "sm_mean_hu": rng.normal(41, 6, n),
            "pm_area_cm2": pm,
            "pm_mean_hu": rng.normal(45, 6, n),
            "smi": sm / height**2,
            "pmi": pm / height**2,
            "ct_series": "series 1 of 1",
            "ct_notes": "",
        }
    ).assign(**{own: lambda t, of=of: t[of] for own, of in (("time_months", "os_months"), ("event", "os_event"))})


def toy_params(name: str = "toy", **changes) -> Params:
    return load_params("smoke").model_copy(update={"study": name, **changes})


def toy_study(root: Path, name: str = "toy", **changes) -> Study:
    """A study under ``root``, where there are the defaults, and no expectation but what a conclusion is."""
    project = Project(root)
    project.params_dir.mkdir(parents=True, exist_ok=True)
    (project.params_dir / "defaults.yaml").write_bytes((Project().params_dir / "defaults.yaml").read_bytes())
    project.expected.mkdir(parents=True, exist_ok=True)
    (project.expected / "conclusions.yaml").write_bytes((Project().expected / "conclusions.yaml").read_bytes())
    return Study(toy_params(name, **changes), project)


def finish_study(study: Study) -> None:
    """Write the files of a finished study."""
    patients, build = toy_patients(), study.build
    build.mkdir(parents=True)
    patients.to_parquet(build / "patients.parquet")
    reason = {"patient_id": "D9999", "stage": "images", "reason": "the mask is missing", "set": "discovery"}
    exclusions = pd.DataFrame([reason])
    exclusions.to_parquet(build / "exclusions.parquet")
    rng = np.random.default_rng(3)
    risk = patients[["patient_id"]].assign(set=patients["split"], risk=rng.normal(size=len(patients)), spread=0.3)
    risk.to_csv(build / "risk.csv", index=False)
    study.model.mkdir()
    cut_off = float(risk.loc[risk["set"] == "train", "risk"].median())
    (study.model / "model.json").write_text(json.dumps({"cutoff": cut_off}))
    study.data.mkdir(parents=True)
    study.clinical_file.write_text("patient_id\nD0001\n")
    (study.data / "D0001.nrrd").write_bytes(b"mask")
    _write_results(study, exclusions)
    _write_notebook(study, "01_cohort", exclusions[["patient_id", "reason"]].to_html())
    _write_notebook(study, "02_sarcopenia", "<b>Table 2</b>")
    assert study.figures.is_dir()
    with record.recorded_stage(study, "02_sarcopenia", record.time.monotonic()):
        pass
    record.write_run(study)


def _write_results(s: Study, exclusions: pd.DataFrame) -> None:
    params, patients, synthetic = s.params, s.patients(), s.params.synthetic
    tables.write_table(exclusions[["patient_id", "stage", "reason"]], s.figures, "exclusions", "E", "E.", synthetic)
    counts = flowchart_counts(patients, exclusions, params.cohort, ["CT", "risk"])
    style.save_figure(flowchart(counts), s.figures, "fig1", counts, synthetic)
    table1 = table_one(patients, params.cohort)
    tables.write_table(table1, s.figures, "table1", "Table 1", "T.", synthetic)
    table2 = table_two(patients, params.definitions, params.cohort, params.statistics)
    reading = tables.table2_for_reading(table2, {k: k for k in SIZES}, {k: k for k in params.definitions})
    table2 = table2[TABLE2_COLUMNS]
    tables.write_table(table2, s.figures, "table2", "Table 2", "T.", synthetic, reading=reading)
    part = patients[patients["set"] == "discovery"]
    frames = sarcopenia_curves(part, params.definitions, "OS", params.statistics, [0, 24, 60])
    style.save_figure(km_grid(**frames), s.figures, "fig2", frames, synthetic)
    frames = spline_curves(part, params.definitions, "OS", params.statistics)
    style.save_figure(spline_grid(**frames), s.figures, "spline", frames, synthetic)
    incidence, _ = incidences(patients, params.cohort, params.statistics)
    sets, causes = {k: k for k in SIZES}, CAUSES
    fig = incidence_grid(incidence, sets, causes, params.statistics.auc_last_month)
    style.save_figure(fig, s.figures, "cumulative_incidence", incidence, synthetic)
    scores = pd.DataFrame(np.random.default_rng(1).normal(size=(len(patients), 3)), columns=["PC1", "PC2", "PC3"])
    scores.index = pd.Index(patients["patient_id"], name="patient_id")
    groups = pd.DataFrame({"PMI": patients["pmi"].to_numpy() < 6}, index=scores.index)
    frames = {"patients": pca_frame(scores, groups), "ellipses": ellipses(scores, groups)}
    style.save_figure(style.new_figure(40, 30), s.figures, "fig3", frames, synthetic)
    c_index = pd.DataFrame(
        [(n, "TFDeepSurv", 0.7, 0.6, 0.8, 25, 12) for n in ("train", "internal", "external", "lt")],
        columns=["set", "model", "c_index", "low", "high", "n", "events"],
    )
    tables.write_table(c_index, s.figures, "c_index", "C-index", "C.", synthetic)
    risks = patients.merge(s.risk().drop(columns="set"), on="patient_id")
    groups = risk_group_table(risks, params.cohort, s.cut_off(), params.statistics)
    tables.write_table(groups, s.figures, "risk_groups", "Risk groups", "R.", synthetic)
    frames = risk_group_curves(risks, params.cohort, s.cut_off(), params.statistics, [0, 24, 60])
    style.save_figure(km_grid(**frames), s.figures, "fig4cf", frames, synthetic)
    comparison = published.compare(patients, table2, c_index, params.statistics.confidence)
    s.write_comparison(comparison)
    tables.write_table(comparison[published.COLUMNS], s.figures, "paper_comparison", "Comparison", "C.", synthetic)


def _write_notebook(study: Study, name: str, html: str) -> None:
    output = nbformat.v4.new_output("display_data", {"text/html": html})
    cell = nbformat.v4.new_code_cell("patients[['patient_id']]", outputs=[output], execution_count=1)
    path = study.executed(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), path)
