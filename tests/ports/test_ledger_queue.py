"""The send queue's transactions, whatever database they are on; who decides is ``rules/dispatch.py``."""

import sqlite3
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from sqlalchemy import Row

from infra.ledger import queue_copy, send_queue
from infra.ledger.rows import read_ticket
from infra.ledger.sql import open_ledger
from infra.ledger.tables import SCHEMA_VERSION
from sluice.errors import LeaseLostError
from sluice.model.assignment import Assignment
from sluice.model.event import Event, EventKind
from sluice.model.order import Outcome, Receipt
from sluice.model.revision import RevisionNumber
from sluice.model.site import Priority
from sluice.model.state import Record, State
from sluice.model.ticket import Lost, Occupied, Pausing, Phase, QueueTurn, Started, Ticket, Verdict, Waiting
from sluice.ports import Ledger
from sluice.rules.dispatch import decide
from tests.ports.conftest import Opener

NOW = datetime(2026, 12, 1, 20, 0, 0, 123456, tzinfo=UTC)
V1, V2 = RevisionNumber(1, 1), RevisionNumber(1, 2)
LEASE = 60.0


def zone(host: str, revision: RevisionNumber, priority: Priority) -> Assignment:
    return Assignment(host, "zone", revision, priority=priority)


def enter(ledger: Ledger, host: str, priority: Priority = Priority.MEDIUM, *, holder: str = "run-1", now: datetime = NOW) -> Ticket:
    ticket = ledger.enqueue("hq", zone(host, V1, priority), holder, lease_seconds=LEASE, now=now)
    assert isinstance(ticket, Ticket)
    return ticket


def record(kind: EventKind, host: str) -> Record:
    event = Event(NOW, kind, distributor="hq", distribution="zone", subscriber=host, flow_run="run-1")
    return Record(event, lambda state: state.begin_sending(V1, NOW))


def turns(ledger: Ledger, *asking: Ticket, kept: tuple[Ticket, ...] = (), limit: int | None = 1, now: datetime = NOW) -> QueueTurn:
    numbers = {t.number for t in asking}
    hosts = {t.number: t.subscriber for t in asking}
    return ledger.take_turns(
        "hq", numbers | {t.number for t in kept}, numbers, lambda n: record(EventKind.SEND_STARTED, hosts[n]), limit=limit, now=now
    )


def kinds(ledger: Ledger) -> list[tuple[EventKind, str]]:
    return [(e.event.kind, e.event.subscriber) for e in ledger.events()]


def phases(ledger: Ledger) -> list[Phase]:
    return [t.phase for t in ledger.snapshot().tickets]


def test_the_same_send_started_twice_is_told_who_is_at_it(ledger: Ledger, opener: Opener) -> None:
    first = enter(ledger, "a")
    second = opener().enqueue("hq", zone("a", V2, Priority.HIGH), "run-2", lease_seconds=LEASE, now=NOW)
    assert second == Occupied(first, "flow run run-1 is connecting to it or has it extract")
    ledger.finish(first)
    assert isinstance(ledger.enqueue("hq", zone("a", V2, Priority.HIGH), "run-2", lease_seconds=LEASE, now=NOW), Ticket)


def test_slots_are_given_to_all_who_ask_at_once_in_order_and_given_on(ledger: Ledger) -> None:
    tickets = [enter(ledger, f"host-{n}") for n in range(4)]
    said = turns(ledger, *tickets, limit=2).verdicts
    assert [type(said[t.number]) for t in tickets] == [Started, Started, Waiting, Waiting]
    last = said[tickets[3].number]
    assert isinstance(last, Waiting)
    assert last.reason == "waiting: 2 of 2 transfers of hq run (zone to host-0, zone to host-1); 1 before it"
    assert kinds(ledger) == [(EventKind.SEND_STARTED, "host-0"), (EventKind.SEND_STARTED, "host-1")]
    assert ledger.state("host-0", "zone").state is State.SENDING
    ledger.finish(tickets[0])
    ledger.finish(tickets[0])
    said = turns(ledger, *tickets[2:], kept=(tickets[1],), limit=2).verdicts
    assert [type(said[t.number]) for t in tickets[1:]] == [Started, Started, Waiting]


def test_the_tickets_of_a_sender_are_listed_in_their_order(ledger: Ledger) -> None:
    mine = [enter(ledger, host) for host in ("oslo", "bergen")]
    other = ledger.enqueue("branch", zone("far", V1, Priority.HIGH), "run-2", lease_seconds=LEASE, now=NOW)
    assert (ledger.tickets("hq"), ledger.tickets("branch"), ledger.tickets("nobody")) == (mine, [other], [])


