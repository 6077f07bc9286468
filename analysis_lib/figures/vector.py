"""Figures as SVG: lines and letters stay sharp at any size, and the same figure gives the same bytes."""

from __future__ import annotations

import io
import re

import matplotlib
from matplotlib.figure import Figure


def svg_text(fig: Figure) -> str:
    """The figure as one ``<svg>`` element, letters as outlines, so that no font is asked for; sizes in its viewBox."""
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "analysis_lib", "svg.fonttype": "path"}):
        fig.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()[buffer.getvalue().index("<svg") :]
    return re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
