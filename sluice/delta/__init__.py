"""Deltas: new contents made from old ones, in groups that bound memory on both sides (docs/formats.md section 4)."""
