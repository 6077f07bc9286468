"""Command line, explorer and the generated pages."""
