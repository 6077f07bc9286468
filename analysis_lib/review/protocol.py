"""make protocol: what a study will ask, how, and what would count as reproduced, to be signed before anybody looks.

``figures/<study>/protocol.md`` is written from the parameters and the printed numbers alone. It holds the parameters
as resolved and hashes of the code, so that a later run says itself what has moved since.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment

from analysis_lib.common.errors import StudyError
from analysis_lib.common.files import file_hash, write_text
from analysis_lib.common.formatting import absent, format_estimate, significance
from analysis_lib.core.parameters import Params, load_params
from analysis_lib.core.project import Study
from analysis_lib.core.question_params import subset_text
from analysis_lib.results.hypotheses import hypotheses
from analysis_lib.results.published import printed_numbers
from analysis_lib.review.methods import methods
from analysis_lib.review.record import code_hashes

NAME = "protocol.md"
SIGNATURE = "## Signed"
TEMPLATE = Path(__file__).with_name("protocol.md.j2")
SAVED = (
    "Nothing is trained. A saved model, named at the signature, gives each patient a risk and probabilities of "
    "survival; its cut-off makes the risk groups."
)
ROLES = {
    "discovery": "split into training and internal test",
    "train": "trained on as a whole",
    "test": "never trained on",
}


class ProtocolError(StudyError):
    """A signed protocol would be overwritten, or cannot be read; the message says what to do."""


def write_protocol(study: Study) -> str:
    """Write the protocol of a study, unless one of these parameters and this code is there; say what was done.

    Raises ProtocolError where a signed one is of other parameters.
    """
    path, now = study.figures / NAME, _basis(study)
    there = path.is_file()
    moved = _moved(_read(path)[0], now) if there else []
    if there and (not moved or signed(path)):
        kept = signed(path)
        if any(not line.startswith("code: ") for line in moved):
            raise ProtocolError(
                f"{study.project.name_of(path)} is signed ({kept}) and of other parameters: {'; '.join(moved)}. Put "
                "them back, or name a new study with a protocol of its own; a signed one is not written again"
            )
        return f"{study.project.name_of(path)} stands as it is{f', signed {kept}' if kept else ''}"
    text = _text(study, now)
    saved = "" if study.params.cohort.trained or not study.params.radiomics else "\nSaved model (its SHA256SUMS):\n"
    digest = hashlib.sha256(text.encode()).hexdigest()
    end = f"SHA-256 of everything above: `{digest}`\n\nName:\n\nDate:\n\nCentre:\n{saved}"
    write_text(path, f"{text}{SIGNATURE}\n\n{end}")
    return f"written: {study.project.name_of(path)}; sign it at its end before anybody looks at an outcome"


def standing(study: Study, run: dict) -> list[str]:
    """How a run stands to its study's protocol, a sentence each; none where no protocol was written."""
    path = study.figures / NAME
    if not path.is_file():
        return []
    try:
        before, whole = _read(path)
    except ProtocolError as error:
        return [str(error)]
    files = _basis(study)["files"]
    now = {"parameters": _parameters(run["parameters"]), "files": files, "code": _code(run["code"])}
    moved, name = _moved(before, now), f"protocol ({f'signed {signed(path)}' if signed(path) else 'not signed'})"
    lines = [] if whole else [f"{name}: its text is not as it was written, the hash at its end is of another"]
    values = [line for line in moved if not line.startswith("code: ")]
    found = f"parameters of the run that have moved since: {len(values)}" if values else "the run has its parameters"
    lines.append(f"{name}: {found}")
    return lines + [f"moved since the protocol: {line}" for line in moved]


def signed(path: Path) -> str:
    """The date at which a protocol was signed, as it stands there; "" unless name and date are filled in."""
    end = path.read_text(encoding="utf-8").rpartition(SIGNATURE)[2]
    found = [re.search(rf"^{word}:[ \t]*(\S.*?)\s*$", end, re.MULTILINE) for word in ("Name", "Date")]
    return found[1][1] if all(found) and found[1] else ""


def _basis(study: Study) -> dict[str, Any]:
    """What the protocol is of: parameters as resolved, the files that they name, the code."""
    files = {*study.parameter_files.values(), study.project.params_dir / f"{study.params.published}.yaml"}
    return {
        "parameters": _parameters(study.params.model_dump(mode="json")),
        "files": {study.project.name_of(path): file_hash(path) for path in sorted(files) if path.is_file()},
        "code": _code(code_hashes(study.project)),
    }


def _parameters(values: dict) -> dict:
    return {name: value for name, value in values.items() if name != "workers"}  # it changes no result


def _code(hashes: dict) -> dict:
    return {name: value for name, value in hashes.items() if name != "params"}  # other studies' files are there too


