"""The study as such: its parameters, folders, artefacts and notebooks."""
