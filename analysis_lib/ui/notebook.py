"""What a notebook opens: a study that saves its tables and figures by their artefact's name, and its answer."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from analysis_lib.common.errors import StudyError
from analysis_lib.common.files import replacing
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

    def draw(
        self,
        name: str,
        data: pd.DataFrame | Mapping[str, pd.DataFrame],
        function: Callable[..., Figure],
        *args: Any,
        **kwargs: Any,
    ) -> Image:
        """Save what ``function(*args, **kwargs)`` draws under its artefact's name, and return it for display.

        It goes with ``data``, the frame or frames that it draws, as PNG, PDF and CSV, and as SVG for the report into
        the build folder. What was drawn before of the same values is not drawn again. Its caption is that of
        ``core.artefacts``.
        """
        from IPython.display import Image

        from analysis_lib.figures.drawn import FORMATS, drawn
        from analysis_lib.review.facts import facts, fill

        self._check_declared(name)
        files = drawn(function, args, kwargs, data, self.params.synthetic, self.cache)
        paths = {suffix: self.figures / f"{name}.{suffix}" for suffix in FORMATS}
        paths["svg"] = self.build / "svg" / f"{name}.svg"
        for suffix, path in paths.items():
            with replacing(path) as temporary:
                temporary.write_bytes(files[suffix])
        described = describe(name)
        return Image(paths["png"], alt=fill(described.alt or described.caption, facts(self)))

    def save(self, name: str, table: pd.DataFrame, shown: pd.DataFrame | None = None, row_headers: int = 1) -> HTML:
        """Save a table under its artefact's name, as CSV and HTML, and return it for display.

        ``shown`` is the table as a journal would print it, where that is another, and ``row_headers`` the number of
        columns that name a row. Title and caption are those of ``core.artefacts``.
        """
        from IPython.display import HTML

        from analysis_lib.figures.tables import write_table
        from analysis_lib.review.facts import facts, fill

        self._check_declared(name)
        described, shown = describe(name), table if shown is None else shown
        caption = fill(described.page or described.caption, facts(self))
        path = write_table(
            table, self.figures, name, described.title, caption, self.params.synthetic, shown, row_headers
        )
        return HTML(path.with_suffix(".html").read_text(encoding="utf-8"))

    def _check_declared(self, name: str) -> None:
        if not is_declared(name, self.params):
            raise ArtefactError(f"no notebook is declared to make '{name}'; add it to NOTEBOOKS in core/artefacts.py")

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
