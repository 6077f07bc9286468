"""Contrast phase of an abdominal CT, from the HU of aorta and kidneys or from words of the DICOM header."""

from __future__ import annotations

import re

import numpy as np

from analysis_lib.ct.settings import PhaseParams

# Of series descriptions in English, German and French, blanks for all signs.
_WORDS = {
    "unenhanced": r"non? contrast|without|w o|nativ\w*|plain|unenhanced|non enhanced|pre contrast|ncct|ohne km|sans",
    "arterial": r"art|arter\w*|hap",
    "venous": r"portal\w*|porto\w*|ven|venous|venos\w*|venös\w*|vein\w*|pv|pvp",
    "delayed": r"delay\w*|equilibrium|excret\w*|spät\w*|tardi\w*",
}
NO_AGENT = re.compile(r"(no|none|non|nil|without|keine?|0|n a)?")


def phase_of_hu(aorta_hu: float, kidney_hu: float, limits: PhaseParams) -> str:
    """Phase by the median HU of aorta and kidneys, NaN where not known; "" where both are.

    Blood of no contrast is ``unenhanced``. An aorta from ``arterial_from_hu`` on that is brighter than the kidneys is
    ``arterial``, any other enhanced one ``venous`` (portal venous, or later), and kidneys alone say ``enhanced``.
    """
    if np.isnan(aorta_hu):
        if np.isnan(kidney_hu):
            return ""
        return "unenhanced" if kidney_hu < limits.enhanced_from_hu else "enhanced"
    if aorta_hu < limits.enhanced_from_hu:
        return "unenhanced"
    return "arterial" if aorta_hu >= limits.arterial_from_hu and not kidney_hu >= aorta_hu else "venous"


def phase_of_header(description: str, agent: str) -> str:
    """Phase by the words of SeriesDescription, else ``enhanced`` where ContrastBolusAgent names one, else ``unknown``.

    A description that names two phases says nothing. Nothing of the texts is kept: they may hold a name.
    """
    text = " ".join(re.sub(r"[^a-zäöü0-9]+", " ", description.lower()).split())
    found = [phase for phase, words in _WORDS.items() if re.search(rf"\b({words})\b", text)]
    if len(found) == 1:
        return found[0]
    given = " ".join(re.sub(r"[^a-z0-9]+", " ", agent.lower()).split())
    return "unknown" if NO_AGENT.fullmatch(given) else "enhanced"
