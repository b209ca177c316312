"""Receive manifests, ``.ted`` files and supplements, verified block by block as they arrive."""
