"""What a notebook opens: a study that saves its tables and figures by their artefact's name, and its answer."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

import pandas as pd

from analysis_lib.common.errors import StudyError
from analysis_lib.core.artefacts import describe, is_declared
from analysis_lib.core.project import Project, Study

if TYPE_CHECKING:
    from IPython.display import HTML, Image, Markdown
    from matplotlib.figure import Figure


class ArtefactError(StudyError, ValueError):
    """A notebook saves what no notebook is declared to make; the message says where to declare it."""


class Notebook(Study):
    """A study as a notebook works with it; ``print`` says which it is and what its data are."""

    def __str__(self) -> str:
        return "\n".join(filter(None, (self.params.heading, self.note)))

    def save(
        self,
        name: str,
        made: Figure | pd.DataFrame,
        data: pd.DataFrame | Mapping[str, pd.DataFrame] | None = None,
        row_headers: int = 1,
    ) -> Image | HTML:
        """Save an artefact under its name and return it for display.

        A figure goes with ``data``, the frame or frames that it draws, as PNG, PDF and CSV, and as SVG for the report
        into the build folder. A table goes as CSV and
        HTML; for it ``data`` is the table as a journal would print it, where that is another, and ``row_headers`` the
        number of columns that name a row. Title and caption are those of ``core.artefacts``.
        """
        from IPython.display import HTML, Image

        from analysis_lib.common.files import write_text
        from analysis_lib.figures import style, tables, vector
        from analysis_lib.review.facts import facts, fill

        if not is_declared(name, self.params):
            raise ArtefactError(f"no notebook is declared to make '{name}'; add it to NOTEBOOKS in core/artefacts.py")
        synthetic, described = self.params.synthetic, describe(name)
        if not isinstance(made, pd.DataFrame):
            path = style.save_figure(made, self.figures, name, data, synthetic, self.cache / "fonts")
            write_text(self.build / "svg" / f"{name}.svg", vector.svg_text(made))
            return Image(path, alt=fill(described.alt or described.caption, facts(self)))
        shown = made if data is None else data
        caption = fill(described.page or described.caption, facts(self))
        path = tables.write_table(made, self.figures, name, described.title, caption, synthetic, shown, row_headers)
        return HTML(path.with_suffix(".html").read_text(encoding="utf-8"))

    def answer(self, notebook: str, text: str) -> Markdown:
        """Keep what the notebook answers, for the report, and return it for display."""
        from IPython.display import Markdown

        self.write_answer(notebook, text)
        return Markdown(text)


def open_study(study: str, project: Project | None = None) -> Notebook:
    """Open a study of this checkout, or of another project, by the name of its parameter file.

    In ``make explore`` the variable EXPLORE_STUDY names the study.
    """
    project = project or Project()
    return Notebook(project.params(os.environ.get("EXPLORE_STUDY") or study), project)
