"""The page of ``make check``: what was found for each patient, and a contact sheet of the L3 slices."""

# ruff: noqa: E501 (lines of HTML)
from __future__ import annotations

import base64
import io

import numpy as np
import pandas as pd
from jinja2 import Environment
from PIL import Image

from analysis_lib.core.parameters import CohortParams
from analysis_lib.figures.style import ORANGE, SKY, SYNTHETIC_LABEL

WINDOW_HU = (-160.0, 240.0)  # width 400, level 40: soft tissue
WIDTH_PX = 260
OUTLINES = {"sm": ORANGE, "pm": SKY}
FILLED = {"level": "#ffffff", "fault": "#ff2020"}

_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Check of {{ study }}</title><style>
body { font-family: Arial, "DejaVu Sans", sans-serif; margin: 1.5rem auto; max-width: 90rem; padding: 0 1rem; color: #111;
  line-height: 1.4; }
.note { border: 2px solid #8c3a00; color: #8c3a00; font-weight: bold; padding: .5rem 1rem; }
table { border-collapse: collapse; width: 100%; font-size: .85rem; }
th, td { text-align: left; vertical-align: top; padding: .25rem .6rem; border-bottom: 1px solid #ccc;
  overflow-wrap: anywhere; }
th { white-space: nowrap; }
.refused { background: #fbe3d6; } .warning { background: #fff6d6; }
.sheet { display: flex; flex-wrap: wrap; gap: .6rem; } figure { margin: 0; width: {{ width }}px; }
figure img { display: block; width: 100%; background: #000; } figcaption { font-size: .8rem; overflow-wrap: anywhere; }
figure.warning { outline: 3px solid #c9a200; background: none; } figure.refused { outline: 3px solid #b03a00; }
code { background: #eee; padding: .2rem .4rem; font-size: 1rem; }
</style></head><body>
<h1>Check of {{ study }}</h1>
{% if synthetic %}<p class="note" role="note">{{ label }}</p>{% endif %}
<p><strong>{{ usable }} of {{ rows|length }} patients can be analysed</strong>; {{ refused }} cannot; {{ warned }} have a
warning. Nothing was computed yet.</p>
{% if identity %}<p class="note" role="note">The DICOM headers of {{ identity }} patients say who they are. No output shows
it, but de-identify the files before you pass them on.</p>{% endif %}
<table><caption>Patients by set</caption><thead><tr><th scope="col">Set</th><th scope="col">Role</th>
<th scope="col">Can be analysed</th><th scope="col">Refused</th></tr></thead><tbody>
{% for s in sets %}<tr><th scope="row">{{ s[0] }}</th><td>{{ s[1] }}</td><td>{{ s[2] }}</td><td>{{ s[3] }}</td></tr>
{% endfor %}</tbody></table>
{% for remark in remarks %}<p class="warning">{{ remark }}.</p>
{% endfor %}{% if refused or warned %}<h2>To mend or to look at</h2>
<table><thead><tr><th scope="col">Patient</th><th scope="col">Set</th><th scope="col">What</th>
<th scope="col">Why, and what to do</th></tr></thead><tbody>
{% for r in rows if r.status != "ok" %}<tr class="{{ r.status }}"><th scope="row">{{ r.patient_id }}</th><td>{{ r.set }}</td>
<td>{{ r.status }}</td><td>{{ r.reason or r.warnings }}</td></tr>
{% endfor %}</tbody></table>{% endif %}
{% if flags %}<h2>Flags of the measurement</h2>
<p>Whoever is flagged has a warning above and a frame around the picture below, with what is at fault in red.</p>
<table><thead><tr><th scope="col">Flag</th><th scope="col">Number</th><th scope="col">Patients flagged</th>
<th scope="col">Of</th><th scope="col">Values</th><th scope="col">Flagged where</th></tr></thead><tbody>
{% for f in flags %}<tr{% if f.patients %} class="warning"{% endif %}><th scope="row">{{ f.flag }}</th><td>{{ f.number }}</td><td>{{ f.patients }}</td>
<td>{{ f.of }}</td><td>{{ f["values"] }}</td><td>{{ f.limit }}</td></tr>
{% endfor %}</tbody></table>{% endif %}
{% if not pictures %}<p>No image was read: there is no slice to look at.</p>{% else %}<h2>L3 slices</h2>
<p>Window 400, level 40 HU. <span style="color:#8a5a00">Orange: SM, skeletal muscle.</span>
<span style="color:#00577f">Blue: PM, psoas muscle.</span> <span style="color:#b00000">Red: what is flagged</span> (on
the arms, outside the body, at the edge of the field of view; the midline where the sides are unlike; beside a white bar, the
vertebra, where the slice lies). The patient's right is on the left. Look for slices that are not
L3 and outlines that are off. Of who is refused, what could be read: mask and CT, or one of them alone.</p>
<div class="sheet">
{% for r in rows if pictures.get(r.patient_id) %}<figure class="{{ r.status }}"><img loading="lazy"
src="{{ pictures[r.patient_id] }}" alt="L3 slice of {{ r.patient_id }} with its outlines">
<figcaption><strong>{{ r.patient_id }}</strong> {{ r.set }}; {% if r.status == "refused" %}refused{% else %}slice {{ r.slices }}; {{ r.segments }}{% endif %}{% if r.flags %};
<strong>{{ r.flags }}</strong>{% endif %}</figcaption></figure>
{% endfor %}</div>
<h2>What was chosen</h2>
<table><thead><tr><th scope="col">Patient</th><th scope="col">CT series</th><th scope="col">Series UID</th>
<th scope="col">Slices (0 = most caudal)</th><th scope="col">Segments</th></tr></thead><tbody>
{% for r in rows if r.status != "refused" %}<tr><th scope="row">{{ r.patient_id }}</th><td>{{ r.series }}</td>
<td>{{ r.series_uid }}</td><td>{{ r.slices }}</td><td>{{ r.segments }}</td></tr>
{% endfor %}</tbody></table>{% endif %}
<h2>The clinical table as read</h2>
<p>Of the patients whose row can be used. A wrong unit or code that no rule can know shows here.</p>
<table><thead><tr><th scope="col">Column</th><th scope="col">Unit or codes</th><th scope="col">Patients with a value</th>
<th scope="col">Values</th></tr></thead><tbody>
{% for c in columns %}<tr><th scope="row">{{ c.column }}</th><td>{{ c.unit }}</td><td>{{ c.known }}</td><td>{{ c["values"] }}</td></tr>
{% endfor %}</tbody></table>
<h2>How to go on</h2>
{% if usable %}<p>{% if refused %}Mend what is listed above and check again, or go on without these patients: {% else %}Run:
{% endif %}<code>{{ command }}</code></p>
{% else %}<p>Nobody can be analysed. Mend what is listed above, then <code>make check STUDY={{ study }}</code></p>{% endif %}
</body></html>
"""


def check_page(
    table: pd.DataFrame, pictures: dict[str, str], study: str, cohort: CohortParams, identity: int, synthetic: bool,
    remarks: list[str], columns: pd.DataFrame, flags: pd.DataFrame | None = None,
) -> str:  # fmt: skip
    """One self-contained HTML page of the rows of check.csv and of pictures (data URIs) by patient_id.

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
    return (
        Environment(autoescape=True, keep_trailing_newline=True)
        .from_string(_PAGE)
        .render(
            study=study, rows=table.to_dict("records"), pictures=pictures, sets=sets, usable=int((~refused).sum()),
            refused=int(refused.sum()), warned=int((table["status"] == "warning").sum()), identity=identity,
            remarks=remarks, columns=columns.to_dict("records"), synthetic=synthetic, label=SYNTHETIC_LABEL,
            width=WIDTH_PX, flags=[] if flags is None else flags.to_dict("records"),
            command=cohort.command(study),
        )
    )  # fmt: skip


def thumbnail(
    hounsfield: np.ndarray,
    masks: dict[str, np.ndarray],
    spacing: tuple[float, float],
    overlay: dict[str, np.ndarray] | None = None,
) -> str:
    """A JPEG data URI of one slice with outlines; arrays (row, column), spacing (row, column) in mm.

    ``overlay``: pixels "fault" and "level" that are filled, however few.
    """
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
