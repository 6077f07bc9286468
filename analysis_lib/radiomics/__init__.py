"""Radiomics features: PyRadiomics' values, computed faster; knows no study."""

RADIOMICS_STAGE = "radiomics"  # of a patient who can have no radiomics, though nothing is wrong with the images
