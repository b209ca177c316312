"""Lay out findings of ``doctor`` and ``subscriber check``: what failed, then warnings, then what is fine, in one line."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import click

from cli.tables import one_line
from cli.terminal import columns, paint
from sluice.rules.diagnosis import Finding, Health
from sluice.rules.wording import counted

if TYPE_CHECKING:
    from cli.hosts import HostResult
    from infra.hosts.check import CheckItem

verbose_option = click.option("--verbose", "-v", "listed", is_flag=True, help="List what is fine too.")
_COLOURS = {Health.FAILED: "red", Health.WARNING: "yellow", Health.OK: ""}
_INDENT = 9


def host_findings(done: HostResult[list[CheckItem]]) -> Iterator[Finding]:
    """Make findings of what was checked on a host: its error, if it couldn't be."""
    if done.error is not None:
        yield Finding(Health.FAILED, "subscriber", done.subscriber.name, done.error.message, done.error.remedy)
    for item in done.result or ():
        health = Health.FAILED if not item.ok else Health.WARNING if item.remedy else Health.OK
        yield Finding(health, "subscriber", done.subscriber.name, f"{item.item}: {item.detail}", item.remedy)


def findings_text(found: Sequence[Finding], *, listed: bool) -> str:
    """Lay them out; several objects that the same is said of are named together.

    Args:
        listed: List each that is fine too.
    """
    fine = [each for each in found if each.health is Health.OK]
    told = [paint(text, _COLOURS[health]) for health in (Health.FAILED, Health.WARNING) for text in _texts(found, health)]
    if listed:
        told += _texts(found, Health.OK)
    elif fine:
        counts = ", ".join(f"{area} {number}" for area, number in Counter(each.area for each in fine).items())
        told.append(_wrapped("fine", f"{counted(len(fine), 'check')}: {counts}"))
    failed, warnings = (sum(each.health is health for each in found) for health in (Health.FAILED, Health.WARNING))
    return "\n".join([*told, "", f"{counted(len(found), 'check')}: {failed} failed, {counted(warnings, 'warning')}"])


def _texts(found: Iterable[Finding], health: Health) -> Sequence[str]:
    objects: dict[tuple[str, str, str], list[str]] = {}
    for each in found:
        if each.health is health:
            objects.setdefault((each.area, each.sentence, each.remedy), []).append(each.object)
    return [
        _wrapped(health.value, f"{area} {', '.join(dict.fromkeys(names))}: {sentence}", remedy)
        for (area, sentence, remedy), names in objects.items()
    ]


def _wrapped(word: str, *texts: str) -> str:
    width, lines = columns(), []
    for text in filter(None, map(one_line, texts)):
        lines += textwrap.wrap(text, max(20, width - _INDENT - 1), break_on_hyphens=False) if width else [text]
    return "\n".join(f"{word if number == 0 else '':{_INDENT}}{line}" for number, line in enumerate(lines))
