"""What make asks at every run, so nothing heavy is imported: the parameters by section, and the list of inputs."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from analysis_lib.artefacts import ask_again
from analysis_lib.files import remove_leftovers, write_text_if_changed
from analysis_lib.params import Params, write_sections
from analysis_lib.study import SYNTHETIC_NOTE


def prepare(params: Params) -> None:
    """Write the resolved parameters by section and ask again for notebooks whose outputs are gone.

    What killed runs left behind goes. The results' folder gets a README.txt that says what the data are: tables with
    fixed columns cannot say so.
    """
    folder = params.build_path / "params"
    for place in (params.build_path, folder, params.build_path / "notebooks", params.figures_path):
        remove_leftovers(place)
    write_sections(params, folder)
    # For what depends on which definitions there are and not on their cut-offs.
    write_text_if_changed(folder / "definition_names.json", json.dumps(list(params.definitions)) + "\n")
    note = f"{SYNTHETIC_NOTE}\n" if params.synthetic else ""
    write_text_if_changed(
        params.figures_path / "README.txt",
        f"{params.title}\n{note}Tables and figures written by: make study STUDY={params.study}\n",
    )
    ask_again(params)


def input_files(params: Params) -> list[Path]:
    """Every file of the study's data folder, in order, but the truth of synthetic patients, which no result may use."""
    files = []
    for path in sorted(params.data_path.rglob("*")):
        parts = path.relative_to(params.data_path).parts
        hidden = any(part.startswith(".") for part in parts)  # stamps, and what is being written
        if path.is_file() and path.name != "truth.csv" and not hidden:
            files.append(path)
    return files


def list_inputs(params: Params) -> None:
    """Write ``inputs.txt``, which changes when an input file does, so that make sees it.

    It holds a hash of each file's path, size and time and no path: the name of a file may be a person's.
    """
    digest, count = hashlib.blake2b(digest_size=16), 0
    for path in input_files(params):
        status = path.stat()
        line = f"{path.relative_to(params.data_path)}\t{status.st_size}\t{status.st_mtime_ns}\n"
        digest.update(line.encode("utf-8", "surrogateescape"))
        count += 1
    write_text_if_changed(params.build_path / "inputs.txt", f"{count} files, {digest.hexdigest()}\n")
