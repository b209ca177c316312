"""Names of variables and tags, and variables that use each other."""

from __future__ import annotations

import re

from sluice.blueprint.convert.merge import Effective
from sluice.blueprint.render.recipe import PREDEFINED
from sluice.blueprint.render.template import ValueTemplateError, check, undefined_variables, variables_of
from sluice.blueprint.schema import selector
from sluice.errors import BlueprintError

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_TEMPLATE_WORDS = frozenset({"true", "false", "none", "True", "False", "None", "and", "or", "not", "in", "is", "if", "else"})


def check_tags(effective: Effective, errors: list[BlueprintError]) -> None:
    """Tags are words that a selector can name."""
    for tag, leaf in effective.below("tags").items():
        if _WORD.fullmatch(tag) is None:
            errors.append(leaf.error(f"{tag!r} can't be the name of a tag", "use letters, digits and _, beginning with a letter"))
        elif tag in selector.RESERVED:
            errors.append(leaf.error(f"{tag!r} is a word of selectors", "call the tag something else"))


def check_variables(effective: Effective, errors: list[BlueprintError]) -> None:
    """Variables are words that a template can name, and resolve: no circle, nothing undefined."""
    leaves = effective.below("variables")
    address = effective.get("address")
    local = address is not None and str(address.value).startswith("local:")
    known = {n: "" for n in PREDEFINED if local or n != "LOCAL_DIRECTORY"} | dict.fromkeys(leaves, "")
    uses: dict[str, frozenset[str]] = {}
    for name, leaf in leaves.items():
        if _WORD.fullmatch(name) is None:
            errors.append(leaf.error(f"{name!r} can't be the name of a variable", "use letters, digits and _, beginning with a letter"))
        elif name in PREDEFINED:
            errors.append(leaf.error(f"{name} is predefined", "call the variable something else"))
        elif name in _TEMPLATE_WORDS:
            errors.append(leaf.error(f"{name} is a word of templates", "call the variable something else"))
        try:
            check(str(leaf.value))
            uses[name] = variables_of(str(leaf.value)) & leaves.keys()
            for missing in undefined_variables(str(leaf.value), known):
                errors.append(leaf.error(f"uses {missing}, which isn't defined", f"give it under variables: {missing}"))
        except ValueTemplateError as e:
            errors.append(leaf.error(e.what, e.remedy))
    _check_circles(effective, uses, errors)


def _check_circles(effective: Effective, uses: dict[str, frozenset[str]], errors: list[BlueprintError]) -> None:
    waiting = dict(uses)
    while ready := [n for n, used in waiting.items() if not used & waiting.keys()]:
        for name in ready:
            del waiting[name]
    if not waiting:
        return
    trail = [min(waiting)]
    while (following := min(waiting[trail[-1]] & waiting.keys())) not in trail:
        trail.append(following)
    circle = [*trail[trail.index(following) :], following]
    leaf = effective.below("variables")[circle[0]]
    errors.append(leaf.error(f"uses itself: {' -> '.join(circle)}", "give one of them a value without the others"))
