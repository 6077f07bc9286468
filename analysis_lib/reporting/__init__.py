"""Tables and figures: frames, then plots."""
