"""How far features repeat themselves when mask, bins or image are disturbed, and what the negative controls leave."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from analysis_lib.figures import style
from analysis_lib.radiomics.names import name_table

# Koo and Li 2016, doi 10.1016/j.jcm.2016.02.012
GRADES = [("poor, below 0.5", -np.inf, 0.5), ("moderate, below 0.75", 0.5, 0.75), ("good, below 0.9", 0.75, 0.9)]
GRADES.append(("excellent, 0.9 or more", 0.9, np.inf))
COLOURS = ["#D9D9D9", "#9EC9E2", "#4A98C9", "#084A8C"]  # from poor to excellent, in one hue and in order in grey
TITLES = {
    "mask": "Mask disturbed",
    "bins": "Bin width changed",
    "noise": "Noise added",
    "shuffled": "Control: voxels shuffled",
    "moved": "Control: region moved",
}
CLASSES = {
    "shape": "Shape",
    "firstorder": "First order",
    "glcm": "GLCM",
    "glrlm": "GLRLM",
    "glszm": "GLSZM",
    "gldm": "GLDM",
    "ngtdm": "NGTDM",
}


def stability_frame(table: pd.DataFrame) -> pd.DataFrame:
    """``agreement.icc_table`` with region, image and class of each feature, and the grade of its ICC."""
    parts = name_table(table["feature"])[["region", "image", "class"]].set_index(table.index)
    grade = pd.Series("no ICC, the same in all patients", index=table.index)
    for name, low, high in GRADES:
        grade[(table["icc"] >= low) & (table["icc"] < high)] = name
    return pd.concat([table, parts], axis=1).assign(grade=grade)


@style.styled
def stability(frame: pd.DataFrame) -> Figure:
    """Share of the features of each class by grade of ICC, one panel a kind of disturbance.

    ``frame`` as of ``stability_frame``; features without an ICC are not part of the share.
    """
    style.need_columns(frame, ["feature", "family", "icc", "class", "grade", "patients"], "stability")
    names = [family for family in TITLES if family in set(frame["family"])]
    classes = frame["class"].replace("shape2D", "shape")
    fig = style.new_figure(style.TWO_COLUMNS_MM, 98)
    for number, family in enumerate(names):
        column, row = number % 3, number // 3
        ax = style.axes_mm(fig, 20 + 52 * column, 9 + 47 * row, 44, 31)
        part = frame[(frame["family"] == family) & frame["icc"].notna()]
        for y, name in enumerate(CLASSES):
            grades = part.loc[classes[part.index] == name, "grade"]
            left = 0.0
            for (grade, _, _), colour in zip(GRADES, COLOURS, strict=True):
                share = 100 * float((grades == grade).mean()) if len(grades) else 0.0
                ax.barh(y, share, left=left, color=colour, height=0.75, linewidth=0)
                left += share
            if not len(grades):
                ax.text(2, y, "no ICC", va="center", fontsize=style.SMALL_PT, color=style.GREY)
        ax.set(xlim=(0, 100), ylim=(len(CLASSES) - 0.5, -0.5), xticks=[0, 25, 50, 75, 100], yticks=range(len(CLASSES)))
        ax.set_yticklabels(CLASSES.values() if column == 0 else [])
        ax.set_xlabel("Features, %")
        style.text_mm(fig, 20 + 52 * column, 7.6 + 47 * row, TITLES[family], fontsize=style.TEXT_PT, va="bottom")
        style.panel_letter(fig, 15 + 52 * column, 4.4 + 47 * row, "abcde"[number])
    patients = frame["patients"]
    counted = f"{patients.min()}" if patients.min() == patients.max() else f"{patients.min()} to {patients.max()}"
    patches = [Patch(color=colour, label=grade[0]) for grade, colour in zip(GRADES, COLOURS, strict=True)]
    legend_box = (128 / style.TWO_COLUMNS_MM, 1 - 56 / style.size_mm(fig)[1])
    fig.legend(handles=patches, title=f"ICC(A,1), {counted} patients", loc="upper left", bbox_to_anchor=legend_box)
    return fig
