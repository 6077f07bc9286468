"""The notebooks' code cells in one process: no library to import anew for each notebook.

What papermill and IPython add is tested by the run of the study smoke (test_study.py).
"""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat
import pytest
from matplotlib.figure import Figure

from analysis_lib.core.artefacts import possible_notebooks, wanted_notebooks
from analysis_lib.core.project import Project, Study
from analysis_lib.figures import drawn, style

SAVEFIG = Figure.savefig


def quick_savefig(fig: Figure, path: Path, *, format: str, **kwargs) -> None:
    """Embedding fonts takes the longest; the PNG has drawn everything."""
    if format == "pdf":
        Path(path).write_bytes(b"%PDF")
    else:
        SAVEFIG(fig, path, format=format, **kwargs)


def draw_quickly(patch: pytest.MonkeyPatch) -> None:
    """Coarse pictures and no PDF, of which none is kept: for tests of what the notebooks compute."""
    patch.setattr(drawn, "keeping", lambda function, *_, **__: function)
    patch.setitem(style.STYLE, "savefig.dpi", 30)
    patch.setattr(Figure, "savefig", quick_savefig)


def run_cells(study: Study, name: str) -> dict:
    """Run the code of one notebook for the study; returns its variables.

    It must make the files that are declared for it and no other (one artefact, one notebook), and must have answered.
    """
    variables: dict = {}
    before = {path.name for path in study.figures.glob("*")}
    for cell in nbformat.read(Project().notebooks / f"{name}.ipynb", as_version=4).cells:
        if cell.cell_type == "code":
            source = cell.source
            if "parameters" in cell.metadata.get("tags", []):
                source = f"study = {study.name!r}"
            exec(compile(source, name, "exec"), variables)
    there, declared = {path.name for path in study.figures.glob("*")}, set(possible_notebooks(study.params)[name])
    assert not declared - there, f"{name} did not write {declared - there}"
    assert there - before <= declared, f"{name} wrote what is not declared for it: {there - before - declared}"
    assert study.answers()[name].endswith(".")
    return variables


def main(name: str, *stages: str) -> None:
    """The stages of a study and the cells of all its notebooks, in this process; the library is that on the path."""
    from analysis_lib.ui.command_line import main as command

    for stage in stages:
        if status := command([stage, "--study", name, "--quiet"]):
            sys.exit(status)
    study = Project().study(name)
    with pytest.MonkeyPatch.context() as patch:
        draw_quickly(patch)
        for notebook in wanted_notebooks(study.params):
            run_cells(study, notebook)


if __name__ == "__main__":
    main(*sys.argv[1:])
