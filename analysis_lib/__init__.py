"""Library of the study."""
