"""Widgets of notebook 08: they hold a choice and show its result; ``explore`` computes."""

from __future__ import annotations

import io
import time
from dataclasses import replace
from typing import cast

import ipywidgets as w
import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from analysis_lib.common.errors import StudyError
from analysis_lib.common.formatting import format_count, format_estimate, format_p, format_ratio
from analysis_lib.core.parameters import Params
from analysis_lib.core.project import Study
from analysis_lib.figures import style
from analysis_lib.figures.kaplan_meier import sarcopenia_figure
from analysis_lib.results import MODEL
from analysis_lib.ui import explore as x

SPAN = 0.5  # a slider runs from half the published cut-off to half above it
DPI = 110
STEPS = {"HU": 0.1}  # slider step by unit; the others move in hundredths


class Explorer:
    """The panel; ``box`` is what a notebook displays, ``choice`` and ``result`` what it shows now."""

    def __init__(self, study: Study) -> None:
        self.params, self.patients, self.note = study.params, study.patients(), study.note
        self.params_dir = study.project.params_dir
        has_risk = (study.build / "risk.csv").is_file()
        self.risk = study.risk().set_index("patient_id")["risk"] if has_risk else None
        start = x.Choice.of(self.params)
        self.sliders = {
            (key, sex): w.FloatSlider(
                value=getattr(d, sex),
                min=round(getattr(d, sex) - half, 2),
                max=round(getattr(d, sex) + half, 2),
                step=STEPS.get(d.unit, 0.01),
                description=f"{key} {sex}",
                tooltip=f"{d.label}, {d.unit}; below is sarcopenic. {self._published(key, sex)} ({d.source})",
                readout_format=".2f",
                continuous_update=False,
                style={"description_width": "5.5rem"},
                layout=w.Layout(width="17rem"),
            )
            for key, d in self.params.definitions.items()
            for sex in ("men", "women")
            if (half := abs(getattr(d, sex)) * SPAN or 1.0)  # of a z-score too, which may be 0 or below
        }
        self.definition = w.Dropdown(options=list(self.params.definitions), description="Definition")
        self.outcome = w.Dropdown(options=list(self.params.statistics.outcomes), description="Endpoint")
        self.set = w.Dropdown(options=list(x.sets_of(self.params).items()), value=start.set, description="Set")
        self.adjustment = w.Dropdown(options=list(x.ADJUSTMENTS), description="Adjusted for")
        statistics = self.params.statistics
        months = [(f"{month:g}", month) for month in statistics.curve_months()]
        self.horizon = w.SelectionSlider(
            options=months, value=start.horizon_months, description="AUC month", continuous_update=False
        )
        self.name = w.Text(value="mytweak", description="Study")
        wide = w.Layout(width="auto", align_self="flex-start")
        self.write = w.Button(description="Write parameter file", button_style="primary", layout=wide)
        self.reset = w.Button(description="Cut-offs of the study", layout=wide)
        self.said, self.summary, self.prevalence = w.HTML(), w.HTML(), w.HTML()
        self.curve = w.Image(format="png", layout=w.Layout(max_width="100%"))
        self.curve.alt = "Kaplan-Meier curves of the two groups with numbers at risk"
        choices = [self.definition, self.outcome, self.set, self.adjustment, self.horizon]
        for widget in [*self.sliders.values(), *choices]:
            widget.observe(lambda _: self.show(), names="value")
        self.write.on_click(lambda _: self._write())
        self.reset.on_click(lambda _: self._reset())
        self._paused = False
        self.rows = {key: self._with_published(*key) for key in self.sliders}
        self.show()
        self.summary.add_class("explore-summary")
        self.prevalence.add_class("explore-prevalence")
        holds = [*choices, *self.rows.values(), self.reset, self.name, self.write, self.said]
        left = w.VBox(holds, layout=w.Layout(flex="1 1 21rem", max_width="26rem"))
        shows = [self.summary, self.curve, self.prevalence]
        right = w.VBox(shows, layout=w.Layout(flex="3 1 24rem", min_width="0"))
        self.box = w.HBox([left, right], layout=w.Layout(flex_flow="row wrap"))  # below each other on a narrow screen

    def _with_published(self, key: str, sex: str) -> w.HBox:
        definition = self.params.definitions[key]
        text = f"{definition.unit}; {self._published(key, sex)}"
        text += "; those by BMI stay" if definition.bmi_classes else ""
        return w.HBox([self.sliders[key, sex], w.HTML(f"<small>{text}</small>")], layout=w.Layout(flex_flow="row wrap"))

    def _published(self, key: str, sex: str) -> str:
        given, own = (getattr(d, sex) for d in (x.published(self.params, key), self.params.definitions[key]))
        return f"published {given:g}" + ("" if own == given else f", the study's {own:g}")

    @property
    def choice(self) -> x.Choice:
        """What the sliders and boxes say now."""
        pairs = {key: (self._cut_off(key, "men"), self._cut_off(key, "women")) for key in self.params.definitions}
        return x.Choice(
            pairs,
            self.definition.value,
            self.outcome.value,
            self.set.value,
            self.adjustment.value,
            float(self.horizon.value),
        )

    def _cut_off(self, key: str, sex: str) -> float:
        """What a slider says, on its step (14.81, not 14.809999999999999); the study's own value as it stands there."""
        value, own = self.sliders[key, sex].value, getattr(self.params.definitions[key], sex)
        step = STEPS.get(self.params.definitions[key].unit, 0.01)
        return own if abs(value - own) < step / 2 else round(round(value / step) * step, 6)

    def show(self) -> None:
        """Compute the choice and show it; ``seconds`` is what that took."""
        if getattr(self, "_paused", False):
            return
        started = time.perf_counter()
        choice = self.choice
        for (key, _), row in self.rows.items():  # two sliders at a time, so that the results stay in sight
            row.layout.display = None if key == choice.definition else "none"
        self.result = x.explore(self.patients, self.risk, self.params, choice)
        trained = choice.set in ("train", *self.params.cohort.trained)
        moved = {key: x.moved_cut_offs(self.params, replace(choice, definition=key)) for key in self.params.definitions}
        self.summary.value = _summary(self.result, choice, self.note, trained, moved)
        self.prevalence.value = _prevalence(self.result.prevalence)
        self.curve.value = _picture(self.result.panel, choice.outcome, self.params)
        self.seconds = time.perf_counter() - started

    def _reset(self) -> None:
        self._paused = True
        for (key, sex), slider in self.sliders.items():
            slider.value = getattr(self.params.definitions[key], sex)
        self._paused = False
        self.show()

    def _write(self) -> None:
        try:
            path = x.write_params(self.params, self.choice, self.name.value.strip(), self.params_dir)
            self.said.value = f"Written: params/{path.name}. Run: <code>make study STUDY={path.stem}</code>"
        except StudyError as error:
            self.said.value = f"<b>Not written.</b> {error}"


