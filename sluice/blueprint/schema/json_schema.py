"""The JSON Schema of one blueprint document, for editors to complete and check with: ``python -m sluice.blueprint.schema.json_schema``.

It accepts every document that ``load_site`` accepts, and refuses most that ``load_site`` refuses; checks that need two settings, two
documents or a parser (selectors, rules, templates) are beyond it.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from pydantic.json_schema import models_json_schema

from sluice.blueprint.schema.kinds import KINDS

TITLE = "A document of a Sluice blueprint"


def schema() -> dict[str, Any]:
    """Make the schema as data."""
    _, made = models_json_schema([(model, "validation") for model in KINDS.values()], ref_template="#/$defs/{model}")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": TITLE,
        "type": "object",
        "required": ["kind"],
        "properties": {"kind": {"enum": list(KINDS)}},
        "allOf": [
            {
                "if": {"required": ["kind"], "properties": {"kind": {"const": kind}}},
                "then": {"$ref": f"#/$defs/{model.__name__}"},
            }
            for kind, model in KINDS.items()
        ],
        "$defs": made["$defs"],
    }


def schema_text() -> str:
    """Make the schema as the text that is committed: the same for the same models."""
    return json.dumps(schema(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(schema_text())
