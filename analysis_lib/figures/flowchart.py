"""The flowchart of patients and process (Fig. 1), laid out from a frame so that any number of sets fits."""

from __future__ import annotations

from dataclasses import dataclass, field

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from analysis_lib.figures import style
from analysis_lib.figures.style import TEXT_PT, TITLE_PT

KINDS = ("patients", "excluded", "reason", "process")

PAD_MM, GAP_X_MM, GAP_Y_MM, SIDE_MM, BAND_MM = 1.6, 3.0, 5.0, 5.5, 7.0
MIN_COLUMN_MM = 32.0
MARGIN_MM = 1.5
FILL = {"patients": "#EAF2F8", "excluded": "#FFFFFF", "process": "#F4F1E8"}


@dataclass
class _Node:
    name: str
    kind: str
    lines: list[tuple[str, float]]  # text and indent, mm; broken to the width of the box when that is known
    children: list[_Node] = field(default_factory=list)
    excluded: _Node | None = None
    x: float = 0.0  # left edge, mm
    y: float = 0.0  # top edge, mm
    width: float = 0.0
    height: float = 0.0
    text: str = ""

    @property
    def leaves(self) -> int:
        return sum(child.leaves for child in self.children) or 1


@style.styled
def flowchart(counts: pd.DataFrame) -> Figure:
    """Boxes and arrows of patients from eligible to analysed to split, and of the process.

    ``counts`` [node, kind, label, n, parent], one row a box or a line of a box; ``n`` may be empty,
    ``parent`` is the ``node`` of the row it hangs from (empty for a start). Kinds: 'patients' (a box; a start
    opens a column, a box with several children is split), 'excluded' (the box at the side of its parent),
    'reason' (a line in the 'excluded' row that is its parent), 'process' (a box of the chain under the
    patients, left to right; it may branch). Columns that do not fit side by side continue in a further band.
    ValueError for a missing column, an unknown kind, a repeated node or a parent that is not there.
    """
    style.need_columns(counts, ["node", "kind", "label", "n", "parent"], "frame of the flowchart")
    roots, chain = _trees(counts)
    bands = _bands(roots)

    # heights depend on broken lines and these on widths, so everything is placed before the figure exists
    y = MARGIN_MM
    for band in bands:
        y = _place_band(band, y) + BAND_MM
    title_y = y
    if chain:
        y = _place_chain(chain, y + style.line_height_mm(TITLE_PT) + 2.0) + BAND_MM
    fig = style.new_figure(style.TWO_COLUMNS_MM, y - BAND_MM + MARGIN_MM)
    width, height = style.size_mm(fig)
    ax = style.axes_mm(fig, 0, 0, width, height)
    ax.set_axis_off()
    ax.set(xlim=(0, width), ylim=(height, 0))
    for band in bands:
        for root in band:
            _draw_patients(ax, root)
    if chain:
        title = "Process, the same in every set"
        ax.text(MARGIN_MM, title_y, title, fontsize=TITLE_PT, fontweight="bold", va="top")
        for root in chain:
            _draw_chain(ax, root)
    return fig


def _trees(counts: pd.DataFrame) -> tuple[list[_Node], list[_Node]]:
    frame = counts.assign(parent=counts["parent"].fillna(""))
    if unknown := sorted(set(frame["kind"]) - set(KINDS)):
        raise ValueError(f"unknown kind {unknown} in the flowchart; known: {', '.join(KINDS)}")
    named = frame[frame["kind"] != "reason"]
    if (again := named["node"][named["node"].duplicated()]).size:
        raise ValueError(f"node {again.iloc[0]!r} comes twice in the flowchart")
    nodes: dict[str, _Node] = {}
    for row in named.itertuples(index=False):
        nodes[row.node] = _Node(row.node, row.kind, [(_label(row.label, row.n), 0.0)])
    roots: list[_Node] = []
    chain: list[_Node] = []
    for row in frame.itertuples(index=False):
        if row.parent and row.parent not in nodes:
            raise ValueError(f"parent {row.parent!r} of {row.node!r} is not in the flowchart")
        parent = nodes.get(row.parent)
        if parent is None:
            if row.kind in ("excluded", "reason"):
                raise ValueError(f"{row.kind} row {row.node!r} needs a parent")
            (chain if row.kind == "process" else roots).append(nodes[row.node])
        elif row.kind == "reason":
            parent.lines.append((_label(row.label, row.n), 2.0))
        elif row.kind == "excluded":
            parent.excluded = nodes[row.node]
        else:
            parent.children.append(nodes[row.node])
    return roots, chain


def _label(label: object, n: float) -> str:
    # a no-break space keeps "n = 12" on one line
    return str(label) if pd.isna(n) else f"{label} (n\u00a0=\u00a0{int(n)})"


