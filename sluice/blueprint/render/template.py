"""Templates: ``{{ expressions }}`` in a destination, a variable or a script, over one Subscriber's variables (D15).

Only values are rendered, never documents. Jinja2's sandbox bounds no work, so work is bounded by construction: a template may
hold names, texts, numbers, ``~``, comparisons, ``a if b else c`` and the filters below, nothing that repeats, calls or
multiplies; its length, its parts and every text it produces are capped. ``{%`` and ``{#`` are ordinary characters.
"""

from __future__ import annotations

import operator
import shlex
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from jinja2 import StrictUndefined, TemplateError, Undefined, nodes
from jinja2.exceptions import TemplateSyntaxError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from sluice.blueprint.author_error import AuthorError

LENGTH_MAX = 64 * 1024
"""Characters of a template, and of its output."""
PARTS_MAX = 1_000
"""Nodes of a template's tree."""
DEPTH_MAX = 50
"""Expressions within each other."""

_ALLOWED = (
    nodes.Template,
    nodes.Output,
    nodes.TemplateData,
    nodes.Name,
    nodes.Const,
    nodes.Concat,
    nodes.CondExpr,
    nodes.Compare,
    nodes.Operand,
    nodes.And,
    nodes.Or,
    nodes.Not,
    nodes.Filter,
)
_REFUSED = {
    nodes.Call: "a call",
    nodes.Getattr: "a look into a value",
    nodes.Getitem: "a look into a value",
    nodes.Mul: "*",
    nodes.Pow: "**",
    nodes.Add: "+",
    nodes.List: "a list",
    nodes.Tuple: "a tuple",
    nodes.Dict: "a mapping",
    nodes.Test: "is",
}


_COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "gt": operator.gt,
    "gteq": operator.ge,
    "lt": operator.lt,
    "lteq": operator.le,
    "in": lambda part, whole: part in whole,
    "notin": lambda part, whole: part not in whole,
}


class ValueTemplateError(AuthorError):
    """A template that isn't allowed, or cannot be rendered."""


class UndefinedVariableError(ValueTemplateError):
    """A variable that isn't defined for the Subscriber."""


def _too_long() -> ValueTemplateError:
    return ValueTemplateError(f"renders to more than {LENGTH_MAX // 1024} KiB", "shorten it")


def _capped(text: str) -> str:
    if len(text) > LENGTH_MAX:
        raise _too_long()
    return text


def _replace(text: object, old: object, new: object) -> str:
    whole, before, after = _capped(str(text)), str(old), str(new)
    if len(whole) + whole.count(before) * max(0, len(after) - len(before)) > LENGTH_MAX:
        raise _too_long()
    return whole.replace(before, after)


def _filter(change: Callable[[str], str]) -> Callable[[object], str]:
    return lambda text: change(_capped(str(text)))


FILTERS = ("default", "lower", "upper", "trim", "replace", "quote")
"""Every filter; ``quote`` makes one shell word of a text."""


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined,
        block_start_string="\x00%",
        block_end_string="%\x00",
        comment_start_string="\x00#",
        comment_end_string="#\x00",
        keep_trailing_newline=True,
        autoescape=False,
        cache_size=0,
    )
    default = environment.filters["default"]
    environment.globals.clear()
    environment.tests.clear()
    environment.filters.clear()
    environment.filters.update(default=default, replace=_replace, quote=_filter(shlex.quote))
    environment.filters.update(lower=_filter(str.lower), upper=_filter(str.upper), trim=_filter(str.strip))
    return environment


_ENVIRONMENT = _environment()


@lru_cache(maxsize=4096)
def _parsed(template: str) -> nodes.Template:
    _check_text(template)
    try:
        tree = _ENVIRONMENT.parse(template)
        for number in tree.find_all(nodes.Const):
            str(number.value)
    except TemplateSyntaxError as e:
        raise ValueTemplateError(
            f"{{{{ }}}} contains no valid expression: {e.message}", 'write a variable such as {{ DEST }}; literal braces are {{ "{{" }}'
        ) from None
    except RecursionError:
        raise ValueTemplateError("nested too deep", "simplify it") from None
    except ValueError:
        raise ValueTemplateError("contains a number with too many digits", "write it in quotes") from None
    for parts, (node, depth) in enumerate(_walk(tree), 1):
        if parts > PARTS_MAX or depth > DEPTH_MAX:
            raise ValueTemplateError(f"has more than {PARTS_MAX} parts or {DEPTH_MAX} levels", "simplify it")
        if isinstance(node, nodes.Filter) and node.name not in FILTERS:
            raise ValueTemplateError(f"there is no filter {node.name}", f"the filters are {', '.join(FILTERS)}")
        if isinstance(node, nodes.Filter) and (node.dyn_args or node.dyn_kwargs):
            raise ValueTemplateError("* is not allowed in {{ }}", "write the arguments of a filter one by one")
        if not isinstance(node, _ALLOWED):
            what = next((word for kind, word in _REFUSED.items() if isinstance(node, kind)), type(node).__name__)
            raise ValueTemplateError(f"{what} is not allowed in {{{{ }}}}", "use variables, texts, ~, if/else, comparisons and filters")
    return tree


