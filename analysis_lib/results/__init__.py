"""The tables of the paper and beyond, as tidy frames: one module a table or figure."""

from analysis_lib.stages import MODEL as MODEL
