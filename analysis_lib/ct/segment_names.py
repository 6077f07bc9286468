"""Which segment names a message may show: a name in a mask, or of its file, may be the patient's."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import SequenceMatcher

from analysis_lib.ct.mask_segments import Segment, plain

# A name is shown if these are all its words. What is not listed is only counted, so the list may stay short.
WORDS = {
    "abdomen", "abdominal", "adipose", "aorta", "autochthon", "body", "bones", "colon", "erector", "fat", "gluteus",
    "iliac", "iliacus", "iliopsoas", "imat", "inferior", "intermuscular", "intramuscular", "kidney", "label", "layer",
    "left", "liver", "lumbar", "lumborum", "major", "mask", "minor", "muscle", "muscles", "musculature", "musculus",
    "muskel", "oblique", "obliques", "pancreas", "paraspinal", "pelvis", "pm", "pma", "psoas", "quadratus", "rectus",
    "region", "right", "roi", "sacrum", "sat", "segment", "segmentation", "skeletal", "slice", "sm", "sma", "smi",
    "soft", "spinae", "spine", "spleen", "subcutaneous", "superior", "tissue", "total", "transversus", "vat",
    "vertebra", "vertebrae", "vertebral", "visceral", "wall",
}  # fmt: skip
LEVELS = {"c", "t", "th", "l", "s"}  # of vertebrae, before a number
MOST_DIGITS = 3  # the number of a vertebra or label; more may be a date or a hospital number
# Of a slip in an accepted name: a short one could be a person's initials, a longer one could go on with a name.
ALIKE, SHORTEST, MORE_LETTERS = 0.8, 5, 1
SHOWN, LETTERS_SHOWN = 8, 40


def is_harmless(name: str, accepted: Sequence[str]) -> bool:
    """Whether a segment name says nothing but anatomy, or is an accepted name with a slip."""
    if sum(c.isdigit() for c in name) > MOST_DIGITS:
        return False
    if any(_slip(plain(name), plain(one)) for one in accepted):
        return True
    words = re.sub(r"[\W_]+", " ", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)).lower().split()
    parts = [part for word in words if (part := re.fullmatch(r"([^\d]*)(\d*)", word))]
    said = [part[1] in WORDS or (part[2] and part[1] in {"", *LEVELS}) for part in parts]
    return len(parts) == len(words) and all(said) and any(part[1] for part in parts)


def _slip(name: str, accepted: str) -> bool:
    if len(accepted) < SHORTEST or len(name) > len(accepted) + MORE_LETTERS:
        return False
    return SequenceMatcher(None, name, accepted).ratio() >= ALIKE


def printable(name: str) -> str:
    """A name as a terminal may show it: short, and without what would move the cursor."""
    return "".join(c if c.isprintable() else "?" for c in name[:LETTERS_SHOWN])


def described(segments: Sequence[Segment], accepted: Sequence[str]) -> str:
    """How many segments a mask has, and those of their names that may be shown."""
    names = [s.name[:LETTERS_SHOWN] for s in segments if not s.named_by_file and is_harmless(s.name, accepted)]
    parts = [repr(name) for name in names[:SHOWN]] + (["..."] if len(names) > SHOWN else [])
    if hidden := len(segments) - len(names):
        parts.append(f"{hidden} not shown, since a name may be a person's")
    return f"{len(segments)} segment{'s' if len(segments) > 1 else ''} ({', '.join(parts)})"
