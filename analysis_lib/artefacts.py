"""Which notebook makes which table and figure: one artefact, one place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from analysis_lib.params import Params


def _figure(name: str) -> list[str]:
    return [f"{name}.png", f"{name}.pdf", f"{name}.csv"]


NOTEBOOKS: dict[str, list[str]] = {
    "01_cohort": [*_figure("fig1"), "table1.csv", "table1.html", "exclusions.csv"],
    "02_sarcopenia": [
        "table2.csv",
        "table2.html",
        "table2_extended.csv",
        "table2_extended.html",
        *_figure("fig2"),
        *_figure("figS1"),
        *_figure("figS2"),
        *_figure("figS3"),
        *_figure("spline"),
    ],
    "03_radiomics_pca": [*_figure("fig3"), "separation.csv"],
    "04_autoencoder_deepsurv": [
        *_figure("fig4ab"),
        "reconstruction.csv",
        "explained_variance.csv",
        "joint_comparison.csv",
    ],
    "05_risk_groups": [*_figure("fig4cf"), "risk_groups.csv"],
    "06_discrimination": [
        *_figure("fig5"),
        *_figure("fig5_models"),
        "c_index.csv",
        "auc.csv",
        "c_index_difference.csv",
        "auc_horizons.csv",
        "c_index_intervals.csv",
    ],
    "07_paper_comparison": ["paper_comparison.csv", *_figure("comparison")],
    "09_beyond_the_letter": [
        *_figure("calibration"),
        *_figure("decision_curves"),
        *_figure("cumulative_incidence"),
        "calibration_summary.csv",
        "brier.csv",
        "nri.csv",
        "added_value.csv",
        "incidence.csv",
        "c_index_published.csv",
    ],
    "11_small_data": [*_figure("optimism"), "optimism_summary.csv"],
}


# Notebooks of analyses that a study may leave out, and whether it does.
OPTIONAL: dict[str, Callable[[Params], bool]] = {
    "10_stability": lambda params: params.stability.patients > 0,
}
OPTIONAL_NOTEBOOKS: dict[str, list[str]] = {"10_stability": _figure("stability")}


def wanted_notebooks(params: Params) -> dict[str, list[str]]:
    """The notebooks of this study and what each makes."""
    return NOTEBOOKS | {name: files for name, files in OPTIONAL_NOTEBOOKS.items() if OPTIONAL[name](params)}


def executed_notebook(params: Params, name: str) -> Path:
    return params.build_path / "notebooks" / f"{name}.ipynb"


def missing_artefacts(params: Params) -> dict[str, list[str]]:
    """Files that a notebook should have made and that are not there, by notebook."""
    missing = {}
    for name, files in wanted_notebooks(params).items():
        gone = [file for file in files if not (params.figures_path / file).is_file()]
        if gone:
            missing[name] = gone
    return missing


def ask_again(params: Params) -> None:
    """Touch ``again/<notebook>`` for each notebook whose outputs are not all there, so that make runs it again.

    A file of its own, because make looks at a notebook before the stage that could remove it.
    """
    missing = missing_artefacts(params)
    for name in NOTEBOOKS:
        stamp = params.build_path / "again" / name
        if name in missing or not stamp.is_file():
            stamp.parent.mkdir(parents=True, exist_ok=True)
            stamp.touch()
