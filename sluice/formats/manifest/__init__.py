"""Manifests: the document, and the delta that leads from one to another."""
