"""The clinical table: reading, checking, sets and splits."""

RADIOMICS_STAGE = "radiomics"  # left out of the radiomics only; the indices are kept
