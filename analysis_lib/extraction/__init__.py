"""Radiomics features: PyRadiomics' values, computed faster."""