def _bands(roots: list[_Node]) -> list[list[_Node]]:
    """Spread the starting boxes over as many bands as their columns need."""
    most = int((style.TWO_COLUMNS_MM - 2 * MARGIN_MM + GAP_X_MM) // (MIN_COLUMN_MM + GAP_X_MM))
    bands: list[list[_Node]] = []
    used = most
    for root in roots:
        if used + root.leaves > most:
            bands.append([])
            used = 0
        bands[-1].append(root)
        used += root.leaves
    return bands


def _fit(node: _Node, width: float) -> None:
    """Break the lines of a box to its width and take the height from their number."""
    node.width = width
    lines = []
    for text, indent in node.lines:
        broken = style.wrap_mm(text, width - 2 * PAD_MM - indent, TEXT_PT)
        lines += [("  " if indent else "") + line for line in broken]
    node.text = "\n".join(lines)
    node.height = len(lines) * style.line_height_mm(TEXT_PT) + 2 * PAD_MM


def _place_band(band: list[_Node], top: float) -> float:
    """Give every box of a band its place; boxes of one depth share their top. Returns the lower edge."""
    leaves = sum(root.leaves for root in band)
    unit = (style.TWO_COLUMNS_MM - 2 * MARGIN_MM + GAP_X_MM) / leaves
    levels: list[list[_Node]] = []

    def across(node: _Node, left: float, depth: int) -> None:
        node.x = left
        _fit(node, unit * node.leaves - GAP_X_MM)
        if node.excluded is not None:
            node.excluded.x = left + 2 * SIDE_MM
            _fit(node.excluded, node.width - 2 * SIDE_MM)
        if len(levels) == depth:
            levels.append([])
        levels[depth].append(node)
        for child in node.children:
            across(child, left, depth + 1)
            left += unit * child.leaves

    left = MARGIN_MM
    for root in band:
        across(root, left, 0)
        left += unit * root.leaves
    y = top
    for level in levels:
        tallest = max(node.height for node in level)
        for node in level:
            node.y, node.height = y, tallest
        y += tallest + GAP_Y_MM
        aside = [node.excluded for node in level if node.excluded is not None]
        for box in aside:
            box.y = y - GAP_Y_MM / 2
        if aside:
            y += max(box.height for box in aside) + GAP_Y_MM / 2
    return max([y - GAP_Y_MM] + [n.excluded.y + n.excluded.height for level in levels for n in level if n.excluded])


def _place_chain(chain: list[_Node], top: float) -> float:
    """Place the process left to right by depth, branches under one another. Returns the lower edge."""
    levels: list[list[_Node]] = []

    def collect(node: _Node, depth: int) -> None:
        if len(levels) == depth:
            levels.append([])
        levels[depth].append(node)
        for child in node.children:
            collect(child, depth + 1)

    for root in chain:
        collect(root, 0)
    unit = (style.TWO_COLUMNS_MM - 2 * MARGIN_MM + GAP_Y_MM) / len(levels)
    for depth, level in enumerate(levels):
        for node in level:
            node.x = MARGIN_MM + depth * unit
            _fit(node, unit - GAP_Y_MM)
    tallest = max(node.height for level in levels for node in level)

    def down(node: _Node, y: float) -> None:
        node.y = y + (node.leaves * (tallest + GAP_X_MM) - GAP_X_MM - tallest) / 2
        node.height = tallest
        for child in node.children:
            down(child, y)
            y += child.leaves * (tallest + GAP_X_MM)

    y = top
    for root in chain:
        down(root, y)
        y += root.leaves * (tallest + GAP_X_MM)
    return y - GAP_X_MM


def _draw_box(ax: Axes, node: _Node) -> None:
    patch = FancyBboxPatch(
        (node.x, node.y),
        node.width,
        node.height,
        boxstyle="round,pad=0,rounding_size=0.8",
        facecolor=FILL[node.kind],
        edgecolor=style.BLACK,
        linestyle="--" if node.kind == "excluded" else "-",
    )
    patch.set_gid(f"box-{node.name}")
    ax.add_patch(patch)
    left_aligned = node.kind == "excluded"
    text = ax.text(
        node.x + (PAD_MM if left_aligned else node.width / 2),
        node.y + node.height / 2,
        node.text,
        ha="left" if left_aligned else "center",
        va="center",
        linespacing=1.15,
    )
    text.set_gid(f"text-{node.name}")


def _line(ax: Axes, *points: tuple[float, float]) -> None:
    ax.plot(*zip(*points, strict=True), color=style.BLACK, linewidth=0.6, solid_capstyle="butt", zorder=0.5)


def _arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    ax.add_patch(
        FancyArrowPatch(
            start, end, arrowstyle="-|>", mutation_scale=5, linewidth=0.6, color=style.BLACK, shrinkA=0, shrinkB=0
        )
    )


def _draw_patients(ax: Axes, node: _Node) -> None:
    _draw_box(ax, node)
    foot = node.y + node.height
    # with a box at the side the arrow runs down on the left of it
    x = node.x + SIDE_MM if node.excluded is not None else node.x + node.width / 2
    if node.excluded is not None:
        _draw_box(ax, node.excluded)
        middle = node.excluded.y + node.excluded.height / 2
        if not node.children:
            _line(ax, (x, foot), (x, middle))
        _arrow(ax, (x, middle), (node.excluded.x, middle))
    if len(node.children) == 1:
        _arrow(ax, (x, foot), (x, node.children[0].y))
    elif node.children:
        rail = node.children[0].y - GAP_Y_MM / 2
        centres = [child.x + child.width / 2 for child in node.children]
        _line(ax, (x, foot), (x, rail))
        _line(ax, (min(x, *centres), rail), (max(x, *centres), rail))
        for child, centre in zip(node.children, centres, strict=True):
            _arrow(ax, (centre, rail), (centre, child.y))
    for child in node.children:
        _draw_patients(ax, child)


def _draw_chain(ax: Axes, node: _Node) -> None:
    _draw_box(ax, node)
    right, middle = node.x + node.width, node.y + node.height / 2
    rail = right + GAP_Y_MM / 2
    for child in node.children:
        level = child.y + child.height / 2
        if level == middle:
            _arrow(ax, (right, middle), (child.x, level))
        else:
            _line(ax, (right, middle), (rail, middle), (rail, level))
            _arrow(ax, (rail, level), (child.x, level))
        _draw_chain(ax, child)
