"""make explore: notebook 08 as a page that has run already when it opens, its code folded and its sliders alive."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import analysis_lib  # noqa: F401  first, since it pins the kernels of NumPy

# isort: split
import nbformat
from jupyterlab.labapp import LabApp  # type: ignore[import-untyped]
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from analysis_lib.core.project import CHECKOUT

NEWS = "@jupyterlab/apputils-extension:announcements"
SOURCE = Path("notebooks") / "08_explore.ipynb"


async def run_first(server: Any, page: str) -> None:
    """Run the notebook in a session of the server, and save it as ``page``: whoever opens that meets the same kernel.

    So the widgets of the page are alive, and no cell waits for 'Run All'.
    """
    notebook = nbformat.read(CHECKOUT / SOURCE, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    title, *texts = (cell for cell in notebook.cells if cell.cell_type != "code")
    panel = code[-1]  # all code in one fold, so that the panel stands at the top
    panel.source = "\n\n".join(cell.source for cell in code)
    panel.metadata.update({"jupyter": {"source_hidden": True}, "trusted": True})
    notebook.cells = [title, panel, *texts]
    folder = (CHECKOUT / page).parent
    folder.mkdir(parents=True, exist_ok=True)
    about = {"path": page, "name": Path(page).name, "type": "notebook", "kernel_name": "python3"}
    session = await server.session_manager.create_session(**about)
    kernel = server.kernel_manager.get_kernel(session["kernel"]["id"])
    await NotebookClient(notebook, km=kernel, store_widget_state=False).async_execute()
    server.init_signal()  # the client took the handlers of Ctrl-C and of an end for its own, and left none
    await server.contents_manager.save({"type": "notebook", "format": "json", "content": notebook}, page)


def _without_news(_: Any, page: dict[str, Any]) -> dict[str, Any]:
    """The page asks nobody whether Jupyter's news may be fetched."""
    return page | {"disabledExtensions": [*page.get("disabledExtensions", []), NEWS]}


def main(arguments: list[str]) -> int:
    """Serve the study that EXPLORE_STUDY names; ``arguments`` are JupyterLab's."""
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"  # a kernel of the same name at home is not the study's
    page = f"build/{os.environ.get('EXPLORE_STUDY', 'standin')}/explore.ipynb"
    where = [f"--ServerApp.root_dir={CHECKOUT}", "--ip=127.0.0.1", f"--LabApp.default_url=/doc/tree/{page}"]
    server = LabApp.initialize_server([*where, *arguments])
    server.web_app.settings["page_config_hook"] = _without_news
    try:
        server.io_loop.run_sync(lambda: run_first(server, page))
    except CellExecutionError as error:
        print(f"error: {SOURCE} stops: {error.ename}: {error.evalue}", file=sys.stderr)
        return 2
    server.start()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
