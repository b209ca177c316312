"""The ledger under fault: the writes of a send and its extraction, one after another, on SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random

from infra.ledger.sql import SqlLedger, open_ledger
from sluice.errors import LedgerError
from sluice.model.event import Event, EventKind
from sluice.model.order import Outcome, Receipt
from sluice.model.revision import RevisionNumber
from sluice.model.state import CurrentState
from tests.soak.case import After, Places, must
from tests.soak.process import Tell
from tests.soak.running import Runner, Work
from tests.soak.trees import leftovers

NOW = datetime(2026, 12, 1, tzinfo=UTC)
R12 = RevisionNumber(1, 2)
PAIRS = ("oslo", "bergen")
Step = Callable[[SqlLedger], object]


def _record(kind: EventKind, subscriber: str, change: Callable[[CurrentState], CurrentState]) -> Step:
    event = Event(NOW, kind, "hq", "zone", R12, subscriber, "fast", "run-1")
    return lambda ledger: ledger.record(event, change)


def _receipt(subscriber: str, sequence: int) -> Step:
    at = NOW + timedelta(minutes=sequence)
    receipt = Receipt("hq", subscriber, sequence, "zone", R12, Outcome.INSTALLED, at, at, 3, 0, 100, "digest")
    event = Event(at, EventKind.INSTALLED, "hq", "zone", R12, subscriber, "", "run-1")
    return lambda ledger: ledger.accept_receipt(receipt, f'{{"payload":"{subscriber}"}}', event)


def _send(subscriber: str) -> list[Step]:
    return [
        _record(EventKind.OFFERED, subscriber, lambda s: s.offer(R12, distributor="hq", channel="fast", at=NOW)),
        _record(EventKind.SEND_STARTED, subscriber, lambda s: s.begin_sending(R12, NOW)),
        _record(EventKind.SENT, subscriber, lambda s: s.mark_received(R12, sent=1000, resumed=0, at=NOW)),
        lambda ledger: ledger.next_sequence("hq", subscriber),
        _record(EventKind.EXTRACT_STARTED, subscriber, lambda s: s.begin_extracting(R12, NOW)),
        _receipt(subscriber, 1),
    ]


STEPS = [step for subscriber in PAIRS for step in _send(subscriber)]


@dataclass
class Recording:
    """Two sends; after an end the next process goes on where the ledger stands, as flows do."""

    name: str
    is_new: bool
    operation: str = "ledger"
    may_repeat: bool = False
    _expected: list[object] = field(default_factory=list)

    def prepare(self, places: Places, chance: Random, runner: Runner) -> None:
        self._expected = self._by_step(places)
        if not self.is_new:
            with closing(open_ledger(places.live / "ledger.db")) as ledger:
                ledger.record(Event(NOW, EventKind.BUILT, "hq", "zone", R12))

    def _by_step(self, places: Places) -> list[object]:
        """What has to stand after 0, 1, 2... steps."""
        found = []
        with closing(open_ledger(places.outside / "ledger.db")) as ledger:
            found.append(self._seen(ledger))
            for step in STEPS:
                step(ledger)
                found.append(self._seen(ledger))
        return found

    def _seen(self, ledger: SqlLedger) -> object:
        snapshot = ledger.snapshot()
        kinds = [(each.event.kind, each.event.subscriber) for each in ledger.events() if each.event.kind is not EventKind.BUILT]
        receipts = [ledger.receipt("hq", subscriber, 1) for subscriber in PAIRS]
        return kinds, dict(snapshot.states), receipts

    def _standing(self, ledger: SqlLedger, told: int) -> int:
        """After how many steps it stands; as many as were confirmed, or one more, and nothing in between."""
        seen = self._seen(ledger)
        found = [number for number in (told, told + 1) if number < len(self._expected) and self._expected[number] == seen]
        must(found, f"{told} steps were confirmed, and the ledger stands after neither {told} nor {told + 1}")
        return found[0]

    def work(self, places: Places, begin: int = 0) -> Work:
        def act(tell: Tell) -> None:
            with closing(open_ledger(places.live / "ledger.db")) as ledger:
                for number, step in enumerate(STEPS[begin:], begin + 1):
                    found = step(ledger)
                    tell(done=number, sequence=found if isinstance(found, int) else 0)

        return Work(act)

    def check(self, places: Places, after: After) -> None:
        """What a reader finds: opening it ends what was killed, as SQLite does."""
        path = places.live / "ledger.db"
        told = max((each["done"] for each in after.told), default=0)
        if not path.exists():
            must(self.is_new and not told, "the ledger is gone")
            self._begin = 0
            return
        try:
            with closing(open_ledger(path)) as ledger:
                self._begin = self._standing(ledger, told)
                must(self.is_new or any(each.event.kind is EventKind.BUILT for each in ledger.events()), "the event before is gone")
            with closing(sqlite3.connect(path)) as database:
                said = database.execute("PRAGMA integrity_check").fetchall()
                must(said == [("ok",)], f"the database is damaged: {said}")
        except (LedgerError, sqlite3.Error) as error:
            must(False, f"the ledger can't be read: {error}")

    def recover(self, places: Places, runner: Runner, after: After) -> None:
        given = {each["sequence"] for each in after.told if each["sequence"] and each["done"] <= len(STEPS) // len(PAIRS)}
        ended = runner.run(self.work(places, self._begin))
        must(ended.code == 0, f"the repetition ended with {ended.code}: {ended.said}")
        again = {each["sequence"] for each in ended.told if each["sequence"] and each["done"] <= len(STEPS) // len(PAIRS)}
        must(not given & again, f"order number {given & again} was given twice")

    def settled(self, places: Places) -> object:
        must(not leftovers(places.live), f"left over: {leftovers(places.live)}")
        with closing(open_ledger(places.live / "ledger.db")) as ledger:
            return self._seen(ledger)


def ledger_cases() -> list[Recording]:
    """Every situation of the ledger."""
    return [Recording("new", is_new=True), Recording("send", is_new=False)]
