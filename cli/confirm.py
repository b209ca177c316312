"""Ask a person before something is destroyed. Nothing waits for an answer that nobody can give."""

from __future__ import annotations

import sys
from collections.abc import Callable

import click

from cli.session import say
from sluice.errors import NotConfirmedError

yes_option = click.option("--yes", is_flag=True, help="Don't ask.")


def confirm(objects: str, act: str, *, yes: bool, show: Callable[[], None]) -> None:
    """Return if somebody agrees: by ``--yes``, or by an answer at a terminal.

    Args:
        objects: For example ``2 Subscribers``.
        act: For example ``remove``.
        show: Names them, on stderr.
    Raises:
        NotConfirmedError: The answer is no, or there is no terminal.
        click.Abort: Ctrl-C or the end of input, instead of an answer.
    """
    if yes:
        return
    show()
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        remedy = f"see what it is with --dry-run, then give --yes to {act}"
        raise NotConfirmedError(f"it would {act} {objects}, and without a terminal nobody can be asked; nothing was changed", remedy=remedy)
    try:
        is_agreed = click.confirm(f"{act.capitalize()} {objects}?", err=True)
    except click.Abort:
        say("")  # what is told next has a line of its own
        raise
    if not is_agreed:
        raise NotConfirmedError(f"the answer was no, so {objects} stayed, and nothing else was changed")