def test_the_stamp_moves_with_the_queue_and_not_with_its_leases(ledger: Ledger) -> None:
    def stamp() -> int:
        return ledger.look("hq").stamp

    seen = [stamp()]
    low = enter(ledger, "a", Priority.LOW)
    seen.append(stamp())
    assert turns(ledger, low).stamp == stamp()
    seen.append(stamp())
    ledger.pause(low, now=NOW)
    seen.append(stamp())
    turns(ledger, low)
    seen.append(stamp())
    ledger.release(low, record(EventKind.SENT, "a"))
    seen.append(stamp())
    ledger.finish(low)
    seen.append(stamp())
    assert seen == list(range(seen[0], seen[0] + 7))
    other = enter(ledger, "b")
    before = stamp()
    ledger.renew([other.number], lease_seconds=LEASE, now=NOW + timedelta(seconds=20))
    turns(ledger, kept=(other,))
    ledger.finish(low)
    assert stamp() == before
    assert ledger.look("oslo-hub").stamp == 0


def test_a_lower_one_is_told_to_pause_says_so_and_goes_on_when_the_higher_one_is_done(ledger: Ledger, opener: Opener) -> None:
    low = enter(ledger, "a", Priority.LOW)
    turns(ledger, low)
    other, high = opener(), enter(ledger, "b", Priority.HIGH, holder="run-2")
    assert isinstance(turns(other, high).verdicts[high.number], Waiting), "the slot isn't free before the lower one said so"
    assert isinstance(turns(ledger, kept=(low,)).verdicts[low.number], Pausing)
    ledger.pause(low, now=NOW)
    assert isinstance(turns(ledger, low).verdicts[low.number], Waiting)
    assert isinstance(turns(other, high).verdicts[high.number], Started)
    assert phases(ledger) == [Phase.PAUSED, Phase.RUNNING]
    other.finish(high, record(EventKind.SENT, "b"))
    assert isinstance(turns(ledger, low).verdicts[low.number], Started)
    assert kinds(ledger) == [
        (EventKind.SEND_STARTED, "a"),
        (EventKind.SEND_PAUSED, "a"),
        (EventKind.SEND_STARTED, "b"),
        (EventKind.SENT, "b"),
        (EventKind.SEND_RESUMED, "a"),
    ]


def test_a_dead_holders_slot_is_free_when_its_lease_runs_out_and_the_late_holder_is_told(ledger: Ledger) -> None:
    dead, alive = enter(ledger, "a"), enter(ledger, "b", holder="run-2")
    turns(ledger, dead)
    soon, late = NOW + timedelta(seconds=LEASE - 1), NOW + timedelta(seconds=LEASE)
    waiting = turns(ledger, alive, now=soon)
    assert isinstance(waiting.verdicts[alive.number], Waiting)
    assert waiting.until == late
    assert isinstance(turns(ledger, alive, now=late).verdicts[alive.number], Started)
    assert ledger.renew([dead.number, alive.number], lease_seconds=LEASE, now=late) == {alive.number}
    assert dead.number not in turns(ledger, dead, kept=(alive,), now=late).verdicts
    with pytest.raises(LeaseLostError, match="was given away"):
        ledger.pause(dead, now=late)
    assert ledger.release(dead, record(EventKind.SENT, "a")) == Lost()
    ledger.finish(dead)
    assert (EventKind.LEASE_EXPIRED, "a") in kinds(ledger)
    assert kinds(ledger)[-1] == (EventKind.SENT, "a"), "what happened is recorded all the same"


def test_a_dead_holders_pair_can_be_entered_again_when_its_lease_runs_out(ledger: Ledger) -> None:
    dead = enter(ledger, "a")
    late = NOW + timedelta(seconds=LEASE)
    fresh = enter(ledger, "a", holder="run-2", now=late)
    assert fresh.number > dead.number
    ledger.finish(dead)
    assert ledger.renew([dead.number, fresh.number], lease_seconds=LEASE, now=late) == {fresh.number}


def test_a_late_holder_whose_place_nobody_wanted_keeps_it_and_thousands_are_renewed_at_once(ledger: Ledger) -> None:
    tickets = [enter(ledger, f"host-{n}") for n in range(3)]
    numbers = {t.number for t in tickets}
    later = NOW + timedelta(hours=1)
    assert ledger.renew(numbers | set(range(10_000, 12_000)), lease_seconds=LEASE, now=later) == numbers
    assert {t.lease_until for t in ledger.snapshot().tickets} == {later + timedelta(seconds=LEASE)}
    ledger.renew(numbers, lease_seconds=LEASE, now=NOW)
    assert {t.lease_until for t in ledger.snapshot().tickets} == {later + timedelta(seconds=LEASE)}, "never shortened"


