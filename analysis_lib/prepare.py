"""What make asks at every run, so nothing heavy is imported: the parameters by section, and the list of inputs."""

from __future__ import annotations

import json

from analysis_lib.artefacts import notebooks_to_run_again
from analysis_lib.files import write_text_if_changed
from analysis_lib.params import Params, write_sections


def prepare(params: Params) -> None:
    """Write the resolved parameters by section and forget executed notebooks whose outputs are gone."""
    folder = params.build_path / "params"
    write_sections(params, folder)
    # For what depends on which definitions there are and not on their cut-offs.
    write_text_if_changed(folder / "definition_names.json", json.dumps(list(params.definitions)) + "\n")
    for notebook in notebooks_to_run_again(params):
        notebook.unlink()


def list_inputs(params: Params) -> None:
    """Write ``inputs.txt``: each input file with size and time, so that make sees when one changed."""
    lines = []
    for path in sorted(params.data_path.rglob("*")):
        if path.is_file() and path.name != "truth.csv" and not path.name.startswith("."):
            status = path.stat()
            lines.append(f"{path.relative_to(params.data_path)}\t{status.st_size}\t{status.st_mtime_ns}\n")
    write_text_if_changed(params.build_path / "inputs.txt", "".join(lines))
