"""The ``.ted`` file: its frames, its index, the recipe of a delta, and reading and writing the whole.

Rules: bytes in, bytes out; every figure of an index is bounded before a byte is decompressed. Left out: making and applying deltas, which
is ``sluice/delta``'s work; an agent that receives needs only this."""
