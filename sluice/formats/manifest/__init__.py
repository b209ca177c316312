"""Manifests: the document that is signed, and the delta that leads from one manifest to another.

Rules: bytes in, bytes out; one manifest has one byte string; a reader trusts no figure. Left out: contents, which ``formats/ted`` carries;
neither package imports the other."""
