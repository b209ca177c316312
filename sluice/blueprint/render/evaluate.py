"""Evaluate the expressions of a template, of which ``template.py`` says what they may hold, with every text and all work capped."""

from __future__ import annotations

import operator
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from jinja2 import StrictUndefined, Undefined, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from sluice.blueprint.author_error import AuthorError
from sluice.blueprint.schema.bounds import may_evaluate

EXPRESSION_MAX = 4096
"""Characters of a text within an expression: as many as a variable may have."""
WORK_MAX = 150_000
"""Characters that expressions may handle for one Subscriber: a site is validated for each of them."""
RENDER_WORK = 100
"""What a rendering counts for beside them."""
PART_WORK = 100
"""What a part of an expression counts for among all expressions of the site (``bounds.py``)."""
MIRROR_WORK = 500
"""What a destination counts for that is compared with mirrored ones."""
KEPT_WORK = 16
"""What a character of a variable counts for: all of them are kept."""

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


class TooMuchWorkError(ValueTemplateError):
    """All templates of a Subscriber, or all expressions of a site, take too much work together."""


@dataclass(slots=True)
class Work:
    """The work that may still be done for one Subscriber."""

    left: int = WORK_MAX

    def take(self, number: int) -> None:
        """Raise TooMuchWorkError if it is too much."""
        self.left -= number
        if self.left < 0:
            raise TooMuchWorkError("takes too much work, with all other {{ }} of that Subscriber", "use fewer of them, or fewer filters")

    def charge(self, number: int, *, parts: int = 0) -> None:
        """Do the same for characters, or parts, of an expression, of which the whole site may have so many besides."""
        self.take(number)
        if not may_evaluate(number + PART_WORK * parts):
            self.left = -1
            raise TooMuchWorkError(
                "takes too much work, with the filters and comparisons of all Subscribers",
                "use fewer of them, or write their results as variables of the Subscribers",
            )


def _too_large() -> ValueTemplateError:
    return ValueTemplateError(f"has an expression of more than {EXPRESSION_MAX} characters", "shorten it")


def _capped(text: str) -> str:
    if len(text) > EXPRESSION_MAX:
        raise _too_large()
    return text


def _replace(text: object, old: object, new: object) -> str:
    whole, before, after = str(text), str(old), str(new)
    if len(whole) + whole.count(before) * max(0, len(after) - len(before)) > EXPRESSION_MAX:
        raise _too_large()
    return whole.replace(before, after)


def _filter(change: Callable[[str], str]) -> Callable[[object], str]:
    return lambda text: change(str(text))


FILTERS = {
    "default": (range(3), 'default("x")'),
    "lower": (range(1), "lower"),
    "upper": (range(1), "upper"),
    "trim": (range(1), "trim"),
    "replace": (range(2, 3), 'replace("old", "new")'),
    "quote": (range(1), "quote"),
}
"""Every filter: how many arguments it takes, and how it is written; ``quote`` makes one shell word of a text."""


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


ENVIRONMENT = _environment()


def evaluate(node: nodes.Node, variables: Mapping[str, str], work: Work) -> Any:
    """Return what an allowed expression is worth, as Jinja's compiled code would: compiling takes six times as long as parsing.

    Raises:
        ValueTemplateError: It takes too much work, or makes too large a text.
        TemplateError, TypeError, ValueError: It fails, as in Jinja.
    """
    match node:
        case nodes.TemplateData():
            return node.data
        case nodes.Name():
            return variables[node.name] if node.name in variables else StrictUndefined(name=node.name)
        case nodes.Const():
            return node.value
        case nodes.Concat():
            return _joined(node, variables, work)
        case nodes.CondExpr():
            if evaluate(node.test, variables, work):
                return evaluate(node.expr1, variables, work)
            return evaluate(node.expr2, variables, work) if node.expr2 else Undefined()
        case nodes.Compare():
            return _compare(node, variables, work)
        case nodes.And():
            return evaluate(node.left, variables, work) and evaluate(node.right, variables, work)
        case nodes.Or():
            return evaluate(node.left, variables, work) or evaluate(node.right, variables, work)
        case nodes.Not():
            return not evaluate(node.node, variables, work)
        case nodes.Filter(node=nodes.Expr() as filtered):
            values = [evaluate(each, variables, work) for each in (filtered, *node.args)]
            if node.name != "default":
                work.charge(sum(len(_capped(str(each))) for each in values))
            return ENVIRONMENT.filters[node.name](*values)
        case _:
            raise AssertionError(f"{type(node).__name__} was allowed")


def _joined(node: nodes.Concat, variables: Mapping[str, str], work: Work) -> str:
    texts, length = list[str](), 0
    for part in node.nodes:
        texts.append(str(evaluate(part, variables, work)))
        length += len(texts[-1])
        if length > EXPRESSION_MAX:
            raise _too_large()
    work.charge(length)
    return "".join(texts)


def _compare(node: nodes.Compare, variables: Mapping[str, str], work: Work) -> Any:
    result = left = evaluate(node.expr, variables, work)
    for operand in node.ops:
        right = evaluate(operand.expr, variables, work)
        work.charge(len(right) if isinstance(right, str) else 1)
        if not (result := _COMPARISONS[operand.op](left, right)):
            return result
        left = right
    return result
