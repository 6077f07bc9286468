"""Executed notebooks and Markdown as pieces of a page, by nbconvert, which JupyterLab brings."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from pathlib import Path

from nbconvert import HTMLExporter
from nbconvert.filters.markdown import markdown2html

from analysis_lib.core.notebooks import nbformat  # as it starts quickly

SAVES = re.compile(r"\bs\.save\(\s*\"(\w+)\"")
PAGE = re.compile(r"<!DOCTYPE html>.*?(<table>.*?</table>).*</html>", re.DOTALL)  # a table's own page
UNWANTED = re.compile(r"<a class=\"anchor-link\".*?</a>|<style.*?</style>| id=\"[^\"]*\"| border=\"1\"", re.DOTALL)
STYLE = """
.nb .input_area, .nb .output_stream { background: var(--shade); padding: .5rem .75rem; overflow-x: auto;
  font-size: .8rem; }
.nb pre { margin: 0; white-space: pre-wrap; } .nb .output_html, .nb .output_png { overflow-x: auto; font-size: .85rem; }
.nb img { max-width: 100%; height: auto; background: #fff; }
.nb .k, .nb .kn { color: var(--link); } .nb .s2 { color: var(--good); }
"""


def notebook_piece(
    path: Path, shows_patient: Callable[[str], bool], link: Callable[[str], str] | None = None, level: int = 1
) -> str:
    """A notebook's cells and outputs as HTML, without what papermill put in and without outputs that show a patient.

    ``link`` takes the name of an artefact and gives the HTML that stands in place of its picture or table, for a page
    that has both already; without it they stay. Headings begin at ``level``.
    """
    notebook = nbformat.read(path, as_version=4)
    notebook.cells = [c for c in notebook.cells if "injected-parameters" not in c.metadata.get("tags", [])]
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        outputs = [o for o in cell.outputs if not shows_patient(_words(o))]
        saved = SAVES.findall(cell.source)
        for output in outputs:
            data = output.get("data", {})
            if link and len(saved) == 1 and {"text/html", "image/png"} & data.keys():
                output["data"] = {"text/html": link(saved[0])}
            elif "text/html" in data:
                data["text/html"] = PAGE.sub(r"\1", data["text/html"])
        cell.outputs = outputs
    exporter = HTMLExporter(template_name="basic", exclude_input_prompt=True, exclude_output_prompt=True)
    piece = UNWANTED.sub("", exporter.from_notebook_node(notebook)[0])
    alt = f"Figure of notebook {path.stem}"
    piece = piece.replace('alt="No description has been provided for this image"', f'alt="{html.escape(alt)}"')
    return f'<div class="nb">{lowered(piece, level)}</div>'


def markdown_piece(text: str) -> str:
    """Markdown, tables included, as HTML."""
    return re.sub(r"<a class=\"anchor-link\".*?</a>", "", markdown2html(text), flags=re.DOTALL)


def lowered(piece: str, level: int) -> str:
    """The same HTML with its first heading at ``level``, and the others as far below."""
    return re.sub(r"(</?h)([1-6])\b", lambda m: f"{m[1]}{min(6, int(m[2]) + level - 1)}", piece)


def _words(output: dict) -> str:
    """The text of an output, its pictures left aside."""
    shown = [str(value) for kind, value in output.get("data", {}).items() if not kind.startswith("image/")]
    return "\n".join([*shown, str(output.get("text", ""))])
