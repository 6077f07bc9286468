"""Tables for reading and for other programs: accessible HTML, and CSV.

Nothing is computed here. The CSV of a table holds full precision (the shortest decimals that read back to the
same number), its HTML the figures as a journal prints them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from jinja2 import Environment
from markupsafe import Markup, escape

from analysis_lib.common.files import replacing, write_text
from analysis_lib.common.formatting import NOT_AVAILABLE, absent, format_count, format_p, format_ratio
from analysis_lib.figures.style import SYNTHETIC_LABEL, need_columns

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>
body { font-family: Arial, "DejaVu Sans", sans-serif; margin: 2rem auto; max-width: 64rem; padding: 0 1rem;
  color: #111; background: #fff; line-height: 1.4; }
.synthetic { border: 2px solid #8c3a00; color: #8c3a00; font-weight: bold; padding: .5rem 1rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; border-top: 2px solid #111; border-bottom: 2px solid #111; }
caption { text-align: left; padding-bottom: .75rem; }
th, td { padding: .3rem .8rem; text-align: left; vertical-align: top; font-variant-numeric: tabular-nums; }
thead th { border-bottom: 1px solid #111; vertical-align: bottom; }
tbody th { font-weight: normal; }
tbody tr:nth-child(even) { background: #f5f5f5; }
</style>
</head>
<body>
<h1>{{ title }}</h1>
{% if synthetic %}<p class="synthetic" role="note">{{ label }}</p>
{% endif %}<div class="scroll" role="region" aria-label="{{ title }}" tabindex="0">
{{ table }}
</div>
</body>
</html>
"""
_TABLE = """<table>
{% if caption is not none %}<caption>{{ caption }}</caption>
{% endif %}<thead>
<tr>{% for name in columns %}<th scope="col">{{ name }}</th>{% endfor %}</tr>
</thead>
<tbody>
{% for row in rows %}{% if loop.index0 == on_paper %}<tr class="paper"><td colspan="{{ columns|length }}">
{{- rows|length - on_paper }} more rows on the screen and in the CSV.</td></tr>
{% endif %}<tr{% if on_paper is not none and loop.index0 >= on_paper %} class="screen"{% endif %}>
{%- for cell in row %}{% if loop.index0 < row_headers %}<th scope="row">{{ cell }}</th>
{%- else %}<td>{{ cell }}</td>{% endif %}{% endfor %}</tr>
{% endfor %}{% if total > rows|length %}<tr><td colspan="{{ columns|length }}">
{{- total - rows|length }} more rows in the CSV.</td></tr>
{% endif %}</tbody>
</table>"""


def table2_for_reading(table2: pd.DataFrame, sets: Mapping[str, str], definitions: Mapping[str, str]) -> pd.DataFrame:
    """Table 2 as the letter prints it: a row a definition; for each set N (%), then HR (interval) and P.

    ``table2`` has the columns of table2.csv (set, definition, outcome, n, n_sarcopenic, prevalence as a
    fraction, hr, hr_low, hr_high, p) and, to be shown behind them, p_logrank, events_sarcopenic and events;
    ``sets`` and ``definitions`` give the labels and the order. An outcome that a set lacks gets no column.
    ValueError for a missing column.
    """
    need_columns(
        table2,
        ["set", "definition", "outcome", "n_sarcopenic", "prevalence", "hr", "hr_low", "hr_high", "p"],
        "table 2",
    )
    columns: dict[str, list[str]] = {"Definition": list(definitions.values())}
    for name, label in sets.items():
        mine = table2[table2["set"] == name]
        first = mine.drop_duplicates("definition").set_index("definition")
        columns[f"{label}: N (%)"] = [
            format_count(first.loc[d, "n_sarcopenic"], first.loc[d, "prevalence"])
            if d in first.index and not absent(first.loc[d, "prevalence"])
            else NOT_AVAILABLE
            for d in definitions
        ]
        for outcome in sorted(mine["outcome"].unique(), reverse=True):  # RFS before OS, as printed
            part = mine[mine["outcome"] == outcome].set_index("definition")
            columns[f"{label}: {outcome}, HR (CI)"] = [_hr_and_p(part, d) for d in definitions]
    return pd.DataFrame(columns)


