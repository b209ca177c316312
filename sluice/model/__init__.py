"""The objects that Sluice works with, as frozen dataclasses."""
