"""Templates: ``{{ expressions }}`` in a destination, a variable or a script, over one Subscriber's variables (D15).

Only values are rendered, never documents. Jinja2's sandbox bounds no work, so work is bounded by construction: a template may
hold names, texts, numbers, ``~``, comparisons, ``a if b else c`` and the filters below, nothing that repeats, calls or
multiplies; its length, its parts and every text it produces are capped, and so is the work of all templates that are rendered for one
Subscriber. ``{%`` and ``{#`` are ordinary characters.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache

from jinja2 import TemplateError, nodes
from jinja2.exceptions import TemplateSyntaxError

from sluice.blueprint.render.evaluate import ENVIRONMENT, FILTERS, RENDER_WORK, UndefinedVariableError, ValueTemplateError, Work, evaluate

LENGTH_MAX = 64 * 1024
"""Characters of a template, and of its output."""
PARTS_MAX = 1_000
"""Nodes of a template's tree."""
DEPTH_MAX = 50
"""Expressions within each other."""
_SURROGATE = re.compile("[\ud800-\udfff]")

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
    nodes.Keyword: "an argument with its name",
}


def _too_long() -> ValueTemplateError:
    return ValueTemplateError(f"renders to more than {LENGTH_MAX // 1024} KiB", "shorten it")


@lru_cache(maxsize=4096)
def _parsed(template: str) -> nodes.Template:
    _check_text(template)
    try:
        tree = ENVIRONMENT.parse(template)
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
        if isinstance(node, nodes.Filter) and len(node.args) not in FILTERS[node.name][0]:
            taken, written = FILTERS[node.name]
            most = f"{'at most ' if len(taken) > 1 else ''}{taken[-1] or 'no'}"
            raise ValueTemplateError(f"the filter {node.name} takes {most} arguments, and has {len(node.args)}", f"write {written}")
        if not isinstance(node, _ALLOWED):
            what = _REFUSED.get(type(node), type(node).__name__)
            raise ValueTemplateError(f"{what} is not allowed in {{{{ }}}}", "use variables, texts, ~, if/else, comparisons and filters")
    return tree


def _walk(tree: nodes.Node) -> Iterator[tuple[nodes.Node, int]]:
    waiting = [(tree, 0)]
    while waiting:
        current, level = waiting.pop()
        yield current, level
        waiting += [(child, level + 1) for child in current.iter_child_nodes()]


@lru_cache(maxsize=4096)
def _pieces(template: str) -> list[nodes.Expr]:
    """Return the texts and expressions of a template, in order."""
    return [piece for output in _parsed(template).body if isinstance(output, nodes.Output) for piece in output.nodes]


@lru_cache(maxsize=4096)
def _parts(template: str) -> int:
    """Count the parts of a template's expressions."""
    return sum(1 for piece in _pieces(template) for _ in _walk(piece))


@lru_cache(maxsize=4096)
def names_alone(template: str) -> tuple[str, tuple[str, ...]] | None:
    """Return a template of texts and variables as Python's format and the variables' names; None: it has other expressions."""
    pieces = _pieces(template)
    if not all(isinstance(piece, nodes.TemplateData | nodes.Name) for piece in pieces):
        return None
    text = "".join(piece.data.replace("%", "%%") if isinstance(piece, nodes.TemplateData) else "%s" for piece in pieces)
    return text, tuple(piece.name for piece in pieces if isinstance(piece, nodes.Name))


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


def undefined_variables(template: str, variables: Iterable[str]) -> list[str]:
    """List the variables a template needs that aren't defined, in name order. One with a ``default`` isn't needed."""
    return sorted(_names(template)[1].difference(variables))


def is_defined(template: str, variables: Mapping[str, str]) -> bool:
    """Whether ``undefined_variables`` finds none, faster."""
    return "{{" not in template or _names(template)[1] <= variables.keys()


def render(template: str, variables: Mapping[str, str], *, what: str, work: Work | None = None) -> str:
    """Fill in a template.

    Args:
        template: Text with ``{{ }}`` expressions.
        variables: Name to value, already resolved.
        what: Subject of the error message: ``files[0].destination of zoneinfo for helsinki-1``.
        work: Shared by all templates of one Subscriber; None: as much as for one.
    Raises:
        UndefinedVariableError: Names the variable and ``what``.
        ValueTemplateError: The template isn't allowed, fails, takes too much work, or renders to more than 64 KiB.
    """
    if "{{" not in template:
        return _not_too_long(template)
    if not is_defined(template, variables):
        missing = undefined_variables(template, variables)
        raise UndefinedVariableError(f"{what} uses {missing[0]}, which is not defined", f"define {missing[0]} under variables:")
    try:
        made = _not_too_long(_filled(template, variables, work or Work()))
    except (TemplateError, TypeError, ValueError) as e:
        if isinstance(e, ValueTemplateError):
            raise type(e)(f"{what} {e.what}", e.remedy) from None
        raise ValueTemplateError(f"{what} cannot be rendered: {e}", "correct the expression") from None
    if "\x00" in made or (not made.isascii() and _SURROGATE.search(made)):  # written as an escape within {{ }}
        raise ValueTemplateError(f"{what} has a character that isn't text", "leave the escape out")
    return made


def _filled(template: str, variables: Mapping[str, str], work: Work) -> str:
    work.take(RENDER_WORK)
    if (text := names_alone(template)) is not None:
        return text[0] % tuple(map(variables.__getitem__, text[1]))
    work.charge(0, parts=_parts(template))
    made, length = list[str](), 0
    for piece in _pieces(template):
        made.append(str(evaluate(piece, variables, work)))
        length += len(made[-1])
        if length > LENGTH_MAX:
            raise _too_long()
    return "".join(made)


def _not_too_long(text: str) -> str:
    if len(text) > LENGTH_MAX:
        raise _too_long()
    return text
