"""The send queue as one process sees it (D9, D10): one watch for all of its tickets, however many wait.

A claim's ``Turn`` is kept by the watch from the moment it is entered: its lease is renewed with all the others', one write a third of a
lease. Twice a second the watch reads the queue's stamp; only if that moved, somebody asked or another's lease ended it has the ledger
decide, for all of its own tickets at once. A decision wakes the holder that waits for it: a task without a thread, or a transfer that
paused between two blocks. One that goes on waiting is told anew why every two seconds, so that a decision costs what it starts.

A process that can't renew for a whole lease takes all of its turns for lost, as the others by then do. Until it knows, because it stood
still or its ledger doesn't answer, none of its transfers sends on: each pauses, which asks the ledger whether its ticket is still its own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta

from sluice.errors import LeaseLostError, LedgerError, SluiceError
from sluice.model.state import Record
from sluice.model.ticket import Pausing, QueueLook, QueueTurn, Started, Ticket, Waiting
from sluice.ports import Clock, Ledger

LEASE_SECONDS = 30.0
"""How long a ticket outlives its holder's last sign of life, unless it is set otherwise (docs/deploy.md)."""
LEASE_SECONDS_MIN = 2.0
"""A shorter lease would end between two looks that renew it."""
LOOK_SECONDS = 0.5
"""Between two looks at the stamp while a ticket waits or is transferred."""
TELL_SECONDS = 2.0
"""Between two times at which those that wait are told how many are before them."""
SIGN_SECONDS = 25.0
"""Between two signs of life of a paused transfer: the agent counts ten minutes of silence as the sender's end."""


class SendCancelledError(Exception):
    """Somebody cancelled a name that a paused transfer waits under (I10)."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} was cancelled")
        self.name = name


Decision = Started | Waiting | SluiceError | SendCancelledError
"""The answer to a ticket that asks for a slot."""


class Turn:
    """A ticket that a ``QueueWatch`` keeps (``QueueWatch.keep`` makes it); as a sender's ``PauseControl`` it pauses a transfer."""

    def __init__(self, ticket: Ticket, watch: QueueWatch, on_lost: Callable[[], None]) -> None:
        self.ticket = ticket
        self.preempted = False
        """A higher priority waits for its slot."""
        self.decision: Decision | None = None
        """The last answer to ``ask``; None: none yet."""
        self.has_slot = False
        """It was given a slot and hasn't given it back."""
        self.paused = timedelta()  # in all
        self.stopped_by: Callable[[QueueLook], str | None] = lambda _: None
        self.began: Callable[[], Record] | None = None
        """Makes the record that is saved with the slot; None if it was recorded before."""
        self._watch, self._on_lost = watch, on_lost
        self._pause_ended = threading.Event()
        self._on_decision: Callable[[], None] = lambda: None

    @property
    def must_pause(self) -> bool:
        """Whether its transfer must pause before the next block; costs nothing."""
        return self.preempted or self._watch.is_overdue

    def ask(self, began: Callable[[], Record], *, stopped_by: Callable[[QueueLook], str | None], on_decision: Callable[[], None]) -> None:
        """Ask for a slot, once its host has answered.

        Args:
            began: Makes the record of the transfer's beginning.
            stopped_by: Finds the name whose cancelling ends the waiting, if any does.
            on_decision: Called from the watch's thread when ``decision`` became another kind of answer.
        """
        self.began, self.stopped_by, self._on_decision = began, stopped_by, on_decision
        self._watch.ask_for(self)

    def pause(self, keep_alive: Callable[[], None]) -> None:
        """Give the slot away in mid-transfer; return when there is one again.

        Args:
            keep_alive: Called every SIGN_SECONDS meanwhile, in this thread.
        Raises:
            LeaseLostError, LedgerError: Its ticket is lost.
            SendCancelledError: Somebody cancelled it.
        """
        self._pause_ended.clear()
        self._on_decision = lambda: None
        began = self._watch.save_pause(self)
        while not self._pause_ended.wait(SIGN_SECONDS):
            keep_alive()
        self.paused += self._watch.clock.now() - began
        if isinstance(self.decision, SluiceError | SendCancelledError):
            raise self.decision

    def deliver(self, decision: Decision) -> None:
        """Take a decision from the watch, in its thread, and wake whoever waits for it."""
        is_new = type(decision) is not type(self.decision)
        self.decision, self.preempted = decision, False
        if not isinstance(decision, Waiting):
            self.has_slot = isinstance(decision, Started)
            self._pause_ended.set()
        if is_new:
            self._on_decision()
        if isinstance(decision, SluiceError):
            self._on_lost()


