"""Check the names of variables and tags, and variables that use each other."""

from __future__ import annotations

import re
from collections.abc import Set

from sluice.blueprint.author_error import AuthorError
from sluice.blueprint.convert.effective import Effective
from sluice.blueprint.render.recipe import PREDEFINED, find_circle
from sluice.blueprint.render.template import check, undefined_variables, variables_of
from sluice.blueprint.schema import selector
from sluice.blueprint.schema.suggest import or_nearest

VARIABLES_MAX = 128
"""Variables of one Subscriber, with those that Defaults documents supply: what they cost grows with the Subscribers."""
TAGS_MAX = 64

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_TEMPLATE_WORDS = frozenset({"true", "false", "none", "True", "False", "None", "and", "or", "not", "in", "is", "if", "else"})


def check_tags(effective: Effective) -> None:
    """Append an error for each tag that a selector cannot name."""
    tags = effective.below("tags")
    if len(tags) > TAGS_MAX:
        last = next(reversed(tags.values()))
        effective.errors.append(last.error(f"an object would have more than {TAGS_MAX} tags", "leave some out"))
        return
    for tag, leaf in tags.items():
        if _WORD.fullmatch(tag) is None:
            effective.errors.append(leaf.error(f"{tag!r} is not a valid tag name", "use letters, digits and _, beginning with a letter"))
        elif tag in selector.RESERVED:
            effective.errors.append(leaf.error(f"{tag!r} is a reserved word of selectors", "rename the tag"))


def check_variables(effective: Effective) -> Set[str]:
    """Append an error for each variable that a template cannot name or that does not resolve: a circle, or an undefined variable.

    Returns:
        The names of the others.
    """
    errors, leaves = effective.errors, effective.below("variables")
    if len(leaves) > VARIABLES_MAX:
        last = next(reversed(leaves.values()))
        errors.append(last.error(f"a Subscriber would have more than {VARIABLES_MAX} variables", "leave some out"))
        return frozenset()
    address = effective.get("address")
    local = address is None or str(address.value).startswith("local:")
    wrong: set[str] = set()
    known = {n: "" for n in PREDEFINED if local or n != "LOCAL_DIRECTORY"} | dict.fromkeys(leaves, "")
    uses: dict[str, frozenset[str]] = {}
    for name, leaf in leaves.items():
        problems: list[tuple[str, str]] = []
        if _WORD.fullmatch(name) is None:
            problems.append((f"{name!r} is not a valid variable name", "use letters, digits and _, beginning with a letter"))
        elif name in PREDEFINED:
            problems.append((f"{name} is predefined", "rename the variable"))
        elif name in _TEMPLATE_WORDS:
            problems.append((f"{name} is a reserved word of templates", "rename the variable"))
        try:
            check(str(leaf.value))
            uses[name] = variables_of(str(leaf.value)) & leaves.keys()
            for missing in undefined_variables(str(leaf.value), known):
                wrong.add(name)
                if not effective.unsure("variables", missing) and effective.get("variables", missing) is None:
                    remedy = f"{or_nearest(missing, known.keys() - {name}, errors)}define {missing} under variables:"
                    problems.append((f"uses {missing}, which is not defined", remedy))
        except AuthorError as e:
            problems.append((e.what, e.remedy))
        errors += [leaf.error(*problem) for problem in problems]
        wrong |= {name} if problems else set()
    if circle := find_circle(uses):
        what = f"uses itself: {' -> '.join(circle)}"
        errors.append(leaves[circle[0]].error(what, "give one of them a value without the others"))
        wrong.update(circle)
    while more := {name for name, used in uses.items() if name not in wrong and used & wrong}:
        wrong |= more
    return leaves.keys() - wrong
