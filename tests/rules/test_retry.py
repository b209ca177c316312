"""D7: every 2 minutes for 30 minutes, then the Channel's next start; the count is the ledger's."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from sluice.errors import ConnectionLostError, HostKeyError, LockedTargetError, NoSpaceError, SluiceError, UnreachableError
from sluice.model.revision import RevisionNumber
from sluice.model.site import RetryRule
from sluice.model.state import CurrentState, State
from sluice.rules.retry import (
    Decision,
    GiveUp,
    RetryAt,
    WaitForChannel,
    after_failure,
    decide,
    failure_of,
    retries_of,
)

T0 = datetime(2026, 12, 1, 22, 0, tzinfo=UTC)
REVISION = RevisionNumber(1, 2)
RULE = RetryRule()


class FakeClock:
    """Time that passes only when somebody sleeps."""

    def __init__(self) -> None:
        self.at = T0

    def now(self) -> datetime:
        return self.at

    def sleep(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


def offered() -> CurrentState:
    return CurrentState("helsinki-1", "zone").offer(REVISION, distributor="hq", channel="patterns", at=T0)


def trace(clock: FakeClock, state: CurrentState, error: SluiceError, *, takes: float = 0, rule: RetryRule = RULE) -> list[str]:
    """Try in vain until the rule says otherwise; when each try began, in minutes, and the end."""
    found: list[str] = []
    while True:
        found.append(f"{(clock.now() - T0) / timedelta(minutes=1):g}")
        state = state.begin_sending(REVISION, clock.now())
        clock.sleep(takes)
        state, decision = after_failure(state, failure_of(error), rule, clock.now())
        match decision:
            case RetryAt(at=at):
                clock.sleep((at - clock.now()).total_seconds())
            case WaitForChannel():
                return [*found, "waiting for Channel"]
            case GiveUp():
                return [*found, "failed"]


def test_a_host_that_never_answers_sees_one_try_and_fifteen_retries_then_its_channel_is_waited_for() -> None:
    assert trace(FakeClock(), offered(), UnreachableError("helsinki-1 doesn't answer")) == [
        "0", "2", "4", "6", "8", "10", "12", "14", "16", "18", "20", "22", "24", "26", "28", "30", "waiting for Channel",
    ]  # fmt: skip


def test_tries_that_run_into_the_timeout_still_end_after_thirty_minutes() -> None:
    found = trace(FakeClock(), offered(), ConnectionLostError("cut"), takes=300)
    assert found == ["0", "7", "13", "19", "25", "31", "waiting for Channel"]  # the first failure is at 5: 30 minutes later is 35


def test_slow_answers_by_seconds_lose_no_retry() -> None:
    assert len(trace(FakeClock(), offered(), UnreachableError("no"), takes=1.5)) == 1 + 15 + 1


def test_the_count_continues_in_another_process() -> None:
    clock = FakeClock()
    state = offered()
    for _ in range(6):
        state, decision = after_failure(state, failure_of(UnreachableError("no")), RULE, clock.now())
        assert isinstance(decision, RetryAt)
        clock.sleep((decision.at - clock.now()).total_seconds())
    assert (state.attempts, state.first_failure) == (6, T0)
    rest = trace(clock, state, UnreachableError("no"))  # what the ledger kept is all that a new run knows
    assert rest == ["12", "14", "16", "18", "20", "22", "24", "26", "28", "30", "waiting for Channel"]


def test_a_run_that_comes_after_the_thirty_minutes_gets_one_try() -> None:
    clock = FakeClock()
    state, _ = after_failure(offered(), failure_of(UnreachableError("no")), RULE, clock.now())
    clock.sleep(3600)
    assert trace(clock, state, UnreachableError("no")) == ["60", "waiting for Channel"]


def test_the_channels_next_start_counts_anew() -> None:
    clock = FakeClock()
    state, _ = after_failure(offered(), failure_of(UnreachableError("no")), RULE, clock.now())
    clock.sleep(86400)
    state = state.offer(REVISION, distributor="hq", channel="patterns", at=clock.now())
    assert (state.attempts, state.first_failure, state.next_try, state.error) == (0, None, None, None)
    assert len(trace(clock, state, UnreachableError("no"))) == 1 + 15 + 1


def test_success_clears_the_count_and_the_error() -> None:
    state, _ = after_failure(offered(), failure_of(UnreachableError("no")), RULE, T0, sent=600)
    state = state.begin_sending(REVISION, T0).mark_received(REVISION, sent=400, resumed=600, at=T0)
    assert (state.attempts, state.first_failure, state.next_try, state.error) == (0, None, None, None)
    assert (state.held, state.bytes_sent, state.bytes_last, state.bytes_resumed) == (REVISION, 1000, 1000, 600)


def test_an_error_that_trying_again_cannot_help_fails_at_once_with_its_remedy() -> None:
    error = HostKeyError("helsinki-1 shows another key", remedy="look at the host, then correct host_key")
    state, decision = after_failure(offered(), failure_of(error), RULE, T0)
    assert decision == GiveUp()
    assert (state.state, state.next_try) == (State.FAILED, None)
    assert state.error is not None
    assert state.error.remedy == error.remedy


def test_a_host_that_is_away_is_unavailable_and_one_that_is_full_waits() -> None:
    away, _ = after_failure(offered(), failure_of(UnreachableError("no answer")), RULE, T0)
    full, _ = after_failure(offered(), failure_of(NoSpaceError("full")), RULE, T0)
    locked, _ = after_failure(offered(), failure_of(LockedTargetError("locked")), RULE, T0)
    assert [s.state for s in (away, full, locked)] == [State.UNAVAILABLE, State.WAITING, State.WAITING]
    assert away.reason == "retry 1 of 15 at 2026-12-01 22:02:00 UTC: no answer"
    assert away.next_try == T0 + timedelta(minutes=2)


def test_a_clock_that_was_set_back_delays_a_retry_by_no_more_than_one_interval() -> None:
    decision = decide(RULE, first_failure=T0, attempts=2, now=T0 - timedelta(days=1), retryable=True)
    assert decision == RetryAt(T0 - timedelta(days=1) + RULE.every, 2, 15)


spans = st.timedeltas(min_value=timedelta(seconds=1), max_value=timedelta(hours=3))


@given(every=spans, for_=spans, takes=st.lists(st.floats(0, 4000), min_size=1, max_size=20))
def test_no_more_retries_than_points_none_late_none_in_the_past(every: timedelta, for_: timedelta, takes: list[float]) -> None:
    rule = RetryRule(every, for_)
    now, tries = T0, 0
    first = T0 + timedelta(seconds=takes[0])
    decision: Decision
    while tries < 60:
        now += timedelta(seconds=takes[tries % len(takes)])
        tries += 1
        decision = decide(rule, first_failure=first, attempts=tries, now=now, retryable=True)
        if isinstance(decision, WaitForChannel):
            break
        assert isinstance(decision, RetryAt)
        assert now <= decision.at <= min(now + every, first + for_)
        assert decision.number <= decision.of == retries_of(rule)
        now = decision.at
    assert tries <= min(60, retries_of(rule) + 1)
