"""What Sluice talks about, as frozen dataclasses."""
