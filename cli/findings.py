"""Lay out findings of ``doctor`` and ``subscriber check``: what failed, then warnings, then what is fine, in one line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import click

from cli.tables import one_line
from cli.terminal import Line, columns, wrapped
from sluice.rules.diagnosis import Finding, Health
from sluice.rules.wording import counted

if TYPE_CHECKING:
    from cli.hosts import HostResult
    from infra.hosts.check import CheckItem

verbose_option = click.option("--verbose", "-v", "listed", is_flag=True, help="List what is fine too.")
_COLOURS = {Health.FAILED: "red", Health.WARNING: "yellow", Health.OK: ""}
_INDENT = 9
NARROW = 20
"""Least columns of the sentences."""


def host_findings(done: HostResult[list[CheckItem]]) -> Iterator[Finding]:
    """Make findings of what was checked on a host: its error, if it couldn't be."""
    if done.error is not None:
        yield Finding(Health.FAILED, "subscriber", done.subscriber.name, done.error.message, done.error.remedy)
    for item in done.result or ():
        health = Health.FAILED if not item.ok else Health.WARNING if item.remedy else Health.OK
        yield Finding(health, "subscriber", done.subscriber.name, f"{item.item}: {item.detail}", item.remedy)


def findings_text(found: Sequence[Finding], *, listed: bool) -> Sequence[Line]:
    """Lay them out; several objects that the same is said of are named together.

    Args:
        listed: List each that is fine too.
    """
    fine = [each for each in found if each.health is Health.OK]
    told = [line for health in (Health.FAILED, Health.WARNING) for line in _lines(found, health)]
    if listed:
        told += _lines(found, Health.OK)
    elif fine:
        counts = ", ".join(f"{area} {number}" for area, number in Counter(each.area for each in fine).items())
        told += _laid_out("fine", "", f"{counted(len(fine), 'check')}: {counts}")
    failed, warnings = (sum(each.health is health for each in found) for health in (Health.FAILED, Health.WARNING))
    return [*told, ("", ""), (f"{counted(len(found), 'check')}: {failed} failed, {counted(warnings, 'warning')}", "")]


def _lines(found: Iterable[Finding], health: Health) -> Sequence[Line]:
    objects: dict[tuple[str, str, str], list[str]] = {}
    for each in found:
        if each.health is health:
            objects.setdefault((each.area, each.sentence, each.remedy), []).append(each.object)
    return [
        line
        for (area, sentence, remedy), names in objects.items()
        for line in _laid_out(health.value, _COLOURS[health], f"{area} {', '.join(dict.fromkeys(names))}: {sentence}", remedy)
    ]


def _laid_out(word: str, colour: str, *texts: str) -> Sequence[Line]:
    width, lines = columns(), list[str]()
    for text in filter(None, map(one_line, texts)):
        lines += wrapped(text, max(NARROW, width - _INDENT)) if width else [text]
    return [(f"{word if number == 0 else '':{_INDENT}}{line}", colour) for number, line in enumerate(lines)]
