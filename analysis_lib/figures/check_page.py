"""The page of ``make check``: what was found for each patient, and a contact sheet of the L3 slices."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from jinja2 import Environment
from markupsafe import Markup
from PIL import Image

from analysis_lib.core.parameters import CohortParams
from analysis_lib.figures.style import ORANGE, SKY, SYNTHETIC_LABEL

WINDOW_HU = (-160.0, 240.0)  # width 400, level 40: soft tissue
BATCH = 60  # slices that the page makes at a time
WIDTH_PX = 440  # of a slice cut to the body
OUTLINES = {"sm": ORANGE, "pm": SKY}
FILLED = {"level": "#ffffff", "fault": "#ff2020"}
TEMPLATE = Path(__file__).with_name("check_page.html.j2")


def check_page(
    table: pd.DataFrame, pictures: dict[str, str], study: str, cohort: CohortParams, identity: int, synthetic: bool,
    remarks: list[str], columns: pd.DataFrame, flags: pd.DataFrame | None = None, reading: pd.DataFrame | None = None,
) -> str:  # fmt: skip
    """One self-contained HTML page of the rows of check.csv and of pictures (data URIs) by patient_id.

    Slices are shown by its script, BATCH at a time; the pictures past the first BATCH stand behind it, so that the
    first are there at once however many there are. ``reading`` [patient_id, verdict, reason, reader] is what was
    decided before.

    ``identity`` is the number of patients whose headers say who they are; ``remarks`` concern no single patient;
    ``columns`` is the clinical table as read (column, unit, known, values), ``flags`` as of ``ct.flags.flag_table``.
    """
    refused = table["status"] == "refused"
    sets = []
    for name in [*cohort.sets, *(["unknown"] if (table["set"] == "unknown").any() else [])]:
        mine = table["set"] == name
        role = cohort.sets[name].role if name in cohort.sets else ""
        label = cohort.label(name) if name in cohort.sets else "Set unknown"
        sets.append((label, role, int((mine & ~refused).sum()), int((mine & refused).sum())))
    tiles, later = _tiles(table, pictures, reading)
    return (
        Environment(autoescape=True, keep_trailing_newline=True)
        .from_string(TEMPLATE.read_text(encoding="utf-8"))
        .render(
            study=study, rows=table.to_dict("records"), pictures=pictures, sets=sets, usable=int((~refused).sum()),
            refused=int(refused.sum()), warned=int((table["status"] == "warning").sum()), identity=identity,
            remarks=remarks, columns=columns.to_dict("records"), synthetic=synthetic, label=SYNTHETIC_LABEL,
            tiles=tiles, later=later, batch=BATCH, flags=[] if flags is None else flags.to_dict("records"),
            command=cohort.command(study),
        )
    )  # fmt: skip


def _tiles(table: pd.DataFrame, pictures: dict[str, str], reading: pd.DataFrame | None) -> tuple[Markup, Markup]:
    """What the script shows, and the pictures past the first BATCH in its order; JSON that no text in it can end."""
    said = {} if reading is None else reading.set_index("patient_id").to_dict("index")
    numbers = {"sm": "sm_area_cm2", "smi": "smi", "hu": "sm_mean_hu", "pm": "pm_area_cm2", "pmi": "pmi"}
    numbers |= {"pmhu": "pm_mean_hu", "z": "outlier_z"}
    tiles: list[dict[str, object]] = []
    later: list[str] = []
    for row in table[table["patient_id"].map(lambda name: bool(pictures.get(name)))].to_dict("records"):
        uri = pictures[row["patient_id"]]
        with Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as image:
            width, height = image.size
        known = {
            key: None
            if (value := row.get(column, "")) == "" or pd.isna(value)
            else round(float(value), 2 if key == "z" else 1)
            for key, column in numbers.items()
        }
        tile = {"id": row["patient_id"], "w": width, "h": height, "why": row["reason"] or row["warnings"]}
        tile |= {key: row[key] for key in ("set", "status", "series", "slices", "segments")} | known
        tile |= {"flags": [text for text in row["flags"].split("; ") if text], "said": said.get(row["patient_id"])}
        tiles.append(tile | ({"img": uri} if len(tiles) < BATCH else {}))
        if "img" not in tiles[-1]:
            later.append(uri)
    return _json(tiles), _json(later)


def _json(value: Sequence[object]) -> Markup:
    return Markup(json.dumps(value, ensure_ascii=False).replace("</", "<\\/"))


def thumbnail(
    hounsfield: np.ndarray,
    masks: dict[str, np.ndarray],
    spacing: tuple[float, float],
    overlay: dict[str, np.ndarray] | None = None,
    box: tuple[slice, slice] | None = None,
) -> str:
    """A JPEG data URI of one slice with outlines; arrays (row, column), spacing (row, column) in mm.

    ``overlay``: pixels "fault" and "level" that are filled, however few; ``box``: rows and columns that are shown.
    """
    if box is not None:
        hounsfield, masks = hounsfield[box], {key: mask[box] for key, mask in masks.items()}
        overlay = {key: pixels[box] for key, pixels in (overlay or {}).items()}
    rows, columns = hounsfield.shape
    size = (WIDTH_PX, max(1, round(WIDTH_PX * rows * spacing[0] / (columns * spacing[1]))))
    low, high = WINDOW_HU
    grey = np.clip((hounsfield.astype(float) - low) / (high - low), 0, 1) * 255
    picture = np.asarray(
        Image.fromarray(grey.astype(np.uint8)).resize(size, Image.Resampling.BOX).convert("RGB")
    ).copy()
    for key, mask in masks.items():
        small = np.asarray(Image.fromarray(mask.astype(np.uint8) * 255).resize(size, Image.Resampling.BOX)) > 127
        colour = OUTLINES[key].lstrip("#")
        picture[small & ~_inside(small)] = [int(colour[i : i + 2], 16) for i in (0, 2, 4)]
    for key, pixels in (overlay or {}).items():
        colour = FILLED[key].lstrip("#")
        shown = np.asarray(Image.fromarray(pixels.astype(np.uint8) * 255).resize(size, Image.Resampling.BOX)) > 0
        picture[shown] = [int(colour[i : i + 2], 16) for i in (0, 2, 4)]
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _inside(mask: np.ndarray) -> np.ndarray:
    """Pixels of a mask (row, column) whose four neighbours are in it too."""
    around = np.pad(mask, 1)
    return around[:-2, 1:-1] & around[2:, 1:-1] & around[1:-1, :-2] & around[1:-1, 2:] & mask
