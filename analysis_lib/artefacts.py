"""Which notebook makes which table and figure: one artefact, one place."""

from __future__ import annotations

from pathlib import Path

from analysis_lib.params import Params


def _figure(name: str) -> list[str]:
    return [f"{name}.png", f"{name}.pdf", f"{name}.csv"]


NOTEBOOKS: dict[str, list[str]] = {
    "01_cohort": [*_figure("fig1"), "table1.csv", "table1.html", "exclusions.csv"],
    "02_sarcopenia": [
        "table2.csv",
        "table2.html",
        *_figure("fig2"),
        *_figure("figS1"),
        *_figure("figS2"),
        *_figure("figS3"),
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
    ],
    "07_paper_comparison": ["paper_comparison.csv", *_figure("comparison")],
    "11_small_data": [*_figure("optimism"), "optimism_summary.csv"],
}


def executed_notebook(params: Params, name: str) -> Path:
    return params.build_path / "notebooks" / f"{name}.ipynb"


def missing_artefacts(params: Params) -> dict[str, list[str]]:
    """Files that a notebook should have made and that are not there, by notebook."""
    missing = {}
    for name, files in NOTEBOOKS.items():
        gone = [file for file in files if not (params.figures_path / file).is_file()]
        if gone:
            missing[name] = gone
    return missing


def notebooks_to_run_again(params: Params) -> list[Path]:
    """Executed notebooks whose outputs were deleted since, so that make runs them again."""
    return [path for name in missing_artefacts(params) if (path := executed_notebook(params, name)).is_file()]
