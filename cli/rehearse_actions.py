"""What actions would meet on the hosts that answer: the part of a dry run that asks them. Nothing there changes, no lock is taken.

With ``--json`` rows ``{"subscriber", "distribution", "phase", "number", "action", "pids", "count", "problem"}``, and
``{"subscriber", "error"}`` for those that couldn't be asked, which fails nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import click

from cli.hosts import on_each, timeout_of, transport_of
from cli.session import Session
from cli.tables import table

if TYPE_CHECKING:
    from sluice.model.action import Action, ActionRehearsal
    from sluice.model.site import Subscriber

ASK_SECONDS = 30.0
"""Most seconds that a host that doesn't answer is waited for."""
SHOWN_MAX = 20
"""PIDs shown of one action."""


@dataclass(frozen=True, slots=True)
class MetRow:
    """One action of one Distribution on one Subscriber."""

    subscriber: str
    distribution: str
    phase: str
    number: int
    """From 1."""
    action: str
    pids: tuple[int, ...]
    count: int
    problem: str
    outlook: str
    """In words."""


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """What the hosts answered, and why the others didn't."""

    rows: list[MetRow]
    unasked: list[tuple[str, str]]
    """Subscriber, error."""

    def as_json(self) -> dict[str, Any]:
        """``{"actions": [...], "unasked": [...]}``."""
        rows = [{key: value for key, value in asdict(row).items() if key != "outlook"} for row in self.rows]
        return {"actions": rows, "unasked": [{"subscriber": name, "error": error} for name, error in self.unasked]}

    def show(self) -> None:
        """As a table; nothing where no action would run."""
        if self.rows:
            cells = [[r.subscriber, r.distribution, f"{r.phase} {r.number}", r.action, r.outlook] for r in self.rows]
            click.echo(table(["subscriber", "distribution", "when", "action", "now"], cells))
        for name, error in self.unasked:
            click.echo(f"{name} couldn't be asked what its actions would meet: {error}")


def rehearsed_actions(session: Session, pairs: Iterable[tuple[str, str]]) -> Rehearsed:
    """Ask each Subscriber about the actions of its Distributions: pairs of both. Those that nothing would run on aren't asked."""
    from sluice.model.platforms import platform_matches

    site = session.site
    wanted: dict[str, list[str]] = {}
    for subscriber, distribution in sorted(set(pairs)):
        meant, host = site.distribution(distribution), site.subscriber(subscriber)
        if host.active and platform_matches(host.platform, meant.platforms) and (meant.pre_actions or meant.post_actions):
            wanted.setdefault(subscriber, []).append(distribution)
    transport = transport_of(session) if wanted else None

    def ask(subscriber: Subscriber) -> list[MetRow]:
        return list(chain.from_iterable(_asked(session, subscriber, name, transport) for name in wanted[subscriber.name]))

    done = on_each([site.subscriber(name) for name in wanted], ask, said=lambda _: None)
    rows = list(chain.from_iterable(each.result for each in done if each.result))
    return Rehearsed(rows, [(each.subscriber.name, each.error.message) for each in done if each.error])


def _asked(session: Session, subscriber: Subscriber, distribution: str, transport: Any) -> list[MetRow]:
    from sluice.blueprint.render.recipe import recipe
    from sluice.errors import AgentVersionError
    from sluice.model.feature import Feature
    from sluice.sender.call import call_agent

    made, owner = recipe(session.site, distribution, subscriber.name), session.site.distribution(distribution).distributor
    call = call_agent(subscriber, owner, transport=transport, timeout=min(ASK_SECONDS, timeout_of(session.site, subscriber)))
    try:
        if Feature.REHEARSE not in call.hello.features:
            raise AgentVersionError("its agent is too old to say", remedy=f"run: sluice subscriber bootstrap {subscriber.name}")
        met = call.conversation.rehearse(distribution, made)
    finally:
        call.close()
    found = []
    for number, (action, each) in enumerate(zip((*made.pre_actions, *made.post_actions), met, strict=True)):
        late = number >= len(made.pre_actions)
        place = ("post", number - len(made.pre_actions) + 1) if late else ("pre", number + 1)
        outlook = _outlook(action, each)
        found.append(MetRow(subscriber.name, distribution, *place, action.label, each.pids, each.count, each.problem, outlook))
    return found


def _outlook(action: Action, met: ActionRehearsal) -> str:
    from sluice.model.action import Script, StopProcess

    if met.problem:
        return f"would fail: {met.problem}"
    more = f" and {met.count - SHOWN_MAX} more" if met.count > SHOWN_MAX else ""
    pids = f"PID {', '.join(map(str, met.pids[:SHOWN_MAX]))}{more}"
    match action:
        case Script():
            return "would run"
        case StopProcess():
            return f"would stop {pids}" if met.count else "none runs"
    return f"would start; {pids} runs now and may be stopped before" if met.count else "would start"
