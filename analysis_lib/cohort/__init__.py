"""The clinical table: reading, checking, sets and splits."""
