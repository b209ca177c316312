"""Which extractions are due, and when each begins."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from sluice.distributor.plan.extractions import begins, doubted, plan_checks, plan_extracts
from sluice.errors import NotFoundError
from sluice.model.belief import Doubt
from sluice.model.order import Demand, Failure
from sluice.model.revision import RevisionNumber
from sluice.model.schedule import IMMEDIATELY, Kind, Schedule
from sluice.model.state import CurrentState, State
from tests.flows.sites import AT_NIGHT, site

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
WINDOW_OPENS = datetime(2026, 3, 2, 23, tzinfo=UTC)  # 01:00 in Helsinki
WINDOW_CLOSES = datetime(2026, 3, 3, 3, tzinfo=UTC)
ONE, TWO = RevisionNumber(1, 1), RevisionNumber(1, 2)


def states(*names: str, extracted: RevisionNumber | None = None, held: RevisionNumber | None = TWO):
    return {
        (name, "zone"): CurrentState(name, "zone", state=State.RECEIVED, held=held, extracted=extracted, since=NOON, channel="night")
        for name in names
    }


def planned(now: datetime, found=None, **options):
    return plan_extracts(site(), "hq", found or states("helsinki-1", "helsinki-2", "oslo-1"), now, **options)


def test_a_random_window_gives_each_subscriber_its_own_instant_when_it_opens() -> None:
    targets = {t.subscriber: t.at for t in planned(WINDOW_OPENS)}
    assert targets["oslo-1"] == WINDOW_OPENS
    assert WINDOW_OPENS < targets["helsinki-1"] < WINDOW_CLOSES
    assert targets["helsinki-1"] != targets["helsinki-2"]
    assert targets == {t.subscriber: t.at for t in planned(WINDOW_OPENS)}


def test_outside_its_window_nobody_is_asked_but_those_without_one() -> None:
    assert [t.subscriber for t in planned(NOON + timedelta(hours=1))] == ["oslo-1"]


def test_once_its_instant_is_past_it_begins_at_once_while_the_window_is_open() -> None:
    late = WINDOW_CLOSES - timedelta(seconds=1)
    assert begins(AT_NIGHT, NOON, late, seed="helsinki-1") == late
    assert begins(AT_NIGHT, NOON, WINDOW_CLOSES + timedelta(hours=1), seed="helsinki-1") is None


def test_never_blocks_the_stage_and_by_hand_it_runs() -> None:
    never = Schedule(Kind.NEVER)
    assert begins(never, NOON, WINDOW_OPENS, seed="x") is None
    assert [t.at for t in planned(NOON, at_once=True)] == [NOON] * 3


def test_what_is_extracted_or_not_held_is_not_planned() -> None:
    assert planned(NOON, states("oslo-1", extracted=TWO)) == []
    assert planned(NOON, states("oslo-1", held=None)) == []
    assert [t.revision for t in planned(NOON, states("oslo-1", extracted=ONE))] == [TWO]


def test_inactive_subscribers_are_left_out() -> None:
    found = site()
    changed = replace(found, subscribers={**found.subscribers, "oslo-1": replace(found.subscriber("oslo-1"), active=False)})
    assert plan_extracts(changed, "hq", states("oslo-1"), NOON) == []


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(NotFoundError, match="oslo-9"):
        planned(NOON, subscribers=["oslo-9"])
    assert begins(IMMEDIATELY, NOON, NOON, seed="x") == NOON


def verifying(state: State = State.INSTALLED, *, since: datetime = NOON, extract: Schedule | None = None):
    """A site whose zone is verified, and where three Subscribers extracted it."""
    made = site()
    zone = replace(made.distributions["zone"], verify=True)
    hosts = {name: replace(each, extract=extract) if extract else each for name, each in made.subscribers.items()}
    found = {pair: replace(each, state=state, extracted=TWO, since=since) for pair, each in states("helsinki-1", "oslo-1").items()}
    return replace(made, distributions={**made.distributions, "zone": zone}, subscribers=hosts), found


HOURLY = Schedule(Kind.INTERVAL, interval=timedelta(hours=1))


def test_what_is_verified_is_asked_again_at_each_extract_start_and_by_hand() -> None:
    made, found = verifying(extract=HOURLY)
    assert plan_extracts(made, "hq", found, NOON) == []
    later = plan_extracts(made, "hq", found, NOON + timedelta(hours=1))
    assert [(t.subscriber, t.revision, t.is_check) for t in later] == [("helsinki-1", TWO, True), ("oslo-1", TWO, True)]
    asked_since = {pair: replace(each, since=NOON + timedelta(hours=1)) for pair, each in found.items()}
    assert plan_extracts(made, "hq", asked_since, NOON + timedelta(minutes=90)) == []
    assert len(plan_extracts(made, "hq", asked_since, NOON + timedelta(minutes=90), at_once=True)) == 2


def test_only_what_stands_is_verified() -> None:
    for state in (State.WAITING, State.SENDING, State.UNAVAILABLE, State.CANCELLED, State.RECEIVED):
        made, found = verifying(state, extract=HOURLY)
        assert plan_extracts(made, "hq", found, NOON + timedelta(hours=1), at_once=True) == []
    for state in (State.INSTALLING, State.FAILED):
        made, found = verifying(state, extract=HOURLY)
        assert len(plan_extracts(made, "hq", found, NOON + timedelta(hours=1))) == 2


def test_without_verify_nothing_is_asked_again() -> None:
    _, found = verifying()
    assert planned(NOON + timedelta(days=2), found, at_once=True) == []


def test_a_reading_back_by_hand_names_the_doubted_pairs_that_it_leaves_out_and_what_will_read_them() -> None:
    found = states("helsinki-1", "helsinki-2", "oslo-1", extracted=TWO)
    found = {pair: replace(each, distributor="hq", state=State.INSTALLED) for pair, each in found.items()}
    doubt = Doubt("at T its agent had nothing extracted", None, None, 0)
    for name in ("helsinki-1", "helsinki-2"):
        found[name, "zone"] = found[name, "zone"].raise_doubt(doubt, NOON)
    old = Failure("AgentVersionError", "its agent is too old", "run: sluice subscriber bootstrap helsinki-2", retryable=False)
    found["helsinki-2", "zone"] = replace(found["helsinki-2", "zone"], state=State.FAILED, error=old)
    planned = plan_extracts(site(), "hq", found, NOON, demand=Demand.VERIFY)
    assert [each.subscriber for each in planned] == ["oslo-1"]
    first = "helsinki-1 (zone): at T its agent had nothing extracted; run: sluice distribute zone --to helsinki-1"
    second = "helsinki-2 (zone): at T its agent had nothing extracted; run: sluice subscriber bootstrap helsinki-2"
    assert doubted(site(), "hq", found, planned) == [first, second]
    assert doubted(site(), "hq", found, planned, subscribers=["helsinki-2"]) == [second]
    assert doubted(site(), "branch", found, []) == []
    kept = found["oslo-1", "zone"].raise_doubt(replace(doubt, held=TWO, extracted=TWO), NOON)
    assert doubted(site(), "hq", {("oslo-1", "zone"): kept}, []) == [], "what it has extracted is read back all the same"


@pytest.mark.parametrize("extract", [HOURLY, IMMEDIATELY])
def test_a_check_that_failed_is_tried_again_by_the_next_extract_though_nothing_is_verified_else(extract: Schedule) -> None:
    made, _ = verifying(extract=extract)
    made = replace(made, distributions={"zone": replace(made.distributions["zone"], verify=False)})
    failed = CurrentState("oslo-1", "zone", "hq", "night", TWO, TWO, offered=TWO, state=State.FAILED, since=NOON)
    later = NOON + timedelta(hours=1)
    assert [t.is_check for t in plan_extracts(made, "hq", {("oslo-1", "zone"): failed}, later, at_once=True)] == [True]
    assert len(plan_extracts(made, "hq", {("oslo-1", "zone"): failed}, later)) == (extract is HOURLY)
    checks = plan_checks(made, "hq", "night", {("oslo-1", "zone"): failed}, later)
    assert [t.subscriber for t in checks] == ([] if extract is HOURLY else ["oslo-1"])
    newer = replace(failed, offered=RevisionNumber(1, 3))  # the newer one wasn't sent: that the older one is there mends nothing
    assert plan_extracts(made, "hq", {("oslo-1", "zone"): newer}, later, at_once=True) == []


def test_where_extractions_follow_at_once_the_channels_start_asks() -> None:
    made, found = verifying(extract=IMMEDIATELY)
    assert plan_extracts(made, "hq", found, NOON) == []
    channel = next(name for name in made.distributions["zone"].channels)
    joined = {each.subscriber for each in made.channel(channel).subscriptions}
    checks = plan_checks(made, "hq", channel, found, NOON)
    assert [t.subscriber for t in checks] == sorted({"helsinki-1", "oslo-1"} & joined)
    assert all(t.is_check and t.at == NOON and t.channel == channel for t in checks)
    scheduled, found = verifying(extract=HOURLY)
    assert plan_checks(scheduled, "hq", channel, found, NOON) == []


@pytest.mark.parametrize("demand", [Demand.VERIFY, Demand.FORCE])
def test_a_demand_concerns_what_is_extracted_whatever_schedules_and_blueprint_say(demand: Demand) -> None:
    found = states("helsinki-1", extracted=TWO) | states("helsinki-2", extracted=ONE)
    found["helsinki-1", "zone"] = replace(found["helsinki-1", "zone"], state=State.INSTALLED)
    assert planned(NOON, found) == []
    assert [(t.subscriber, t.at, t.is_check) for t in planned(NOON, found, demand=demand)] == [("helsinki-1", NOON, True)]
    by_hand = planned(NOON, found, demand=demand, at_once=True)
    assert [(t.subscriber, t.is_check) for t in by_hand] == [("helsinki-1", True), ("helsinki-2", False)]


def test_what_another_distributor_delivered_is_not_this_ones_to_extract() -> None:
    found = {pair: replace(state, distributor="branch") for pair, state in states("oslo-1").items()}
    assert planned(NOON, found, at_once=True) == []