def _read(path: Path) -> tuple[dict, bool]:
    """What a protocol is of, and whether its text is as it was written."""
    text, _, end = path.read_text(encoding="utf-8").rpartition(SIGNATURE)
    block, digest = re.search(r"```json\n(.*?)```", text, re.DOTALL), re.search(r"`([0-9a-f]{64})`", end)
    try:
        basis = json.loads(block[1] if block else "")
        basis = {part: basis[part] for part in ("parameters", "files", "code")}
    except (ValueError, KeyError, TypeError):
        raise ProtocolError(f"{path.name} holds no parameters any more; move it away, then make protocol") from None
    return basis, digest is not None and hashlib.sha256(text.encode()).hexdigest() == digest[1]


def _moved(before: dict, now: dict) -> list[str]:
    """What differs: 'network.l2: 0.1 in the protocol, 0.2 now'; code at the end."""
    lines = []
    for part in ("parameters", "files", "code"):
        old, new = _flat(before[part]), _flat(now[part])
        for name in sorted({*old, *new}):
            values = [
                json.dumps(side[name], ensure_ascii=False) if name in side else "not there" for side in (old, new)
            ]
            if values[0] != values[1]:
                said = f"{values[0]} in the protocol, {values[1]} now" if part == "parameters" else "has changed"
                lines.append(f"{'code: ' if part == 'code' else ''}{name}: {said}")
    return lines


def _flat(values: dict, prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) and value else {f"{prefix}{name}": value}
    return flat


# ---- the document --------------------------------------------------------------------------------------------


def _text(study: Study, basis: dict) -> str:
    params = study.params
    printed, s = printed_numbers(params.published, params.endpoint), params.statistics
    usual = load_params("defaults").definitions

    def cut_off(key: str, sex: str) -> str:
        value = getattr(params.definitions[key], sex)
        given = getattr(usual[key], sex) if key in usual else value
        return f"{value:g}" if value == given else f"{value:g} (published {given:g})"

    block = json.dumps(basis, indent=1, ensure_ascii=False)
    template = Environment(trim_blocks=True, lstrip_blocks=True).from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(
        params=params,
        s=s,
        doi=printed["doi"],
        seen=_seen(study),
        note=study.note,
        horizons=", ".join(f"{month:g} months" for month in s.horizons_months),
        subset=subset_text(params.subset),
        roles=ROLES,
        cut_off=cut_off,
        level=f"{significance(s.confidence):g}",
        power=f"{params.multiverse.power_wanted:.0%}",
        hypotheses=_hypotheses(params, hypotheses(params, printed)),
        methods=_methods(params),
        block=block,
        block_hash=hashlib.sha256(block.encode()).hexdigest(),
    )


def _seen(study: Study) -> str:
    """Which results of these patients were there already: 'standin (run of ...)', the study's own or another's."""
    found = []
    for path in sorted(study.project.root.glob("build/*/run.json")):
        run = json.loads(path.read_text(encoding="utf-8"))
        if study.project.root / (run["parameters"]["data_dir"] or f"data/{run['study']}") == study.data:
            found.append(f"{run['study']} (run of {run['finished']})")
    if any(study.figures.glob("*.csv")) and not (study.build / "run.json").is_file():
        found.append(f"{study.name} (not finished)")
    return ", ".join(found)


def _hypotheses(params: Params, rows: pd.DataFrame) -> list[dict]:
    """Each hypothesis with the rows of its table: set, outcome, printed numbers, events needed, "" where not known."""
    found = []
    for key, part in rows.groupby(["hypothesis", "statement", "estimand", "test"], sort=False):
        cells = []
        for r in part.itertuples():
            digits = 3 if "C-index" in r.estimand else 2
            text = format_estimate(r.published, r.published_low, r.published_high, digits)
            said = [text.replace(" (NA–NA)", "")]
            said += (
                []
                if absent(r.published_p)
                else [f"P={r.published_p:.2f}" if round(r.published_p, 2) == r.published_p else f"P={r.published_p:g}"]
            )
            said += [f"of {r.of}"] if r.of else []
            needed = "" if absent(r.events_needed) else f"{r.events_needed:.0f}"
            cells.append(
                (params.cohort.label(r.set), r.outcome, "" if absent(r.published) else ", ".join(said), needed)
            )
        found.append(dict(zip(("name", "statement", "estimand", "test"), key, strict=True)) | {"rows": cells})
    return found


def _methods(params: Params) -> list[tuple[str, str]]:
    said = methods(params, None, params.features.expected_count)
    return said if params.cohort.trained else [(h, SAVED if h == "Model" else t) for h, t in said if h != "Radiomics"]