def _walk(tree: nodes.Node) -> Iterator[tuple[nodes.Node, int]]:
    waiting = [(tree, 0)]
    while waiting:
        current, level = waiting.pop()
        yield current, level
        waiting += [(child, level + 1) for child in current.iter_child_nodes()]


def _value(node: nodes.Node, variables: Mapping[str, str]) -> Any:
    """Return what an allowed expression is worth, as Jinja's compiled code would: compiling takes six times as long as parsing."""
    match node:
        case nodes.TemplateData():
            return node.data
        case nodes.Const():
            return node.value
        case nodes.Name():
            return variables[node.name] if node.name in variables else StrictUndefined(name=node.name)
        case nodes.Concat():
            return "".join(map(str, [_value(part, variables) for part in node.nodes]))
        case nodes.CondExpr():
            if _value(node.test, variables):
                return _value(node.expr1, variables)
            return _value(node.expr2, variables) if node.expr2 else Undefined()
        case nodes.Compare():
            return _compare(node, variables)
        case nodes.And():
            return _value(node.left, variables) and _value(node.right, variables)
        case nodes.Or():
            return _value(node.left, variables) or _value(node.right, variables)
        case nodes.Not():
            return not _value(node.node, variables)
        case nodes.Filter(node=nodes.Expr() as filtered):
            return _ENVIRONMENT.filters[node.name](_value(filtered, variables), *(_value(a, variables) for a in node.args))
        case _:
            raise AssertionError(f"{type(node).__name__} was allowed")


def _compare(node: nodes.Compare, variables: Mapping[str, str]) -> Any:
    result = left = _value(node.expr, variables)
    for operand in node.ops:
        right = _value(operand.expr, variables)
        if not (result := _COMPARISONS[operand.op](left, right)):
            return result
        left = right
    return result


def _pieces(template: str) -> list[nodes.Expr]:
    """Return the texts and expressions of a template, in order."""
    return [piece for output in _parsed(template).body if isinstance(output, nodes.Output) for piece in output.nodes]


def _check_text(template: str) -> None:
    if len(template) > LENGTH_MAX:
        raise ValueTemplateError(f"longer than {LENGTH_MAX // 1024} KiB", "shorten it")
    if "\x00" in template:
        raise ValueTemplateError("contains a NUL character", "remove it")


def check(template: str) -> None:
    """Raise ValueTemplateError if a template isn't allowed, whatever the variables are."""
    if "{{" in template:
        _parsed(template)
    else:
        _check_text(template)


@lru_cache(maxsize=4096)
def _names(template: str) -> tuple[frozenset[str], frozenset[str]]:
    """Return the variables a template uses, and those of them without a ``default``."""
    if "{{" not in template:
        return frozenset(), frozenset()
    tree = _parsed(template)
    excused = {id(f.node) for f in tree.find_all(nodes.Filter) if f.name == "default"}
    found = list(tree.find_all(nodes.Name))
    return frozenset(n.name for n in found), frozenset(n.name for n in found if id(n) not in excused)


def variables_of(template: str) -> frozenset[str]:
    """Return every variable a template uses, also those with a ``default``."""
    return _names(template)[0]


def undefined_variables(template: str, variables: Mapping[str, str]) -> list[str]:
    """List the variables a template needs that aren't defined, in name order. One with a ``default`` isn't needed."""
    return sorted(_names(template)[1].difference(variables))


def render(template: str, variables: Mapping[str, str], *, what: str) -> str:
    """Fill in a template.

    Args:
        template: Text with ``{{ }}`` expressions.
        variables: Name to value, already resolved.
        what: Subject of the error message: ``files[0].destination of zoneinfo for helsinki-1``.
    Raises:
        UndefinedVariableError: Names the variable and ``what``.
        ValueTemplateError: The template isn't allowed, fails, or renders to more than 64 KiB.
    """
    if "{{" not in template:
        return _capped(template)
    pieces = _pieces(template)
    if missing := undefined_variables(template, variables):
        raise UndefinedVariableError(f"{what} uses {missing[0]}, which is not defined", f"define {missing[0]} under variables:")
    made: list[str] = []
    length = 0
    try:
        for piece in pieces:
            made.append(str(_value(piece, variables)))
            length += len(made[-1])
            if length > LENGTH_MAX:
                raise _too_long()
    except (TemplateError, TypeError, ValueError) as e:
        if isinstance(e, ValueTemplateError):
            raise type(e)(f"{what} {e.what}", e.remedy) from None
        raise ValueTemplateError(f"{what} cannot be rendered: {e}", "correct the expression") from None
    text = "".join(made)
    if "\x00" in text or any("\ud800" <= char <= "\udfff" for char in text):  # written as an escape within {{ }}
        raise ValueTemplateError(f"{what} has a character that isn't text", "leave the escape out")
    return text
