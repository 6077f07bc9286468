"""What every figure shares: journal style, colours, layout in millimetres, and saving.

The drawing modules beside this one compute no statistics: they draw tidy frames made upstream, and
``save_figure`` writes exactly those frames beside the picture.
"""

from __future__ import annotations

import functools
import itertools
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, ParamSpec, TypeAlias, TypeVar

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.path import Path as Outline
from matplotlib.text import Text
from matplotlib.textpath import text_to_path
from matplotlib.ticker import FixedLocator, FormatStrFormatter, NullLocator

from analysis_lib.common.files import replacing
from analysis_lib.figures.fonts import kept_fonts

SYNTHETIC_LABEL = "Synthetic images and outcomes: no patient data"

MM_PER_INCH = 25.4
POINTS_PER_INCH = 72
ONE_COLUMN_MM = 85.0
TWO_COLUMNS_MM = 174.0
# kept free at the foot of every figure, so that a figure looks the same with and without the label
FOOT_MM = 7.5

BLACK, GREY, BLUE, ORANGE, SKY = "#000000", "#6E6E6E", "#0072B2", "#E69F00", "#56B4E9"
DARK, LIGHT = "#404040", "#8C8C8C"  # of what a model or a definition is compared with

SMALL_PT = TEXT_PT = 7.0  # journals ask for 7 pt at print size: no text is smaller
TITLE_PT = 7.5
LETTER_PT = 9.0

STYLE: dict[Any, Any] = {
    # DejaVu Sans comes with matplotlib, so the picture is the same on every machine
    "font.family": "DejaVu Sans",
    "font.size": TEXT_PT,
    "axes.titlesize": TITLE_PT,
    "axes.labelsize": TEXT_PT,
    "xtick.labelsize": SMALL_PT,
    "ytick.labelsize": SMALL_PT,
    "legend.fontsize": TEXT_PT,
    "legend.frameon": False,
    "axes.linewidth": 0.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "axes.labelpad": 2.0,
    "axes.formatter.useoffset": False,
    "xtick.major.width": 0.5,
    "ytick.major.width": 0.5,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "xtick.minor.size": 1.5,
    "ytick.minor.size": 1.5,
    "lines.linewidth": 1.1,
    "patch.linewidth": 0.6,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "savefig.bbox": None,
    "savefig.dpi": 300,
    "figure.dpi": 100,
    "pdf.fonttype": 42,
    "pdf.compression": 6,
    "text.usetex": False,
}

# Of a line, as matplotlib takes it: solid, or where the pattern starts and its lengths on and off, in line widths.
Dashes: TypeAlias = Literal["-"] | tuple[float, tuple[float, ...]]
DASHED, DOTTED, DASH_DOT, DASH_DOTS, LONG, SHORT, CLOSE, UNEVEN = (
    (0.0, lengths)
    for lengths in ((5, 1.2), (1.2, 0.8), (5, 1, 1, 1), (3, 1, 1, 1, 1, 1), (9, 1.5), (2, 2.0), (3, 0.8), (6, 1, 2, 1))
)


class Look(NamedTuple):
    """How a model, definition or group is drawn, wherever it is drawn; ``short`` names it at the end of its line."""

    colour: str
    dashes: Dashes = "-"
    marker: str = "o"
    short: str = ""


