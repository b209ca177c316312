"""Read one value of YAML, without anything that only its author's words can tell."""

from __future__ import annotations

import yaml

CORE = "tag:yaml.org,2002:"
"""What the tags of YAML's own types begin with."""
NUMBER_MAX = 100
"""Characters of a whole number; a longer one is text, since Python writes none of more than 4,300 digits."""
_CONSTRUCT = yaml.constructor.SafeConstructor()


def scalar(node: yaml.ScalarNode) -> object:
    """Return the value; a date stays text."""
    try:
        match node.tag.removeprefix(CORE):
            case "null":
                return None
            case "bool":
                return _CONSTRUCT.construct_yaml_bool(node)
            case "int" if len(node.value) <= NUMBER_MAX:
                return _CONSTRUCT.construct_yaml_int(node)
            case "float":
                return _CONSTRUCT.construct_yaml_float(node)
    except ValueError:
        pass
    return str(node.value)


def is_blank(node: yaml.Node) -> bool:
    """Whether nothing is written in a value's place."""
    return isinstance(node, yaml.ScalarNode) and not node.style and not node.value


def raw(node: yaml.Node) -> str | None:
    """Return an unquoted scalar as it was typed."""
    return str(node.value) if isinstance(node, yaml.ScalarNode) and not node.style else None


def yaml_meaning(node: yaml.ScalarNode) -> str:
    """Say what YAML takes a key for that is no text."""
    value = scalar(node)
    if isinstance(value, bool):
        return "true" if value else "false"
    return "nothing" if value is None else "a date" if isinstance(value, str) else f"the number {value}"