def _hr_and_p(part: pd.DataFrame, definition: str) -> str:
    if definition not in part.index or absent(part.loc[definition, "hr"]):
        return NOT_AVAILABLE
    row = part.loc[definition]
    text = f"{format_ratio(row['hr'], row['hr_low'], row['hr_high'])} {format_p(row['p'])}"
    if "p_logrank" in part:
        text += f", log-rank {format_p(row['p_logrank'])}; {row['events_sarcopenic']:.0f} / {row['events']:.0f}"
    return text


def to_html(frame: pd.DataFrame, title: str, caption: str, synthetic: bool, row_headers: int = 1) -> str:
    """A self-contained HTML page with one table, as of ``html_table``.

    A synthetic table says so in a banner and in its caption, so that a copied table says it too.
    """
    said = f"{caption} {SYNTHETIC_LABEL}." if synthetic else caption
    template = Environment(autoescape=True, keep_trailing_newline=True).from_string(_PAGE)
    return template.render(
        title=title, synthetic=synthetic, label=SYNTHETIC_LABEL, table=html_table(frame, row_headers, said)
    )


def html_table(
    frame: pd.DataFrame,
    row_headers: int = 1,
    caption: str | None = None,
    most_rows: int | None = None,
    on_paper: int | None = None,
    unbroken: bool = False,
) -> Markup:
    """A table in HTML; the first ``row_headers`` columns name the rows.

    Text is shown as it is, numbers that nobody formatted with three significant digits, what is missing as 'NA'. Rows
    beyond ``on_paper`` have the class screen, those beyond ``most_rows`` are left out, and a row says how many.
    ``unbroken`` keeps an interval on one line (class nb).
    """
    show = _unbroken if unbroken else _cell
    rows = [[show(value) for value in row] for row in frame.head(most_rows).itertuples(index=False, name=None)]
    template = Environment(autoescape=True).from_string(_TABLE)
    return Markup(
        template.render(
            columns=[str(c) for c in frame.columns],
            rows=rows,
            row_headers=row_headers,
            caption=caption,
            total=len(frame),
            on_paper=on_paper,
        )
    )


def write_table(
    frame: pd.DataFrame,
    folder: Path,
    name: str,
    title: str,
    caption: str,
    synthetic: bool,
    reading: pd.DataFrame | None = None,
    row_headers: int = 1,
) -> Path:
    """Write ``name.csv`` (``frame``) and ``name.html`` (``reading``, its formatted form, or ``frame``).

    Returns the path of the CSV.
    """
    path = write_csv(frame, folder, name)
    shown = frame if reading is None else reading
    write_text(path.with_suffix(".html"), to_html(shown, title, caption, synthetic, row_headers))
    return path


def write_csv(frame: pd.DataFrame, folder: Path, name: str) -> Path:
    """Write ``name.csv`` without the index; floats keep full precision, what is missing is empty."""
    path = Path(folder) / f"{name}.csv"
    with replacing(path) as temporary:
        frame.to_csv(temporary, index=False, lineterminator="\n")
    return path


def _cell(value: object) -> str:
    if absent(value):
        return NOT_AVAILABLE
    if isinstance(value, list):
        return ", ".join(map(_cell, value)) or "none"
    if isinstance(value, float):
        whole = math.isfinite(value) and value == int(value)
        return f"{value:.0f}" if whole else f"{value:.3g}"
    return str(value)


def _unbroken(value: object) -> str:
    """The cell's text with each word that holds a dash, as '(0.65–0.81)', in a span that does not break."""
    words = (escape(word) for word in _cell(value).split(" "))
    span = Markup('<span class="nb">{}</span>')
    return Markup(" ").join(span.format(word) if "–" in word else word for word in words)