# In drawing order. Blue has to do with the model, each definition has its colour, what they are compared with is grey.
# Two of them differ in dashes, or in colour for every eye and in grey (tested, by 10.1109/TVCG.2009.113).
LOOKS: dict[str, Look] = {
    "TFDeepSurv": Look(BLUE),
    "PMA": Look("#B23A00", DASHED, "s"),
    "PMI": Look("#C58B00", DOTTED, "^"),
    "PD": Look("#A0186B", DASH_DOT, "D"),
    "SMI": Look("#1E8A4C", DASH_DOTS, "v"),
    "MA": Look("#7A4DF0", LONG, "P"),
    "Cox indices": Look(DARK, DASHED, "s"),
    "Cox clinical": Look(LIGHT, DASHED, "^"),
    "Cox clinical + risk": Look("#3D9BD6", CLOSE, "X", "Clinical + risk"),
    "Coxnet": Look(DARK, DASH_DOT, "v"),
    "Random survival forest": Look(LIGHT, DASH_DOT, "P", "Survival forest"),
    "Gradient boosting": Look(DARK, DOTTED, "D", "Gradient boost."),
    "Componentwise boosting": Look(LIGHT, DOTTED, "<", "Component boost."),
    "Cox ridge": Look(DARK, DASH_DOTS, "h"),
    "TFDeepSurv + linear": Look(LIGHT, DASH_DOTS, ">", "… + linear"),
    "TFDeepSurv joint": Look(DARK, SHORT, "p", "… joint"),
    "SM area": Look(LIGHT, SHORT, "d"),
    "True risk": Look(BLACK, LONG, "*"),
    "Clinical": Look(LIGHT, DASHED, "^"),
    "Clinical + TFDeepSurv": Look("#3D9BD6", CLOSE, "X", "Clinical + model"),
    "Best definition": Look("#B23A00", DASHED, "s"),
    "Best definition + TFDeepSurv": Look("#00344F", UNEVEN, "h", "Definition + model"),
    "all": Look(DARK, DOTTED, short="treat all"),
    "none": Look(BLACK, short="treat none"),
    "No sarcopenia": Look(GREY, "-", "o"),
    "Sarcopenia": Look(BLACK, DASHED, "^"),  # in a panel of one definition that definition's
    "Low risk": Look(GREY, "-", "o"),
    "High risk": Look(BLUE, DASHED, "^"),
    "Training": Look(BLUE),
    "Validation": Look(BLACK, DASHED),
    "Recurrence": Look(BLACK),
    "Death without recurrence": Look(GREY, DASHED),
}
# A study's own definition or model has the next of these that is free.
FURTHER = [
    Look(colour, (0.0, lengths), marker)
    for colour in ("#00A3A3", "#5C3A1E")
    for lengths, marker in (((7, 1, 1, 1, 1, 1), "H"), ((1, 3), "8"), ((3, 3), "*"))
]

P = ParamSpec("P")
R = TypeVar("R")


def looks(names: Iterable[str]) -> dict[str, Look]:
    """The look of each of ``names``, in drawing order; of those that LOOKS lacks after the others, as they come."""
    known = sorted((name for name in names if name in LOOKS), key=list(LOOKS).index)
    others = [name for name in names if name not in LOOKS]
    return {name: LOOKS[name] for name in known} | dict(zip(others, itertools.cycle(FURTHER), strict=False))


def styled(function: Callable[P, R]) -> Callable[P, R]:
    """Run a drawing function in the journal style, whatever the caller's rcParams are."""

    @functools.wraps(function)
    def inner(*args: P.args, **kwargs: P.kwargs) -> R:
        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(STYLE)
            return function(*args, **kwargs)

    return inner


def new_figure(width_mm: float, height_mm: float) -> Figure:
    """An empty figure that no global list holds on to; the foot for the label is added to the height."""
    fig = Figure(figsize=(width_mm / MM_PER_INCH, (height_mm + FOOT_MM) / MM_PER_INCH))
    FigureCanvasAgg(fig)
    return fig


def size_mm(fig: Figure) -> tuple[float, float]:
    """Width and height of a figure, mm."""
    width, height = fig.get_size_inches()
    return float(width) * MM_PER_INCH, float(height) * MM_PER_INCH


def axes_mm(fig: Figure, left: float, top: float, width: float, height: float, sharex: Axes | None = None) -> Axes:
    """Axes whose top left corner lies ``left`` and ``top`` mm from that of the figure."""
    total_width, total_height = size_mm(fig)
    bottom = total_height - top - height
    box = (left / total_width, bottom / total_height, width / total_width, height / total_height)
    return fig.add_axes(box, sharex=sharex)


def text_mm(fig: Figure, left: float, top: float, text: str, room: float | None = None, **kwargs: Any) -> Text:
    """Text whose anchor lies ``left`` and ``top`` mm from the figure's top left corner.

    One line that needs more than ``room`` mm is set smaller, down to SMALL_PT, and beyond that cut.
    """
    total_width, total_height = size_mm(fig)
    if room is not None:
        size = kwargs.get("fontsize", TEXT_PT)
        kwargs["fontsize"] = max(SMALL_PT, size * min(1.0, room / max(text_width_mm(text, size), 1e-9)))
        text = shortened(text, room, kwargs["fontsize"])
    return fig.text(left / total_width, 1 - top / total_height, text, **kwargs)


def shortened(text: str, width_mm: float, size_pt: float) -> str:
    """The text, or as much of it as a line of ``width_mm`` holds, and an ellipsis."""
    cut = len(text)
    while cut and text_width_mm(text[:cut].rstrip() + "…" * (cut < len(text)), size_pt) > width_mm:
        cut -= 1
    return text if cut == len(text) else text[:cut].rstrip() + "…"


def figure_without_panels(why: str = "NA: no test set") -> Figure:
    """A figure two columns wide that says why it shows nothing."""
    fig = new_figure(TWO_COLUMNS_MM, 30.0)
    text_mm(fig, TWO_COLUMNS_MM / 2, 15.0, why, ha="center", va="center", fontsize=TITLE_PT)
    return fig


