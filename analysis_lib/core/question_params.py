"""Parameters of the question that a study asks: of whom, from which month on, about which event."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from analysis_lib.common.errors import suggest
from analysis_lib.common.settings import Label, Section


class Condition(Section):
    """What a column of the clinical table must hold: one of some values, or a number in a range.

    In a parameter file a value, or a list of them, stands for itself.
    """

    values: list[Label] = Field(
        default_factory=list, description="Values that are meant, as the table or YAML has them."
    )
    at_least: float | None = Field(None, description="Lowest number that is meant.")
    below: float | None = Field(None, description="First number that no longer is.")

    @model_validator(mode="before")
    @classmethod
    def _values_alone(cls, given: Any) -> Any:
        if isinstance(given, (dict, Condition)):
            return given
        values = given if isinstance(given, list) else [given]
        return {"values": [f"{v:g}" if isinstance(v, (bool, int, float)) else v for v in values]}

    @model_validator(mode="after")
    def _holds_something(self) -> Condition:
        ends = [end for end in (self.at_least, self.below) if end is not None]
        if bool(self.values) == bool(ends):
            raise ValueError("give values, or at_least, below or both of a number")
        if len(ends) == 2 and ends[0] >= ends[1]:
            raise ValueError(f"at_least ({ends[0]:g}) must be less than below ({ends[1]:g})")
        return self

    def __str__(self) -> str:
        ends = {"at least": self.at_least, "below": self.below}
        return " or ".join(self.values) or " and ".join(f"{k} {v:g}" for k, v in ends.items() if v is not None)


def _groups(given: Any) -> Any:
    """The name of a rule, or cuts in order; ValueError that says what may be there."""
    if isinstance(given, list):
        numbers = all(isinstance(cut, (int, float)) and not isinstance(cut, bool) for cut in given)
        if not 1 <= len(given) <= 3 or not numbers or sorted(set(given)) != given:
            raise ValueError("give one to three cuts of the risk in rising order")
    elif given not in RULES:
        raise ValueError(f"'{given}' is no rule{suggest(str(given), RULES[1:])}, or give cuts as [-0.5, 0.5]")
    return given


RULES = ("", "median", "tertiles")
RiskGroups = Annotated[str | list[float], BeforeValidator(_groups)]


class CoxParams(Section):
    """The Cox models, curves and log-rank tests of sarcopenia and risk groups.

    The network and its accuracy count each patient once and from the start.
    """

    strata: list[Label] = Field(
        default_factory=list, description="Columns whose values have hazards of their own, for example [centre, sex]."
    )
    entry: Label = Field("", description="Column of the month at which a patient came under observation; empty: 0.")
    weights: Label = Field("", description="Column of case weights, whose intervals are robust; empty: all count once.")
    competing: bool = Field(
        False,
        description="Also a table of recurrence and of death before it: cause-specific and Fine-Gray hazard ratios and "
        "Gray's test.",
    )

    @property
    def given(self) -> bool:
        """Whether a hazard ratio is another than without this section."""
        return bool(self.columns)

    @property
    def columns(self) -> list[str]:
        """Columns of the patients that it names, each once."""
        return [name for name in dict.fromkeys([*self.strata, self.entry, self.weights]) if name]


def cox_text(cox: CoxParams) -> str:
    """What hazard ratios, tests and curves are where ``cox`` asks for it: a sentence with a blank after it, or ''."""
    parts = [f"stratified by {' and '.join(cox.strata)}"] if cox.strata else []
    parts += [f"with delayed entry at {cox.entry}"] if cox.entry else []
    parts += [f"weighted by {cox.weights}, with robust intervals"] if cox.weights else []
    if not parts:
        return ""
    late = ["delayed entry"] * bool(cox.entry) + ["weights, also in the numbers at risk"] * bool(cox.weights)
    curves = f"with {' and '.join(late)}" if late else "of all strata together"
    return (
        f"{HAZARDS} {', '.join(parts)}; Kaplan-Meier curves and medians {curves}; the network and its accuracy count "
        "each patient once and from the start, and what cannot honour this is NA. "
    )


HAZARDS = "Cox models and log-rank tests"


def uncounted_text(cox: CoxParams) -> str:
    """Of a table or figure that ``cox`` leaves as it is, a sentence that says so, with a blank after it; or ''."""
    names = {"strata": cox.strata, "delayed entry": cox.entry, "weights": cox.weights}
    given = [name for name, value in names.items() if value]
    return f"Here {' and '.join(given)} {'do' if given != ['delayed entry'] else 'does'} not count. " if given else ""


def cuts_text(rule: str | list[float]) -> str:
    """Where ``risk_groups`` cuts the risk, in words."""
    if isinstance(rule, list):
        return " and ".join(f"{cut:g}" for cut in rule)
    return "the training tertiles" if rule == "tertiles" else "the training median"


def subset_text(subset: dict[Label, Condition]) -> str:
    """The conditions in words: 'sex: female; age: at least 60'."""
    return "; ".join(f"{name}: {condition}" for name, condition in subset.items())


class Endpoint(Section):
    """What the study asks about: columns of the clinical table, and how every table, axis and text names them.

    A name alone stands for one of ENDPOINTS.
    """

    short: Label = Field("OS", min_length=1, description="Abbreviation in tables, for example 'PFS'.")
    name: Label = Field("overall survival", min_length=1, description="Name, for example 'progression-free survival'.")
    months: Label = Field("os_months", description="Column of the time, in the unit of clinical.units.time.")
    event: Label = Field(
        "os_event",
        description="Column of what ended it: 0 nothing yet, 1 the event, 2 another event after which it cannot come. "
        "rfs_cause stands for recurrence, with death as the other event.",
    )
    noun: Label = Field("death", min_length=1, description="The event, for example 'progression or death'.")
    plural: Label = Field("deaths", min_length=1, description="Several of them.")

    @model_validator(mode="before")
    @classmethod
    def _by_name(cls, given: Any) -> Any:
        if not isinstance(given, str):
            if (
                isinstance(given, dict)
                and given
                and (lacking := [name for name in cls.model_fields if name not in given])
            ):
                raise ValueError(
                    f"lacks {', '.join(lacking)}; an endpoint of one's own needs all, or give its name alone"
                )
            return given
        if given.lower() not in ENDPOINTS:
            raise ValueError(
                f"'{given}' is no endpoint{suggest(given, list(ENDPOINTS))}, or give its columns and names"
            )
        return ENDPOINTS[given.lower()]

    @property
    def title(self) -> str:
        """The name with a large letter, as on an axis."""
        return self.name[0].upper() + self.name[1:]

    @property
    def had(self) -> str:
        """What is said of those with the event: 'died' or, as the others, 'had recurrence'."""
        return "died" if self.noun == "death" else f"had {self.noun}"

    @property
    def outcomes(self) -> dict[str, Outcome]:
        """The endpoint first, then the others of the letter, by abbreviation."""
        own = {"short": self.short, "months": "time_months", "event": "event", "name": self.name, "plural": self.plural}
        letter = [e for e in LETTER if e["event"] != self.event]
        if len(letter) < len(LETTER):  # its own columns hold the same
            own |= {"months": self.months, "event": self.event}
        return {e["short"]: Outcome(e["months"], e["event"], e["name"], e["plural"]) for e in (own, *letter)}


@dataclass(frozen=True)
class Outcome:
    """Columns of the analysed patients that hold time (months) and event (0 or 1), and their names in texts."""

    months: str
    event: str
    name: str
    plural: str

    @property
    def title(self) -> str:
        """The name with a large letter, as on an axis."""
        return self.name[0].upper() + self.name[1:]

    @property
    def columns(self) -> tuple[str, str]:
        """Of time and event."""
        return self.months, self.event


def _endpoint(short: str, name: str, months: str, event: str, noun: str, plural: str) -> dict[str, str]:
    return {"short": short, "name": name, "months": months, "event": event, "noun": noun, "plural": plural}


OS = _endpoint("OS", "overall survival", "os_months", "os_event", "death", "deaths")
RFS = _endpoint(
    "RFS", "recurrence-free survival", "rfs_months", "rfs_event", "recurrence or death", "recurrences or deaths"
)
RECURRENCE = _endpoint("Recurrence", "freedom from recurrence", "rfs_months", "rfs_cause", "recurrence", "recurrences")
LETTER = (OS, RFS)
ENDPOINTS = {"os": OS, "rfs": RFS, "recurrence": RECURRENCE}
