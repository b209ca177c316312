"""Dry runs of build, sign, send, extract, distribute and refresh, by the same rules and without Prefect. Nothing is changed.

With ``--json``: ``{"build": {...}, "send": [...]}`` and the like, as each function says; if something would be extracted, also what hosts
answer (``rehearse_changes.py``, ``rehearse_actions.py``): ``"changes"``, ``"removals"``, ``"actions"``, and ``"unasked"``:
``[{"subscriber", "error"}]`` for those that could not be asked.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from cli.failures import worst_exit
from cli.ledgers import site_snapshot
from cli.predictions import bytes_cell, links_json, predicted, prediction_json, show_links, time_cell
from cli.rehearse_actions import RehearsedActions, rehearsed_actions
from cli.rehearse_changes import DUE, Demanded, RehearsedChanges, kept_manifests, newest_manifest, newest_manifests, rehearsed_changes
from cli.session import Session, emit, now, out, utc
from cli.tables import size, table
from sluice.model.order import Demand
from sluice.model.state import State
from sluice.rules.wording import counted

if TYPE_CHECKING:
    from cli.ask import Unasked
    from sluice.distributor.build.build import BuildResult
    from sluice.distributor.plan.sends import SendTarget
    from sluice.model.manifest import Manifest
    from sluice.model.state import CurrentState


def rehearsed_build(
    session: Session, name: str, *, rebaseline: bool, as_json: bool, sends_to: Collection[str] = (), demanded: Demanded = DUE
) -> int:
    """Print what a build would do, and return the exit code that the run would have.

    ``{"build": {"revision", "previous", "files", "bytes", "bytes_new", "added", "modified", "removed",
    "links_across", "unmatched_excludes": [{"source", "exclude"}]}, "send_to": [], "not_sent_to": [{"subscriber", "state", "reason"}]}``.
    ``revision`` is null if nothing changed; then ``send`` and ``links`` say what would be sent, as ``rehearsed_send`` does.
    """
    from infra.workplace import workplace_in
    from sluice.distributor.build.build import build
    from sluice.distributor.plan.sends import plan_sends

    distribution, distributor = session.owner(name)
    with workplace_in(session.site, distributor.name) as work:
        result = build(
            distribution, store=work.store, source=work.source, rebaseline=rebaseline, allow_removals=demanded.allow_removals, dry_run=True
        )
    is_built = result.revision is None and result.previous is not None
    sends = _sends(session, distribution=name, to=sorted(sends_to), extract=True) if is_built and sends_to else _Sends([], [], [])
    targets = sends.targets
    if sends_to and result.revision is not None:
        states, latest = site_snapshot(session.site, distributions=[name], subscribers=sends_to).states, {name: result.revision}
        targets = plan_sends(session.site, distribution=name, to=sorted(sends_to), latest=latest, states=states)
    left_out = [target for target in targets if target.state in _NEVER_SENT]
    receivers = [target.subscriber for target in targets if target.state not in _NEVER_SENT]
    pairs = [(subscriber, name) for subscriber in receivers]
    last = newest_manifest(session, name) if result.manifest is None else result.manifest

    def show() -> None:
        found = f"{counted(result.files, 'file')}, {size(result.bytes)}"
        if result.revision is None:
            out(f"would build nothing: {name} has no change since {result.previous or 'ever'} ({found})")
        else:
            changes = f"{result.added} added, {result.modified} modified, {result.removed} removed"
            out(f"would build {name} {result.revision}: {found}; {changes}; {size(result.bytes_new)} of new content")
        if result.remark:
            out(result.remark)
        if sends.rows:
            sends.show()
            return
        if receivers:
            unbuilt = "" if result.revision is None else "; it has to be built before bytes and time can be foretold"
            out(f"would send it to those of {', '.join(receivers)} that do not have it, and have them extract it{unbuilt}")
        for target in left_out:
            out(f"would not send it to {target.subscriber}: {target.reason}")

    unsent = [{"subscriber": target.subscriber, "state": str(target.state), "reason": target.reason} for target in left_out]
    data = {"build": _build_json(result), "send_to": receivers, "not_sent_to": unsent, **(sends.as_json() if is_built else {})}
    return _print(_ask(session, pairs, dict.fromkeys(pairs, last) if last else {}, demanded), data, show, as_json=as_json)


def rehearsed_sign(session: Session, name: str, *, as_json: bool) -> None:
    """Print what signing would change: ``{"publish": [targets], "withdraw": [targets]}``."""
    from sluice.distributor.build.sign import listing

    listed = session.signed(name)
    wanted = listing(name, session.store(name), listed)
    new = sorted(target for target, digest in wanted.items() if listed.get(target) != digest)
    gone = sorted(set(listed) - set(wanted))
    if as_json:
        emit({"publish": new, "withdraw": gone})
        return
    lines = [f"would publish {target}" for target in new] + [f"would withdraw {target}" for target in gone]
    out("\n".join(lines) or "the signed metadata is up to date")


def rehearsed_send(
    session: Session, *, channel: str, distribution: str, to: Sequence[str], check: bool, demanded: Demanded, as_json: bool
) -> int:
    """Print what a send would do, and return the exit code that the run would have.

    ``{"send": [{..., "state", "reason"}], "links": [...]}``, the first as in ``sluice plan``.

    ``state`` and ``reason`` are null if it would be sent. Missing deltas are made for their size, and thrown away.
    """
    sends = _sends(session, channel=channel, distribution=distribution, to=to, check=check)
    show = sends.show if sends.rows else partial(out, "nothing would be sent to any Subscriber")
    answers = _ask(session, sends.at_once, newest_manifests(session, sends.at_once), demanded)
    return _print(answers, sends.as_json(), show, as_json=as_json)


_NEVER_SENT = (State.INACTIVE, State.NOT_APPLICABLE, State.NOT_JOINED)
"""Of pairs that no run sends or has extracted, whatever is held there."""


@dataclass(frozen=True, slots=True)
class _Sends:
    """Sends that would happen now, and those that would not, with the reason."""

    targets: list[SendTarget]
    rows: list[dict[str, Any]]
    at_once: list[tuple[str, str]]
    """Subscriber and Distribution of those that an extraction follows at once."""

    def as_json(self) -> dict[str, Any]:
        return {"send": self.rows, "links": links_json(self.rows)}

    def show(self) -> None:
        cells = [
            [
                row["subscriber"],
                row["distribution"],
                row["revision"] or "-",
                bytes_cell(row),
                "-" if row["reason"] else time_cell(row),
                row["reason"] or _outlook(target, row),
            ]
            for target, row in zip(self.targets, self.rows, strict=True)
        ]
        out(table(["subscriber", "distribution", "revision", "both ways", "time", "would be"], cells, right={"both ways", "time"}))
        show_links(self.rows)


def _sends(
    session: Session, *, channel: str = "", distribution: str = "", to: Sequence[str] = (), check: bool = False, extract: bool = False
) -> _Sends:
    from sluice.distributor.plan.extractions import extracting_at_once
    from sluice.distributor.plan.sends import newest_revisions, plan_sends

    site = session.site
    meant = [distribution] if distribution else [d.name for d in site.distributions_of_channel(channel)]
    states = site_snapshot(site, distributions=meant, subscribers=to).states
    latest = newest_revisions(meant, session.store)
    targets = plan_sends(site, channel=channel or None, distribution=distribution or None, to=to, latest=latest, states=states, check=check)
    found = {(target.subscriber, target.distribution): target for target in targets}
    at_once = list(found) if extract else extracting_at_once(site, targets, now())
    predictions = predicted(session, targets, exact=True, extracting=at_once)
    rows = [
        prediction_json(target, predictions.get(pair))
        | {"state": target.state.value if target.state else None, "reason": target.reason or None}
        for pair, target in found.items()
    ]
    return _Sends(targets, rows, at_once)


def rehearsed_extract(
    session: Session,
    owners: Sequence[str],
    subscribers: Sequence[str],
    distribution: str,
    *,
    demanded: Demanded,
    at_once: bool = True,
    as_json: bool,
) -> int:
    """Print what would be extracted, and return the exit code that the run would have.

    ``{"extract": [{"subscriber", "distribution", "revision", "at"}], "doubted": [sentences]}``.
    """
    from sluice.distributor.plan.extractions import ExtractTarget, doubted, plan_extracts

    site, at, demand, only = session.site, now(), demanded.demand, distribution or None

    def states() -> Mapping[tuple[str, str], CurrentState]:
        return site_snapshot(site, distributions=[only] if only else (), subscribers=subscribers).states

    def planned() -> dict[tuple[str, str], ExtractTarget]:
        known = states()
        plans = (
            plan_extracts(site, owner, known, at, subscribers=subscribers, distribution=only, at_once=at_once, demand=demand)
            for owner in owners
        )
        return {target.pair: target for plan in plans for target in plan}

    before = planned()
    checks = {pair for pair, target in before.items() if target.is_check}
    manifests, gone = kept_manifests(session, {pair: target.revision for pair, target in before.items()})
    answers = _ask(session, list(before), manifests, demanded, checks)
    # A host that answers otherwise than was believed of it is doubted from now on: the run would leave it out.
    found = [target for pair, target in planned().items() if pair in before]
    answers = answers.only({target.pair for target in found}, gone)
    known = states()
    left_out = [each for owner in owners for each in doubted(site, owner, known, found, subscribers=subscribers, distribution=only)]
    rows = [{"subscriber": t.subscriber, "distribution": t.distribution, "revision": str(t.revision), "at": utc(t.at)} for t in found]
    check = "write anew" if demand is Demand.FORCE else "verify"
    lines = [f"{t.subscriber} would {check if t.is_check else 'extract'} {t.distribution} {t.revision}" for t in found]
    nothing = "no Subscriber holds a revision that it has not extracted" if at_once else "nothing is installed that would be read back"
    left = "extracted" if demand is Demand.DUE else "read back"
    show = partial(out, "\n".join([*(lines or [nothing]), *(f"would not be {left}: {each}" for each in left_out)]))
    return _print(answers, {"extract": rows, "doubted": left_out}, show, as_json=as_json)


def rehearsed_refresh(session: Session, distributors: Sequence[str], *, as_json: bool) -> None:
    """Print what a refresh would do: ``{"refresh": [{"distributor", "sign": [Distributions]}]}``."""
    site = session.site
    found = {name: [d.name for d in site.distributions_of_distributor(name)] for name in distributors}
    if as_json:
        emit({"refresh": [{"distributor": name, "sign": owned} for name, owned in found.items()]})
        return
    for name, owned in found.items():
        out(f"would refresh {name}: renew the signatures of {', '.join(owned) or 'nothing'}, withdraw what is no longer in the site")


@dataclass(frozen=True, slots=True)
class _Answers:
    """What hosts said about actions and changes."""

    met: RehearsedActions
    changed: RehearsedChanges

    def only(self, pairs: Collection[tuple[str, str]], more: Sequence[Unasked]) -> _Answers:
        """Leave out what was said about other pairs, and add those that could not be asked."""
        rows = [each for each in self.met.rows if each[:2] in pairs]
        changes = [each for each in self.changed.rows if (each[0], each[1].distribution) in pairs]
        return _Answers(replace(self.met, rows=rows), RehearsedChanges(changes, [*self.changed.unasked, *more]))


def _ask(
    session: Session,
    pairs: Sequence[tuple[str, str]],
    manifests: Mapping[tuple[str, str], Manifest],
    demanded: Demanded,
    checks: Collection[tuple[str, str]] = (),
) -> _Answers:
    """Ask the hosts what actions an extraction of ``manifests`` would meet and what it would change."""
    return _Answers(rehearsed_actions(session, pairs), rehearsed_changes(session, manifests, demanded, checks))


def _print(answers: _Answers, data: dict[str, Any], show: Callable[[], None], *, as_json: bool) -> int:
    """Print what hosts said after the rest, and return the exit code of the run, as far as it is foretold."""
    met, changed = answers.met, answers.changed
    unasked = {each.subscriber: each for each in (*met.unasked, *changed.unasked)}
    if as_json:
        rows = [{"subscriber": name, "error": each.message} for name, each in sorted(unasked.items())]
        emit({**data, **changed.as_json(), "actions": met.as_json(), "unasked": rows})
    else:
        show()
        met.show()
        changed.show()
    failures = met.failures() | changed.failures()
    return worst_exit([*failures.values(), *(each.code for each in unasked.values() if each.code)])


def _outlook(target: SendTarget, row: dict[str, Any]) -> str:
    if target.is_held:
        return "extracted"
    if target.is_extracted:
        return "asked, and sent only what it lacks"
    return f"sent as a delta from {row['base']}" if row["base"] else "sent"


def _build_json(result: BuildResult) -> dict[str, Any]:
    revisions = {name: None if (number := getattr(result, name)) is None else str(number) for name in ("revision", "previous")}
    figures = {name: getattr(result, name) for name in ("files", "bytes", "bytes_new", "added", "modified", "removed", "links_across")}
    return revisions | figures | {"unmatched_excludes": [{"source": source, "exclude": each} for source, each in result.unmatched]}