def panel_letter(fig: Figure, left: float, top: float, letter: str) -> Text:
    """The bold small letter of a panel, its top left corner at ``left``, ``top`` mm."""
    return text_mm(fig, left, top, letter, fontsize=LETTER_PT, fontweight="bold", ha="left", va="top")


def foot_note(fig: Figure, text: str) -> Text:
    """Small lines in the foot, two at most, left of the place of the label of synthetic data."""
    width, height = size_mm(fig)
    room = width - text_width_mm(SYNTHETIC_LABEL, SMALL_PT, "bold") - 6.0
    lines = wrap_mm(text, room, SMALL_PT)
    return text_mm(fig, 1.5, height - 1.0, "\n".join(lines), fontsize=SMALL_PT, va="bottom", linespacing=1.15)


def level(confidence: float) -> str:
    """The level of an interval as printed, '95%'."""
    return f"{100 * confidence:g}%"


@functools.cache
def text_width_mm(text: str, size_pt: float, weight: str = "normal") -> float:
    """Width of one line of text, mm; needs no renderer, so that a layout can be planned before drawing."""
    if not text.strip():
        return 0.0
    font = get_font(findfont(FontProperties(family="DejaVu Sans", weight=weight)))
    font.set_size(text_to_path.FONT_SCALE, text_to_path.DPI)
    # As the extents of a TextPath, but those of a letter are computed once.
    placed, outlines, _ = text_to_path.get_glyphs_with_font(font, text)
    ends = [
        (left + x, right + x) for name, x, *_ in placed for left, right in _glyph_ends(weight, name, outlines[name])
    ]
    width = max(right for _, right in ends) - min(left for left, _ in ends)
    return float(width) * size_pt / text_to_path.FONT_SCALE / POINTS_PER_INCH * MM_PER_INCH


_ENDS: dict[tuple[str, str], list[tuple[float, float]]] = {}


def _glyph_ends(weight: str, name: str, outline: tuple[Any, Any]) -> list[tuple[float, float]]:
    """Where a letter begins and ends; nowhere, if it is a space."""
    if (weight, name) not in _ENDS:
        extents = Outline(*outline).get_extents() if len(outline[0]) else None
        _ENDS[weight, name] = [(extents.x0, extents.x1)] if extents else []
    return _ENDS[weight, name]


def line_height_mm(size_pt: float) -> float:
    """Distance of two lines of text, mm (DejaVu Sans needs a little more than its size)."""
    return size_pt * 1.25 / POINTS_PER_INCH * MM_PER_INCH


def wrap_mm(text: str, width_mm: float, size_pt: float) -> list[str]:
    """Break text into lines no wider than ``width_mm``; a single word that is wider is broken itself."""
    lines: list[str] = []
    for paragraph in text.split("\n"):
        line = ""
        for word in paragraph.split(" "):  # not at no-break spaces
            joined = f"{line} {word}".strip()
            if text_width_mm(joined, size_pt) <= width_mm:
                line = joined
                continue
            if line:
                lines.append(line)
            while text_width_mm(word, size_pt) > width_mm and len(word) > 1:
                cut = len(word) - 1
                while cut > 1 and text_width_mm(word[:cut] + "-", size_pt) > width_mm:
                    cut -= 1
                lines.append(word[:cut] + "-")
                word = word[cut:]
            line = word
        lines.append(line)
    return lines


def need_columns(frame: pd.DataFrame, columns: list[str], what: str) -> None:
    """Raise ValueError naming what a frame lacks, before matplotlib says it less clearly."""
    if missing := [c for c in columns if c not in frame.columns]:
        raise ValueError(f"{what} lacks column(s) {', '.join(missing)}; it has {', '.join(map(str, frame.columns))}")


