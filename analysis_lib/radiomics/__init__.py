"""Radiomics features: PyRadiomics' values, computed faster; knows no study."""
