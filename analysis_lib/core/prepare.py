"""What make asks at every run: the parameters by section, and the list of inputs.

Nothing heavy is imported but PyRadiomics, and this only when the feature parameters changed.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from analysis_lib.common.code import code_of_modules, modules_of_notebook
from analysis_lib.common.files import remove_leftovers, write_text_if_changed
from analysis_lib.common.keep import hash_of
from analysis_lib.core.artefacts import ask_again
from analysis_lib.core.parameters import SYNTHETIC_NOTE, write_sections
from analysis_lib.core.project import Project, Study
from analysis_lib.core.written import stages_to_repeat

# The module that does each stage. By name, for nothing of it is loaded here.
STAGES = {
    "cohort": "analysis_lib.standin.make",
    "measure": "analysis_lib.stages.measure",
    "features": "analysis_lib.stages.features",
    "assemble": "analysis_lib.stages.assemble",
    "exclusions": "analysis_lib.stages.assemble",
    "stability": "analysis_lib.stages.stability",
    "optimism": "analysis_lib.stages.optimism",
}


def prepare(study: Study) -> None:
    """Write the resolved parameters by section and ask again for what is gone or damaged.

    What killed runs left behind goes. The results' folder gets a README.txt that says what the data are: tables with
    fixed columns cannot say so.
    """
    params, folder = study.params, study.build / "params"
    for place in (study.build, folder, study.build / "notebooks", study.figures):
        remove_leftovers(place)
    _check_features(study, folder / "features.checked")
    write_sections(params, folder)
    # For what depends on which definitions there are and not on their cut-offs.
    write_text_if_changed(folder / "definition_names.json", json.dumps(list(params.definitions)) + "\n")
    write_text_if_changed(folder / "drawn_to.json", json.dumps(drawn_to(study)) + "\n")
    note = f"{SYNTHETIC_NOTE}\n" if params.synthetic else ""
    write_text_if_changed(
        study.figures / "README.txt",
        f"{params.heading}\n{note}Tables and figures written by: {params.cohort.command(study.name)}\n",
    )
    ask_again(study, STAGES, stages_to_repeat(study))


def drawn_to(study: Study) -> dict[str, dict]:
    """What the study's synthetic patients are drawn to of the published definitions, whatever its own are."""
    params = study.params
    if params.standin is None or params.data_dir:
        return {}
    names = {name for part in params.standin.sets.values() for name in part.sarcopenic}
    published, columns = study.project.params("defaults").definitions, {"column", "men", "women", "bmi_classes"}
    return {name: d.model_dump(include=columns) for name, d in published.items() if name in names}


def write_code(project: Project, folder: Path) -> None:
    """Write what code each stage and notebook runs into ``folder``, a file each that changes only when the code does.

    The Makefile's rules depend on these files, so that what runs again is what uses a changed module, and nothing else.
    """
    used = {stage: [module] for stage, module in STAGES.items()}
    for path in sorted(project.notebooks.glob("[0-9]*.ipynb")):
        used[path.stem] = [*modules_of_notebook(path), "analysis_lib.core.notebooks"]
    for name, modules in used.items():
        write_text_if_changed(folder / f"{name}.txt", "\n".join(code_of_modules(*modules)) + "\n")


def _check_features(study: Study, stamp: Path) -> None:
    """Stop at once for feature parameters that the extraction, which comes late, would refuse."""
    params, files = study.params, study.parameter_files
    contents = {roi: path.read_bytes() if path.is_file() else None for roi, path in files.items()}
    key = hash_of(params.features, contents, code_of_modules("analysis_lib.radiomics.parameter_files"))
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == key:
        return
    from analysis_lib.radiomics.parameter_files import check_parameter_files

    usual = (
        (study.project.params_dir / "feature_names.txt").read_text(encoding="utf-8").split()
    )  # those of params/defaults.yaml
    check_parameter_files(files, params.features.expected_count, usual)
    write_text_if_changed(stamp, key)


def input_files(study: Study) -> list[Path]:
    """Every file of the study's data folder, in order, but the truth of synthetic patients, which no result may use."""
    files = []
    for path in sorted(study.data.rglob("*")):
        parts = path.relative_to(study.data).parts
        hidden = any(part.startswith(".") for part in parts)  # stamps, and what is being written
        if path.is_file() and path.name != "truth.csv" and not hidden:
            files.append(path)
    return files


def list_inputs(study: Study) -> None:
    """Write ``inputs.txt``, which changes when an input file does, so that make sees it, and ``feature_inputs.txt``.

    The second is of the table of features alone, for which no index is measured again. Each holds a hash of each file's
    path, size and time and no path: the name of a file may be a person's.
    """
    files = input_files(study)
    table = [path for path in files if study.params.features.table and path == study.feature_file]
    for name, listed in (("inputs", [path for path in files if path not in table]), ("feature_inputs", table)):
        digest = hashlib.blake2b(digest_size=16)
        for path in listed:
            status = path.stat()
            line = f"{path.relative_to(study.data)}\t{status.st_size}\t{status.st_mtime_ns}\n"
            digest.update(line.encode("utf-8", "surrogateescape"))
        write_text_if_changed(study.build / f"{name}.txt", f"{len(listed)} files, {digest.hexdigest()}\n")