def test_who_looks_lives_however_late_its_renewal_is(ledger: Ledger) -> None:
    mine = enter(ledger, "a")
    late = NOW + timedelta(hours=1)
    assert isinstance(turns(ledger, mine, now=late).verdicts[mine.number], Started)


def test_released_the_claim_stays_and_the_slot_is_free(ledger: Ledger) -> None:
    first, second = enter(ledger, "a"), enter(ledger, "b")
    turns(ledger, first)
    kept = ledger.release(first, record(EventKind.SENT, "a"))
    assert isinstance(kept, Ticket)
    assert (kept.number, kept.phase) == (first.number, Phase.ENTERED)
    assert isinstance(turns(ledger, second, kept=(first,)).verdicts[second.number], Started)
    assert isinstance(ledger.enqueue("hq", zone("a", V1, Priority.HIGH), "run-2", lease_seconds=LEASE, now=NOW), Occupied)


def test_a_receipt_gives_the_claim_back_and_an_order_begins_with_its_number(ledger: Ledger) -> None:
    ticket = enter(ledger, "a")
    assert ledger.next_sequence("hq", "a", record=record(EventKind.EXTRACT_STARTED, "a")) == 1
    receipt = Receipt("hq", "a", 1, "zone", V1, Outcome.INSTALLED, NOW, NOW, 1, 0, 9, "ab" * 32)
    ledger.accept_receipt(receipt, "{}", Event(NOW, EventKind.INSTALLED), done=ticket)
    assert phases(ledger) == []
    assert kinds(ledger) == [(EventKind.EXTRACT_STARTED, "a"), (EventKind.INSTALLED, "a")]


def test_finish_records_in_the_same_transaction_and_tells_the_new_state(ledger: Ledger) -> None:
    ticket = enter(ledger, "a")
    state = ledger.finish(ticket, record(EventKind.SENT, "a"))
    assert state == ledger.state("a", "zone")

    def broken(_: object) -> object:
        raise ArithmeticError("a change that fails")

    second = enter(ledger, "b")
    with pytest.raises(ArithmeticError):
        ledger.finish(second, Record(record(EventKind.SENT, "b").event, broken))  # type: ignore[arg-type]
    assert phases(ledger) == [Phase.ENTERED]


def test_several_records_are_kept_in_their_order(ledger: Ledger) -> None:
    ledger.record_all([record(EventKind.OFFERED, "b"), record(EventKind.OFFERED, "a")])
    assert kinds(ledger) == [(EventKind.OFFERED, "b"), (EventKind.OFFERED, "a")]


def test_a_look_tells_what_is_cancelled(ledger: Ledger, opener: Opener) -> None:
    opener().request_cancel("night", at=NOW)
    opener().request_cancel("night", at=NOW + timedelta(minutes=1), by="anna")
    assert ledger.look("hq").cancelled == {"night": NOW + timedelta(minutes=1)}
    assert [e.event.data for e in ledger.events()] == [{"name": "night", "by": ""}, {"name": "night", "by": "anna"}]


