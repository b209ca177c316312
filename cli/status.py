"""``sluice status`` and ``sluice why``: the state of each Subscriber with each Distribution (X1).

``status --json``: ``{"rows": [{"subscriber", "distribution", "channel", "held", "extracted", "latest", "state", "reason", "since",
"bytes_sent"}], "disk": {distribution: {"revisions", "contents", "own_contents"}}}`` (C6); ``why --json``: one such row with
``"sentence"`` and ``"actions": [{"phase", "label", "exit_code", "seconds", "output"}]``, those that failed if the Subscriber's last
receipt is a failure.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.chosen import chosen_names, names_of
from cli.disk import disk_text, disk_used
from cli.ledgers import last_actions, new_ledgers, site_snapshot
from cli.outcome import error_of
from cli.session import Session, distributions_of, emit, json_option, now, out, say, session
from cli.tables import Row, fitted, lines, moment, size
from cli.terminal import Line, Region, columns, is_live, is_read, wrapped
from sluice.errors import LedgerError, NotFoundError, SiteError, StoreError
from sluice.model.state import State
from sluice.rules.wording import ago, counted

if TYPE_CHECKING:
    from sluice.model.order import ActionReport
    from sluice.model.site import Site
    from sluice.rules.status_row import StatusRow


WATCH_SECONDS = 2.0
Lines = Sequence[Line]


@click.command()
@click.argument("name", required=False, default="", shell_complete=names_of("distributions", "channels"))
@click.option(
    "--subscriber",
    "subscribers",
    multiple=True,
    metavar="SUBSCRIBER",
    shell_complete=names_of("subscribers"),
    help="Only this Subscriber, or those that a selector chooses; may be repeated.",
)
@click.option("--failed", "only_failed", is_flag=True, help="Only what failed or fails.")
@click.option("--watch", "watched", is_flag=True, help="Show it anew as it changes, until Ctrl-C.")
@json_option
@session
def status(session: Session, name: str, subscribers: tuple[str, ...], only_failed: bool, watched: bool, as_json: bool) -> None:
    """Show the state of each Subscriber.

    A row for each Subscriber and Distribution, from the ledger, those that failed first. NAME is a Distribution or a Channel; without
    it everything is shown.
    """
    if watched and as_json:
        raise click.UsageError("--watch and --json exclude each other")
    look = partial(_Look, session, name, subscribers, only_failed=only_failed)
    if watched:
        _watch(session, look)
        return
    found = look()
    used = disk_used(session, {row.distribution for row in found.rows} & session.site.distributions.keys())
    if as_json:
        emit({"rows": [dict(row.as_json()) for row in found.rows], "disk": {name: asdict(each) for name, each in used.items()}})
        return
    for sentence in new_ledgers(session.site, found.snapshot):
        say(sentence)
    width = columns()
    on_disk = [f"{each} on the Distributor's disk {disk_text(disk)}" for each, disk in used.items()]
    out([*found.table(width), *_folded([*found.totals(), *((each, "") for each in on_disk)], width)])


class _Look:
    """One look at the ledgers, and at what the processes that send are at."""

    def __init__(self, session: Session, name: str, chosen: Sequence[str], only_failed: bool) -> None:
        from sluice.distributor.deliver.under_way import read_copies
        from sluice.rules.reasons import status_rows

        site, at = session.site, now()
        named = {name, *(distributions_of(site, name) if name in site.channels else ())} if name else set()
        hosts = chosen if set(chosen) <= site.subscribers.keys() else ()  # else selectors, or some that left the site
        snapshot = site_snapshot(site, distributions=named, subscribers=hosts)
        self._at = at
        self.snapshot = snapshot
        every = status_rows(site, snapshot, at, distributions=named, subscribers=hosts)
        known = {row.subscriber for row in every}.intersection(chosen)  # by the ledger too: it may have left the site
        only = {*known, *chosen_names(site, [each for each in chosen if each not in known])}
        rows = [row for row in _of_name(site, name, every) if not chosen or row.subscriber in only]
        self.failed = {pair for row in rows if error_of(row, snapshot.states.get(pair := (row.subscriber, row.distribution)))}
        self._all, self.rows = rows, [row for row in rows if not only_failed or self._fails(row)]
        self._only_failed = only_failed
        self._under_way = {
            pair: told
            for distributor in site.distributors.values()
            for pair, told in read_copies(Path(distributor.working_directory), now=time.time()).items()
        }

    def _fails(self, row: StatusRow) -> bool:
        return row.failing is not None or (row.subscriber, row.distribution) in self.failed

    def table(self, width: int | None) -> Lines:
        """Lay out the rows for people, those that failed first; times are in UTC, as in the reasons."""
        if not self.rows:
            return [("nothing failed" if self._only_failed else "no Channel joins a Subscriber with a Distribution", "")]
        headers = [
            "subscriber",
            "distribution",
            "channel",
            "held",
            "extracted",
            "latest",
            "state",
            "since (utc)",
            "read back",
            "sent",
            "reason",
        ]
        less = ["sent", "channel", "held", "since (utc)", "latest", "read back"]
        if len({row.distribution for row in self.rows}) == 1:
            less = ["distribution", *less]
        rows = [self._row(row) for row in sorted(self.rows, key=lambda row: not self._fails(row))]
        return fitted(headers, rows, width=width, right={"sent"}, less=less)

    def _row(self, row: StatusRow) -> Row:
        told = self._under_way.get((row.subscriber, row.distribution), ())
        # The copy is up to two seconds older than the ledger: of a send that is over nothing is told.
        doing = told[0] if told else ""
        is_moving = bool(doing) and (row.state is State.SENDING or (row.state is State.INSTALLING and doing != "sending"))
        numbers = [str(number or "-") for number in (row.held, row.extracted, row.latest)]
        figures = ", ".join(each.strip() for each in told[1 if told[:1] == ["sending"] else 0 :])
        state = f"{row.state.value} {told[1].strip()}" if is_moving and doing == "sending" and len(told) > 1 else row.state.value
        # That a build fails is said of the Distribution, once.
        reason = row.reason.replace(f"; {row.failing.sentence}", "") if row.failing and row.subscriber else row.reason
        reason = f"{reason}: {figures}" if is_moving and figures else reason
        cells = [
            row.subscriber or "-",
            row.distribution,
            row.channel or "-",
            *numbers,
            state,
            moment(row.since) or "-",
            ago(row.read_back_at, self._at) if row.read_back_at and row.state is State.INSTALLED else "-",
            size(row.bytes_sent),
        ]
        is_plain = row.state is State.INSTALLED and "; " not in reason  # else something beyond that is told
        return Row(cells, reason, "red" if self._fails(row) else "cyan" if row.state in (State.SENDING, State.INSTALLING) else "", is_plain)

    def totals(self) -> Lines:
        """Sum up each Distribution in a line: ``3 of 40 Subscribers failed, 35 extracted 1.4, 2 sending``."""
        lines = []
        names = sorted({row.distribution for row in self._all if row.subscriber})
        for name in names:
            rows = [row for row in self._all if row.distribution == name and row.subscriber]
            failed = sum((row.subscriber, name) in self.failed for row in rows)
            counts = Counter(
                f"extracted {row.extracted}" if row.state is State.INSTALLED else row.state.value
                for row in rows
                if (row.subscriber, name) not in self.failed
            )
            told = [(failed, "failed")] if failed else []
            told += [(number, what) for what, number in counts.most_common()]
            first, *others = told
            text = f"{first[0]} of {counted(len(rows), 'Subscriber')} {first[1]}" + "".join(f", {number} {what}" for number, what in others)
            failing = next((row.failing for row in rows if row.failing), None)
            text += f"; {failing.sentence}" if failing else ""
            lines.append((f"{name}: {text}" if len(names) > 1 else text, "red" if failed or failing else ""))
        return lines


def _watch(session: Session, look: Callable[[], _Look]) -> None:
    """Show tables with their totals until Ctrl-C: rewritten in place, or without a live terminal printed anew after each change.

    A site is read again when a file of it changes. If it has errors then, or a ledger can't be read that could be, that is told, and what
    was read last is shown until both can be read again.
    """
    region = Region(sys.stdout) if is_live(sys.stdout) else None
    before, problem = list[Line](), ""
    try:
        session.read_anew()
        found = look()
        while is_read(sys.stdout):
            width, height = region.room if region is not None else (columns(), 0)
            rows, last = found.table(width), _folded([*found.totals(), *([(problem, "red")] if problem else [])], width)
            if region is not None:
                left = height - len(last)
                if len(rows) > left:
                    hidden = (f"… {len(rows) - left + 1} more lines; --failed shows fewer", "")
                    rows = [*rows[: max(0, left - 1)], hidden]
                region.show([*rows, *last])
            elif (lines := [*rows, *last]) != before:
                before = lines
                out([(f"{moment(now())} UTC", ""), *lines, ("", "")])
            time.sleep(WATCH_SECONDS)
            try:
                session.read_anew()
                found, problem = look(), ""
            except SiteError as error:
                problem = f"the site has {counted(len(error.errors), 'error')} now, and is shown as it was: run `sluice validate`"
            except (NotFoundError, LedgerError, StoreError) as error:
                problem = str(error)
    except KeyboardInterrupt:
        pass
    finally:
        if region is not None:
            region.leave()


def _folded(lines: Lines, width: int | None) -> Lines:
    return lines if width is None else [(each, colour) for text, colour in lines for each in wrapped(text, width, hanging="  ")]


@click.command()
@click.argument("subscriber", shell_complete=names_of("subscribers"))
@click.argument("distribution", shell_complete=names_of("distributions"))
@json_option
@session
def why(session: Session, subscriber: str, distribution: str, as_json: bool) -> None:
    """Say why a Subscriber has, or does not have, a revision.

    The actions of its last extraction follow; of one that failed, and of undoing it, all that it printed.
    """
    from sluice.rules import reasons

    site, at = session.site, now()
    snapshot = site_snapshot(site, distributions=[distribution], subscribers=[subscriber])
    sentence = reasons.why(site, snapshot, subscriber, distribution, at)
    actions = last_actions(site, snapshot, subscriber, distribution)
    if as_json:
        row = reasons.status_row(site, snapshot, subscriber, distribution, at).as_json()
        emit({**row, "sentence": sentence, "actions": [_action_json(report) for report in actions]})
        return
    out(sentence)
    for report in actions:
        if report.exit_code == 0 and report.phase != "undo":
            out(f"{report.phase} action, {lines(report.label)}, {_end(report)}, {report.seconds:.1f} s{_last_line(report)}")
            continue
        out(f"{report.phase} action, {lines(report.label)}, {_end(report)}{', printed:' if report.output else ', printed nothing'}")
        for line in lines(report.output).splitlines():
            out(f"    {line}")


def _action_json(report: ActionReport) -> dict[str, object]:
    return {
        "phase": report.phase,
        "label": lines(report.label),
        "exit_code": report.exit_code,
        "seconds": report.seconds,
        "output": lines(report.output),
    }


def _last_line(report: ActionReport) -> str:
    printed = lines(report.output).strip().splitlines()
    return f": {printed[-1]}" if printed else ""


def _end(report: ActionReport) -> str:
    return "ended at its time limit" if report.exit_code is None else f"exit code {report.exit_code}"


def _of_name(site: Site, name: str, rows: Sequence[StatusRow]) -> Sequence[StatusRow]:
    if not name:
        return rows
    found = [row for row in rows if row.distribution == name]
    if found or name in site.distributions:
        return found
    listed = distributions_of(site, name)
    members = {s.subscriber for s in site.channel(name).subscriptions}
    return [row for row in rows if row.distribution in listed and row.subscriber in members]