class QueueWatch:
    """All tickets of one process with one sender. ``start`` it; safe for threads."""

    def __init__(self, sender: str, limit: int | None, *, ledger: Ledger, clock: Clock, lease_seconds: float = LEASE_SECONDS) -> None:
        """Make a watch without tickets; ``limit`` is the sender's ``max_concurrent``."""
        self.lease_seconds = lease_seconds
        """Of every ticket that it keeps."""
        self._sender, self._limit, self._ledger, self.clock = sender, limit, ledger, clock
        self._changed = threading.Condition()
        self._turns = dict[int, Turn]()
        self._asking = dict[int, Turn]()
        self._look_now = self.is_closed = False
        self._stamp = -1
        self._until: datetime | None = None
        self._renewed = self._looked = self._told_at = clock.now()
        self._thread = threading.Thread(target=self._run, name="queue", daemon=True)

    @property
    def is_overdue(self) -> bool:
        """Whether its leases may have run out since they were last renewed."""
        return self.clock.now() - self._renewed >= timedelta(seconds=self.lease_seconds)

    def start(self) -> None:
        """Begin to look, in a thread; without it ``look`` has to be called."""
        self._thread.start()

    def close(self) -> None:
        """Stop looking. Turns that are still kept are lost, which breaks off paused transfers; their leases run out."""
        with self._changed:
            self.is_closed = True
            self._changed.notify()
        if self._thread.ident is not None:
            self._thread.join()
        for turn in list(self._turns.values()):
            self._deliver(turn, _lost(turn.ticket, "its flow run ends"))

    def keep(self, ticket: Ticket, on_lost: Callable[[], None]) -> Turn:
        """Keep a ticket's lease alive from now on; ``on_lost`` is called, from the watch's thread, if it was given away."""
        turn = Turn(ticket, self, on_lost)
        with self._changed:
            if not self._turns:
                self._renewed = self._looked = self.clock.now()
                self._changed.notify()
            self._turns[ticket.number] = turn
        return turn

    def drop(self, turn: Turn) -> None:
        """Stop keeping it; may be called twice."""
        turn.has_slot = False
        with self._changed:
            self._asking.pop(turn.ticket.number, None)
            self._turns.pop(turn.ticket.number, None)

    def slot_freed(self) -> None:
        """Look again at once: a slot of this process was given back, and its waiting turns needn't wait for the next look."""
        with self._changed:
            if self._asking:
                self._look_now = True
                self._changed.notify()

    def ask_for(self, turn: Turn) -> None:
        """Have the queue decided on for a turn that wants a slot, or its slot back."""
        with self._changed:
            if turn.ticket.number in self._turns:
                self._asking[turn.ticket.number] = turn
                self._look_now = True
                self._changed.notify()

    def save_pause(self, turn: Turn) -> datetime:
        """Record that a transfer paused, ask for its slot back, and return the time. Raises LeaseLostError."""
        now = self.clock.now()
        turn.has_slot, turn.preempted, turn.decision, turn.began = False, False, None, None
        self._ledger.pause(turn.ticket, now=now)
        self.ask_for(turn)
        return now

    def look(self) -> None:
        """Look once: renew leases that need it, and deliver new decisions to turns that ask. Raises LedgerError.

        If anything else goes wrong every turn gets that as its decision: nobody waits for an answer that can't come.
        """
        now = self.clock.now()
        with self._changed:
            turns, asking = dict(self._turns), dict(self._asking)
            was_asked, self._look_now = self._look_now, False
        try:
            if turns and now - self._renewed >= timedelta(seconds=self.lease_seconds / 3):
                self._renew(turns, now)
            if asking or any(turn.has_slot for turn in turns.values()):
                self._watch(turns, asking, now, was_asked=was_asked)
        except SluiceError as error:
            with self._changed:
                self._look_now = self._look_now or was_asked
            if self.is_overdue:
                self._deliver_all(turns, error)
            raise
        except Exception as error:
            self._deliver_all(turns, LedgerError(f"the send queue can't be watched: {type(error).__name__}: {error}"))
            raise
        finally:
            self._looked = now

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._look_now and not self.is_closed:
                    self._changed.wait(self._seconds_until_look())
                if self.is_closed:
                    return
            try:
                self.look()
            except Exception:  # noqa: BLE001 - the next look tries again; after a lease's length of it all turns hear of it
                with self._changed:
                    self._changed.wait(LOOK_SECONDS)

    def _seconds_until_look(self) -> float | None:
        if self._asking or any(turn.has_slot for turn in self._turns.values()):
            return LOOK_SECONDS
        return self.lease_seconds / 6 if self._turns else None

    def _renew(self, turns: dict[int, Turn], now: datetime) -> None:
        kept = self._ledger.renew(turns, lease_seconds=self.lease_seconds, now=now)
        self._renewed = now
        for number, turn in turns.items():
            if number not in kept:
                self._deliver(turn, _lost(turn.ticket))

    def _watch(self, turns: dict[int, Turn], asking: dict[int, Turn], now: datetime, *, was_asked: bool) -> None:
        if not was_asked:
            seen = self._ledger.look(self._sender)
            for number, turn in list(asking.items()):
                if name := turn.stopped_by(seen):
                    del asking[number]
                    self._deliver(turn, SendCancelledError(name))
            if seen.stamp == self._stamp and (self._until is None or now < self._until):
                return
        # After a standstill of this machine a lease that ended says nothing until every process had time to renew.
        stood_still = now - self._looked > timedelta(seconds=self.lease_seconds / 3 + LOOK_SECONDS)
        judged = self._looked if stood_still and turns else now
        told = [number for number, turn in asking.items() if isinstance(turn.decision, Waiting)]
        if now - self._told_at >= timedelta(seconds=TELL_SECONDS):
            told, self._told_at = [], now

        def began(number: int) -> Record:
            make = asking[number].began
            if make is None:
                raise ValueError(f"ticket {number} began before")
            return make()

        own = self._sender, turns.keys(), asking.keys()
        self._take(turns, asking, self._ledger.take_turns(*own, began, limit=self._limit, now=judged, told=told))

    def _take(self, turns: dict[int, Turn], asking: dict[int, Turn], decided: QueueTurn) -> None:
        self._stamp, self._until = decided.stamp, decided.until
        for number in decided.lost:
            self._deliver(turns[number], _lost(turns[number].ticket))
        for number, verdict in decided.verdicts.items():
            turn = turns[number]
            if number not in asking:
                turn.preempted = turn.has_slot and isinstance(verdict, Pausing)
            elif isinstance(verdict, Pausing):  # it was given a slot by a look whose answer got lost
                self._deliver(turn, Started(verdict.ticket))
                turn.preempted = True
            else:
                self._deliver(turn, verdict)

    def _deliver_all(self, turns: dict[int, Turn], error: SluiceError) -> None:
        for turn in turns.values():
            self._deliver(turn, error)

    def _deliver(self, turn: Turn, decision: Decision) -> None:
        number = turn.ticket.number
        with self._changed:
            if self._turns.get(number) is not turn:
                return  # dropped meanwhile
            if not isinstance(decision, Waiting):
                self._asking.pop(number, None)
            if isinstance(decision, SluiceError):
                del self._turns[number]
        turn.deliver(decision)


def _lost(ticket: Ticket, why: str = "its lease ran out") -> LeaseLostError:
    """Return the error that a ticket was given away."""
    return LeaseLostError(
        f"ticket {ticket.number} ({ticket.distribution} to {ticket.subscriber}) was given away: {why}",
        remedy="nothing to do: it is tried again",
    )