def _summary(result: x.Result, choice: x.Choice, note: str, trained: bool, moved: dict[str, str]) -> str:
    """``trained``: the model learnt from these patients; ``moved``: of each definition, what is not published."""
    hazard = result.hazard
    ratio = format_ratio(hazard["hr"], hazard["low"], hazard["high"])
    lines = [f"<b>{note}</b>"] if note else []
    lines.append(f"<b>{choice.definition}, {choice.outcome}: {moved[choice.definition] or 'published cut-offs'}</b>")
    others = [f"{key} {text}" for key, text in moved.items() if text and key != choice.definition]
    if others:
        lines.append(f"Moved too: {'; '.join(others)}")
    how = "unadjusted" if choice.adjustment == "none" else f"adjusted for {choice.adjustment}"
    lines.append(
        f"HR {ratio}, {format_p(hazard['p'])}, {how} "
        f"({hazard['n']} patients, {hazard['n_events']} events) {hazard['note']}"
    )
    if choice.adjustment != "none":
        lines.append("The ratio in the figure is unadjusted.")
    for row in result.auc.itertuples():
        own = " (it learnt from these patients: too good)" if trained and row.model == MODEL else ""
        lines.append(f"AUC at {row.month:g} months, {row.model}: {format_estimate(row.auc, row.low, row.high, 3)}{own}")
    if result.note:
        lines.append(result.note)
    return "<br>".join(lines)


def _prevalence(table: pd.DataFrame) -> str:
    rows = "".join(
        f"<tr><td>{r.definition}</td><td>{format_count(r.n_sarcopenic, r.prevalence)}</td><td>{r.n}</td></tr>"
        for r in table.itertuples()
    )
    return f"<table><tr><th>definition</th><th>sarcopenic, n (%)</th><th>of</th></tr>{rows}</table>"


def _picture(panel: dict[str, pd.DataFrame], outcome: str, params: Params) -> bytes:
    statistics = params.statistics
    fig = sarcopenia_figure(
        panel, statistics.outcomes[outcome].title, statistics.confidence, statistics.time_axis, columns=1
    )
    style.label_synthetic(fig, params.synthetic)
    fig.set_dpi(DPI)
    canvas = cast(FigureCanvasAgg, fig.canvas)
    canvas.draw()  # savefig would draw twice and compress hard, a third of the time of a move
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(canvas.buffer_rgba())).save(buffer, "png", compress_level=1)
    return buffer.getvalue()