def test_processes_that_follow_what_changed_decide_by_the_rule(ledger: Ledger, opener: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(send_queue, "CHANGES_KEPT", 4)  # so that one who didn't look for a while has to read everything
    processes: dict[str, Ledger] = {"run-1": ledger, "run-2": opener()}
    chance, now, kinds_said = Random(12), NOW, set[type]()

    def unleased(said: Verdict) -> Verdict:
        return replace(said, ticket=replace(said.ticket, lease_until=NOW))

    def own(holder: str) -> list[Ticket]:
        return [t for t in ledger.snapshot().tickets if t.holder == holder]

    def breaks(_: int) -> Record:
        raise ZeroDivisionError

    for step in range(60):
        holder = chance.choice(list(processes))
        process, mine, limit = processes[holder], own(holder), chance.choice([2, 3])
        match chance.choice(["enter", "enter", "pause", "release", "finish", "late", "break"]):
            case "enter":
                enter(process, f"host-{step}", chance.choice(list(Priority)), holder=holder, now=now)
            case "pause" if running := [t for t in mine if t.phase is Phase.RUNNING]:
                process.pause(running[0], now=now)
            case "release" if running := [t for t in mine if t.phase is Phase.RUNNING]:
                process.release(running[-1], record(EventKind.SENT, running[-1].subscriber))
            case "finish" if mine:
                process.finish(chance.choice(mine))
            case "late":
                now += timedelta(seconds=LEASE / 2)
                process.renew([t.number for t in mine], lease_seconds=LEASE, now=now)
            case "break" if mine:
                numbers = [t.number for t in mine]
                with suppress(ZeroDivisionError):
                    process.take_turns("hq", numbers, numbers, breaks, limit=limit, now=now)
        if chance.random() < 0.7:
            before = ledger.snapshot().tickets
            mine = [t for t in before if t.holder == holder]
            asking = [t for t in mine if t.phase is not Phase.RUNNING and chance.random() < 0.8]
            queue = [replace(t, phase=Phase.READY) if t in asking and t.phase is Phase.ENTERED else t for t in before]
            alive = [replace(t, lease_until=now + timedelta(days=1)) if t.holder == holder else t for t in queue]
            wanted = [unleased(said) for said in decide(alive, limit, now).values() if said.ticket.holder == holder]
            said = turns(process, *asking, kept=tuple(mine), limit=limit, now=now)
            assert [unleased(each) for _, each in sorted(said.verdicts.items())] == sorted(wanted, key=lambda each: each.ticket.number)
            assert said.lost == set()
            kinds_said |= {type(each) for each in wanted}
    assert kinds_said == {Started, Waiting, Pausing}


def test_a_decision_reads_what_changed_and_says_what_starts_however_many_wait(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    tickets = [enter(ledger, f"host-{n}") for n in range(60)]
    turns(ledger, *tickets, limit=2)
    turns(ledger, *tickets[2:], kept=tuple(tickets[:2]), limit=2)
    read = list[Ticket]()

    def reads(row: Row[Any]) -> Ticket:
        read.append(read_ticket(row))
        return read[-1]

    monkeypatch.setattr(queue_copy, "read_ticket", reads)
    ledger.finish(tickets[0])
    waiting = {t.number for t in tickets[2:]}
    hosts = {t.number: t.subscriber for t in tickets}
    said = ledger.take_turns(
        "hq", waiting | {tickets[1].number}, waiting, lambda n: record(EventKind.SEND_STARTED, hosts[n]), limit=2, now=NOW, told=waiting
    )
    assert read == [], "only one that isn't there any more has changed"
    assert {n: type(verdict) for n, verdict in said.verdicts.items()} == {tickets[1].number: Started, tickets[2].number: Started}
    assert kinds(ledger)[-1] == (EventKind.SEND_STARTED, "host-2")


def test_ticket_numbers_are_never_given_twice(ledger: Ledger) -> None:
    numbers = []
    for _ in range(3):
        ticket = enter(ledger, "a")
        numbers.append(ticket.number)
        ledger.finish(ticket)
    assert numbers == [1, 2, 3]


def test_senders_do_not_wait_for_each_other(ledger: Ledger) -> None:
    turns(ledger, enter(ledger, "a", Priority.HIGH))
    low = ledger.enqueue("helsinki-hub", zone("b", V1, Priority.LOW), "run-2", lease_seconds=LEASE, now=NOW)
    assert isinstance(low, Ticket)
    number = low.number
    said = ledger.take_turns("helsinki-hub", [number], [number], lambda _: record(EventKind.SEND_STARTED, "b"), limit=1, now=NOW)
    assert isinstance(said.verdicts[number], Started)


def test_a_ledger_of_version_1_is_upgraded_with_its_queue(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    old = open_ledger(path)
    enter(old, "a")
    old.close()
    connection = sqlite3.connect(path)
    made = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")}
    of_version_1 = {"schema_version", "events", "states", "built", "sequences", "receipts", "cancels", "tickets"}
    connection.execute("DROP INDEX states_by_distribution")
    for name in made - of_version_1:
        connection.execute(f"DROP TABLE {name}")
    for name in ("read_back_at", "seen_at", "doubt", "doubt_order"):
        connection.execute(f"ALTER TABLE states DROP COLUMN {name}")
    connection.execute("UPDATE schema_version SET version = 1")
    connection.commit()
    connection.close()
    new = open_ledger(path)
    assert [t.subscriber for t in new.snapshot().tickets] == ["a"]
    enter(new, "b")
    assert new.look("hq").stamp == 1
    new.close()
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT version FROM schema_version").fetchone() == (SCHEMA_VERSION,)
    connection.close()
