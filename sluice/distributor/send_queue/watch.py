"""The send queue as one process sees it (D9, D10): one watch for all of its tickets, however many wait.

A claim's ``Turn`` is kept by the watch from the moment it is entered: its lease is renewed with all the others', one write a third of a
lease. Twice a second the watch reads the queue's stamp; only where that moved, somebody asked or another's lease ended it has the ledger
decide on the whole queue, for all of its own at once. What a turn is told wakes who waits for it: a task without a thread, or a
transfer that paused between two blocks.

A process that can't renew for a whole lease takes all of its turns for lost, as the others by then do. Until it knows, because it stood
still or its ledger doesn't answer, none of its transfers sends on: each pauses, which asks the ledger whether the place is still its own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta

from sluice.errors import LeaseLostError, LedgerError, SluiceError
from sluice.model.state import Record
from sluice.model.ticket import Pausing, QueueLook, QueueTurn, Started, Ticket, Verdict, Waiting
from sluice.ports import Clock, Ledger

LEASE_SECONDS = 30.0
"""How long a place in the queue outlives its holder's last sign of life, unless it is set otherwise (docs/deploy.md)."""
LEASE_SECONDS_MIN = 2.0
"""A shorter lease would end between two looks that renew it."""
LOOK_SECONDS = 0.5
"""Between two looks at the stamp while something waits or is transferred."""
SIGN_SECONDS = 25.0
"""Between two signs of life of a paused transfer: the agent counts ten minutes of silence as the sender's end."""


class SendCancelledError(Exception):
    """Somebody cancelled what a paused transfer waits under (I10)."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} was cancelled")
        self.name = name


class Turn:
    """A ticket in its own process: what it was told last. Made by ``QueueWatch.keep``."""

    def __init__(self, ticket: Ticket, watch: QueueWatch, lost: Callable[[], None]) -> None:
        self.ticket = ticket
        self.is_in_the_way = False
        """A higher priority waits for its slot."""
        self.told: Started | Waiting | SluiceError | SendCancelledError | None = None
        """The answer to ``ask``; None: none yet."""
        self.runs = False
        """It was given a slot and hasn't given it back."""
        self.stopped_by: Callable[[QueueLook], str | None] = _by_nobody
        self.began: Callable[[], Record] | None = None
        """Makes what is recorded with the slot; None where it was recorded before."""
        self._watch, self._lost = watch, lost
        self._over = threading.Event()
        self._heard: Callable[[], None] = _nothing

    @property
    def must_pause(self) -> bool:
        """Read by its transfer between two blocks; costs nothing."""
        return self.is_in_the_way or self._watch.is_overdue

    def ask(self, began: Callable[[], Record], *, stopped_by: Callable[[QueueLook], str | None], heard: Callable[[], None]) -> None:
        """Ask for a slot; its host answers.

        Args:
            began: Makes what is recorded when it begins.
            stopped_by: Which name's cancelling ends the waiting, if any does.
            heard: Called from the watch's thread when ``told`` became another kind of answer.
        """
        self.began, self.stopped_by, self._heard = began, stopped_by, heard
        self._watch.asks(self)

    def pause(self, alive: Callable[[], None]) -> None:
        """Give the slot away in mid-transfer; returns when there is one again.

        Args:
            alive: Called every SIGN_SECONDS meanwhile, in this thread.
        Raises:
            LeaseLostError, LedgerError: The place is lost.
            SendCancelledError: Somebody cancelled it.
        """
        self._over.clear()
        self._heard = _nothing
        self._watch.paused(self)
        while not self._over.wait(SIGN_SECONDS):
            alive()
        if isinstance(self.told, SluiceError | SendCancelledError):
            raise self.told

    def hear(self, answer: Started | Waiting | SluiceError | SendCancelledError) -> None:
        """The watch tells; from its thread."""
        is_new = type(answer) is not type(self.told)
        self.told, self.is_in_the_way = answer, False
        if not isinstance(answer, Waiting):
            self.runs = isinstance(answer, Started)
            self._over.set()
        if is_new:
            self._heard()
        if isinstance(answer, SluiceError):
            self._lost()


