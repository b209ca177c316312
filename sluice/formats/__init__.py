"""Bytes in, data out, and back: manifests, ``.ted`` files, packs, orders, receipts and the frames of the agent protocol.

Rules: no I/O; one value has one byte string; bytes from outside are bounded before they are parsed. Deltas are made and applied in
``sluice/delta``, signatures in ``sluice/trust``."""