def stack_parts(parts: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Join the frames of one figure, told apart by a first column ``part``; cells a part lacks are empty."""
    columns: list[str] = []
    for frame in parts.values():
        columns += [str(c) for c in frame.columns if str(c) not in columns]
    pieces = [
        frame.rename(columns=str).reindex(columns=columns).astype(object).assign(part=name)[["part", *columns]]
        for name, frame in parts.items()
    ]
    return pd.concat(pieces, ignore_index=True)


def plain_log_ticks(ax: Axes, which: str = "y") -> None:
    """Ticks at 1, 2 and 5 times the powers of ten (powers alone over 3 decades), as plain numbers."""
    axis = ax.xaxis if which == "x" else ax.yaxis
    low, high = ax.get_xlim() if which == "x" else ax.get_ylim()
    powers = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    multiples = (1, 2, 5) if high / low < 1000 else (1,)
    ticks = [m * 10.0**p for p in powers for m in multiples]
    axis.set_major_locator(FixedLocator([t for t in ticks if low <= t <= high]))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FormatStrFormatter("%g"))


def top_legend(
    fig: Figure, keys: Sequence[Artist], left: float, handlelength: float = 2.4, columns: int | None = None
) -> None:
    """Keys along the upper edge, in one line or in lines of ``columns``."""
    width, height = size_mm(fig)
    fig.legend(
        handles=list(keys),
        loc="upper left",
        bbox_to_anchor=(left / width, 1 - 0.8 / height),
        borderaxespad=0,
        ncols=columns or len(keys),
        handlelength=handlelength,
        columnspacing=1.6,
        handletextpad=0.5,
        fontsize=TEXT_PT,
    )


def label_ends(ax: Axes, ends: Mapping[str, tuple[float, float]], look_of: Mapping[str, Look]) -> None:
    """Name each line beside its end (x, y), right of the axes and clear of the other names, in its colour."""
    height = ax.get_position().height * size_mm(ax.get_figure())[1]  # type: ignore[arg-type]
    low, high = ax.get_ylim()
    order = sorted(ends, key=lambda name: ends[name][1])
    at = spread([(min(max(ends[name][1], low), high) - low) / (high - low) * height for name in order], 3.0, height)
    for name, y in zip(order, at, strict=True):
        colour = look_of[name].colour if look_of[name].colour != LIGHT else GREY  # as a text it would be too light
        ax.annotate(
            look_of[name].short or name,
            xy=(ends[name][0], min(max(ends[name][1], low), high)),
            xytext=(1.045, y / height),
            textcoords="axes fraction",
            color=colour,
            va="center",
            fontsize=TEXT_PT,
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 0,
                        "relpos": (0, 0.5)},
        )  # fmt: skip


def spread(places: Sequence[float], gap: float, most: float) -> list[float]:
    """Rising ``places`` moved as little as it takes to lie ``gap`` apart, between 0 and ``most`` if they can."""
    groups: list[list[float]] = []  # sum of what is wanted for the first of a group, and its size
    for wanted in places:
        groups.append([wanted, 1])
        while len(groups) > 1 and _first(groups[-2], gap, most) + groups[-2][1] * gap > _first(groups[-1], gap, most):
            total, count = groups.pop()
            groups[-1][0] += total - count * groups[-1][1] * gap
            groups[-1][1] += count
    return [_first(group, gap, most) + k * gap for group in groups for k in range(int(group[1]))]


def _first(group: Sequence[float], gap: float, most: float) -> float:
    total, count = group
    return max(0.0, min(total / count, most - (count - 1) * gap))


@styled
def save_figure(
    fig: Figure,
    folder: Path,
    name: str,
    data: pd.DataFrame | Mapping[str, pd.DataFrame],
    synthetic: bool,
    fonts: Path | None = None,
) -> Path:
    """Write ``name.png`` (300 dpi), ``name.pdf`` (fonts embedded) and ``name.csv`` (what is drawn).

    ``data`` is the frame that was drawn, or several by name, which are stacked with a column ``part``. A
    synthetic figure says so in its lower right corner, and its CSV in a last column ``synthetic``. The same
    figure and data give the same bytes. ``fonts``: folder that keeps what the PDF needs of them. Returns the path of
    the PNG; the figure is closed.
    """
    folder = Path(folder)
    label_synthetic(fig, synthetic)
    with replacing(folder / f"{name}.png") as path:
        fig.savefig(path, format="png", metadata={"Software": None})
    with replacing(folder / f"{name}.pdf") as path, kept_fonts(fonts):
        fig.savefig(path, format="pdf", metadata={"CreationDate": None})
    frame = data if isinstance(data, pd.DataFrame) else stack_parts(data)
    if synthetic:
        frame = frame.assign(synthetic=True)
    with replacing(folder / f"{name}.csv") as path:
        frame.to_csv(path, index=False, lineterminator="\n")
    if plt := sys.modules.get("matplotlib.pyplot"):  # a notebook may have opened the figure with it
        plt.close(fig)
    return folder / f"{name}.png"


def label_synthetic(fig: Figure, synthetic: bool) -> None:
    """Put the label on a figure of synthetic data, once however often it is saved, and on no other."""
    for text in [t for t in fig.texts if t.get_gid() == "synthetic"]:
        text.remove()
    if synthetic:
        _, height = size_mm(fig)
        label = text_mm(fig, size_mm(fig)[0] - 1.5, height - 1.4, SYNTHETIC_LABEL, ha="right", va="bottom")
        label.set(fontsize=SMALL_PT, fontweight="bold", color="#8C3A00", gid="synthetic", zorder=100)
