"""Extract a revision: compare, stage, swap, read back and commit, or take everything back (docs/formats.md section 8)."""
