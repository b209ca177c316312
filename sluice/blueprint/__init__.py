"""Blueprints: a site's YAML files, validated into the model. The only package that imports yaml, jinja2 and pydantic."""

from sluice.blueprint.load import load_site

__all__ = ["load_site"]
