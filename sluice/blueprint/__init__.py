"""Read a site's YAML files (blueprints) and validate them into the model. The only package that imports yaml, jinja2 and pydantic."""

from sluice.blueprint.load import load_site

__all__ = ["load_site"]
