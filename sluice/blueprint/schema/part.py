"""``Part``: the base of everything a blueprint may contain, so that keys and blank values are treated alike everywhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, ValidationInfo, field_validator
from pydantic_core import CoreSchema

from sluice.blueprint.schema.values import refuse


def left_out(description: str, *, alias: str | None = None, max_length: int | None = None) -> Any:
    """Declare a key that may be left out; its value is None then, and never otherwise."""
    return Field(default=None, description=description, alias=alias, max_length=max_length)


class Part(BaseModel):
    """Anything in a blueprint: unknown keys are errors, nothing is converted by guessing."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    blanks: ClassVar[frozenset[str]] = frozenset()
    """Keys whose blank value means something; any other blank is a forgotten value."""
    short_form: ClassVar[Mapping[str, Any]] = {}
    """JSON Schema of the form without keys, if there is one."""

    @field_validator("*", mode="before")
    @classmethod
    def _no_blanks(cls, value: object, info: ValidationInfo) -> object:
        if value is None and info.field_name not in cls.blanks:
            is_required = info.field_name is not None and cls.model_fields[info.field_name].is_required()
            raise refuse("has no value", "write one" if is_required else "write one, or leave the key out")
        return value

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        made = handler.resolve_ref_schema(handler(core_schema))
        for key, described in made.get("properties", {}).items():
            described.pop("default", None)
            described.pop("title", None)
            kinds = described.get("anyOf", [])
            if {"type": "null"} in kinds and key not in cls.blanks:
                kinds.remove({"type": "null"})
                if len(kinds) == 1:
                    described.pop("anyOf")
                    described.update(kinds[0])
        made.pop("title", None)
        if cls.short_form:
            mapping = dict(made)
            made.clear()
            made["anyOf"] = [dict(cls.short_form), mapping]
        return made
