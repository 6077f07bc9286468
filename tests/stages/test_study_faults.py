"""A broken CT or mask costs its own patient only: it is excluded with a reason, the others keep every byte."""

from __future__ import annotations

from tiny_study import STAGES, TinyStudy, project  # noqa: F401