class QueueWatch:
    """All tickets of one process with one sender. ``start`` it; safe for threads."""

    def __init__(self, sender: str, limit: int | None, *, ledger: Ledger, clock: Clock, lease_seconds: float = LEASE_SECONDS) -> None:
        """Make a watch without tickets; ``limit`` is the sender's ``max_concurrent``."""
        self.lease_seconds = lease_seconds
        """Of every ticket that it keeps."""
        self._sender, self._limit, self._ledger, self._clock = sender, limit, ledger, clock
        self._changed = threading.Condition()
        self._turns = dict[int, Turn]()
        self._asking = dict[int, Turn]()
        self._is_asked = self._is_closed = False
        self._stamp = -1
        self._until: datetime | None = None
        self._renewed = self._looked = clock.now()
        self._thread = threading.Thread(target=self._run, name="queue", daemon=True)

    @property
    def is_overdue(self) -> bool:
        """Whether its leases may have run out since they were last renewed."""
        return self._clock.now() - self._renewed >= timedelta(seconds=self.lease_seconds)

    def start(self) -> None:
        """Begin to look; without it ``look`` has to be called."""
        self._thread.start()

    def close(self) -> None:
        """Look no more. Turns that are still kept are told that they are lost, which breaks off what pauses; their leases run out."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        if self._thread.ident is not None:
            self._thread.join()
        for turn in list(self._turns.values()):
            self._tell(turn, _lost(turn.ticket, "its flow run ends"))

    def keep(self, ticket: Ticket, lost: Callable[[], None]) -> Turn:
        """Keep a ticket's lease alive from now on; ``lost`` is called, from the watch's thread, where its place was given away."""
        turn = Turn(ticket, self, lost)
        with self._changed:
            if not self._turns:
                self._renewed = self._looked = self._clock.now()
                self._changed.notify()
            self._turns[ticket.number] = turn
        return turn

    def drop(self, turn: Turn) -> None:
        """Keep it no longer; may be called twice."""
        turn.runs = False
        with self._changed:
            self._asking.pop(turn.ticket.number, None)
            self._turns.pop(turn.ticket.number, None)

    def freed(self) -> None:
        """A slot of ours was given back: who waits here needn't wait for the next look."""
        with self._changed:
            if self._asking:
                self._is_asked = True
                self._changed.notify()

    def asks(self, turn: Turn) -> None:
        """``turn`` wants a slot, or its slot back."""
        with self._changed:
            if turn.ticket.number in self._turns:
                self._asking[turn.ticket.number] = turn
                self._is_asked = True
                self._changed.notify()

    def paused(self, turn: Turn) -> None:
        """Save that a transfer paused, and have it ask. Raises LeaseLostError."""
        turn.runs, turn.is_in_the_way, turn.told, turn.began = False, False, None, None
        self._ledger.pause(turn.ticket, now=self._clock.now())
        self.asks(turn)

    def look(self) -> None:
        """Look once: renew what has to be, and tell who asks what is new. Raises LedgerError.

        Where anything else goes wrong everybody is told: nobody waits for an answer that can't come.
        """
        now = self._clock.now()
        with self._changed:
            turns, asking = dict(self._turns), dict(self._asking)
            was_asked, self._is_asked = self._is_asked, False
        try:
            if turns and now - self._renewed >= timedelta(seconds=self.lease_seconds / 3):
                self._renew(turns, now)
            if asking or any(turn.runs for turn in turns.values()):
                self._watch(turns, asking, now, was_asked=was_asked)
        except SluiceError as error:
            with self._changed:
                self._is_asked = self._is_asked or was_asked
            if self.is_overdue:
                self._tell_all(turns, error)
            raise
        except Exception as error:
            self._tell_all(turns, LedgerError(f"the send queue can't be watched: {type(error).__name__}: {error}"))
            raise
        finally:
            self._looked = now

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._is_asked and not self._is_closed:
                    self._changed.wait(self._pause())
                if self._is_closed:
                    return
            try:
                self.look()
            except Exception:  # noqa: BLE001 - the next look tries again; a lease's length of it tells all who wait
                with self._changed:
                    self._changed.wait(LOOK_SECONDS)

    def _pause(self) -> float | None:
        if self._asking or any(turn.runs for turn in self._turns.values()):
            return LOOK_SECONDS
        return self.lease_seconds / 6 if self._turns else None

    def _renew(self, turns: dict[int, Turn], now: datetime) -> None:
        kept = self._ledger.renew(turns, lease_seconds=self.lease_seconds, now=now)
        self._renewed = now
        for number, turn in turns.items():
            if number not in kept:
                self._tell(turn, _lost(turn.ticket))

    def _watch(self, turns: dict[int, Turn], asking: dict[int, Turn], now: datetime, *, was_asked: bool) -> None:
        if not was_asked:
            seen = self._ledger.look(self._sender)
            for number, turn in list(asking.items()):
                if name := turn.stopped_by(seen):
                    del asking[number]
                    self._tell(turn, SendCancelledError(name))
            if seen.stamp == self._stamp and (self._until is None or now < self._until):
                return
        # After a standstill of this machine nobody's lease says anything until all had time to renew.
        stood_still = now - self._looked > timedelta(seconds=self.lease_seconds / 3 + LOOK_SECONDS)
        judged = self._looked if stood_still and turns else now
        self._take(turns, asking, self._decided(turns, asking, judged))

    def _decided(self, turns: dict[int, Turn], asking: dict[int, Turn], now: datetime) -> QueueTurn:
        def began(number: int) -> Record:
            make = asking[number].began
            if make is None:
                raise ValueError(f"ticket {number} began before")
            return make()

        return self._ledger.take_turns(self._sender, turns.keys(), asking.keys(), began, limit=self._limit, now=now)

    def _take(self, turns: dict[int, Turn], asking: dict[int, Turn], turn_of_all: QueueTurn) -> None:
        self._stamp, self._until = turn_of_all.stamp, turn_of_all.until
        for number, turn in turns.items():
            verdict: Verdict | None = turn_of_all.verdicts.get(number)
            if number not in asking:
                turn.is_in_the_way = turn.runs and isinstance(verdict, Pausing)
            elif verdict is None:
                self._tell(turn, _lost(turn.ticket))
            elif isinstance(verdict, Pausing):  # it was given a slot by a look whose answer got lost
                self._tell(turn, Started(verdict.ticket))
                turn.is_in_the_way = True
            else:
                self._tell(turn, verdict)

    def _tell_all(self, turns: dict[int, Turn], error: SluiceError) -> None:
        for turn in turns.values():
            self._tell(turn, error)

    def _tell(self, turn: Turn, answer: Started | Waiting | SluiceError | SendCancelledError) -> None:
        number = turn.ticket.number
        with self._changed:
            if self._turns.get(number) is not turn:
                return  # dropped meanwhile
            if not isinstance(answer, Waiting):
                self._asking.pop(number, None)
            if isinstance(answer, SluiceError):
                del self._turns[number]
        turn.hear(answer)


def _nothing() -> None:
    return


def _by_nobody(_seen: QueueLook) -> None:
    return None


def _lost(ticket: Ticket, why: str = "its lease ran out") -> LeaseLostError:
    return LeaseLostError(
        f"ticket {ticket.number} ({ticket.distribution} to {ticket.subscriber}) was given away: {why}",
        remedy="enter the queue again",
    )
