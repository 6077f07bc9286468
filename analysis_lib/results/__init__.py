"""The tables of the paper and beyond, as tidy frames."""
