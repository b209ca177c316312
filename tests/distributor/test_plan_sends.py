"""Which Distributions go to which Subscribers now, and why the others don't."""

from dataclasses import replace
from pathlib import PurePosixPath

import pytest

from sluice.distributor.plan.sends import SendTarget, plan_sends, sender_of, were_never_offered
from sluice.errors import NotFoundError
from sluice.model.revision import RevisionNumber
from sluice.model.schedule import IMMEDIATELY, NEVER
from sluice.model.site import Address, Channel, Distribution, DistributionType, Distributor, Priority, Site, Subscriber, Subscription
from sluice.model.state import CurrentState, State

ONE, TWO = RevisionNumber(1, 1), RevisionNumber(1, 2)
LATEST = {"zone": TWO, "motd": ONE}


def subscriber(name: str, **more: object) -> Subscriber:
    made = Subscriber(name, Address("local", path="/x"), PurePosixPath(f"/var/lib/{name}"), platform="debian-12", extract=NEVER)
    return replace(made, **more)  # type: ignore[arg-type]


def distribution(name: str, *channels: str, **more: object) -> Distribution:
    return replace(Distribution(name, "hq", DistributionType.FILE, channels=channels), **more)  # type: ignore[arg-type]


def site(**changes: object) -> Site:
    """Two Subscribers, both in ``all``; helsinki in ``north`` too; ``zone`` goes through both, ``motd`` through ``all``."""
    made = Site(
        directory="",
        distributors={"hq": Distributor("hq", PurePosixPath("/hq")), "lab": Distributor("lab", PurePosixPath("/lab"))},
        subscribers={name: subscriber(name) for name in ("helsinki", "oslo")},
        channels={
            "all": Channel("all", subscriptions=(Subscription("helsinki"), Subscription("oslo"))),
            "north": Channel("north", subscriptions=(Subscription("helsinki"),)),
        },
        distributions={
            "zone": distribution("zone", "all", "north"),
            "motd": distribution("motd", "all", priority=Priority.HIGH, distributor="lab"),
            "alone": distribution("alone"),
        },
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def plan(where: Site, **asked: object) -> list[SendTarget]:
    return plan_sends(where, **{"latest": LATEST, "states": {}, **asked})  # type: ignore[arg-type]


def pairs(targets: list[SendTarget], *, due: bool = True) -> list[tuple[str, str]]:
    return [(t.subscriber, t.distribution) for t in targets if t.is_due is due]


def only(targets: list[SendTarget], name: str, what: str = "zone") -> SendTarget:
    return next(t for t in targets if (t.subscriber, t.distribution) == (name, what))


def test_everything_that_is_joined_goes_once_by_priority_and_name() -> None:
    targets = plan(site())
    assert pairs(targets) == [("helsinki", "motd"), ("oslo", "motd"), ("helsinki", "zone"), ("oslo", "zone")]
    assert {t.revision for t in targets if t.distribution == "zone"} == {TWO}
    assert only(targets, "helsinki").channel == "all"


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"channel": "north"}, [("helsinki", "zone")]),
        ({"distribution": "zone"}, [("helsinki", "zone"), ("oslo", "zone")]),
        ({"distribution": "zone", "to": ["oslo"]}, [("oslo", "zone")]),
        ({"to": ["oslo"]}, [("oslo", "motd"), ("oslo", "zone")]),
        ({"channel": "all", "distributor": "hq"}, [("helsinki", "zone"), ("oslo", "zone")]),
        ({"channel": "north", "to": ["oslo"]}, []),
        ({"distribution": "alone"}, []),
    ],
)
def test_what_is_asked_for_narrows_it(asked: dict[str, str], expected: list[tuple[str, str]]) -> None:
    assert pairs(plan(site(), **asked)) == expected


def test_somebody_asked_for_by_name_who_is_not_joined_is_told_so() -> None:
    target = only(plan(site(), distribution="zone", channel="north", to=["oslo"]), "oslo")
    assert (target.state, target.reason) == (State.NOT_JOINED, "Channel north doesn't join zone with oslo")
    target = only(plan(site(), distribution="alone", to=["oslo"]), "oslo", "alone")
    assert target.reason == "no Channel joins alone with oslo"


@pytest.mark.parametrize("asked", [{"channel": "none"}, {"distribution": "none"}, {"to": ["none"]}])
def test_unknown_names_are_refused(asked: dict[str, str]) -> None:
    with pytest.raises(NotFoundError):
        plan(site(), **asked)


def test_an_inactive_distribution_subscriber_channel_or_subscription_each_says_so() -> None:
    whole = site()
    zone, helsinki = whole.distributions["zone"], whole.subscribers["helsinki"]
    channels = {"all": whole.channels["all"], "north": whole.channels["north"]}
    off = replace(whole, distributions={"zone": replace(zone, active=False)})
    assert {t.reason for t in plan(off)} == {"Distribution zone is inactive"}
    off = replace(whole, subscribers={**whole.subscribers, "helsinki": replace(helsinki, active=False)})
    assert only(plan(off), "helsinki").reason == "Subscriber helsinki is inactive"
    assert only(plan(off), "oslo").is_due
    off = replace(whole, channels={**channels, "all": replace(channels["all"], active=False)})
    assert (only(plan(off), "oslo").state, only(plan(off), "oslo").reason) == (State.INACTIVE, "Channel all is inactive")
    assert only(plan(off), "helsinki").channel == "north"
    assert only(plan(off), "helsinki").is_due
    sleeping = replace(channels["all"], subscriptions=(Subscription("helsinki"), Subscription("oslo", active=False)))
    off = replace(whole, channels={**channels, "all": sleeping})
    assert only(plan(off), "oslo").reason == "the subscription of oslo to Channel all is inactive"


def test_a_channel_asked_for_counts_alone() -> None:
    whole = site()
    off = replace(whole, channels={**whole.channels, "all": replace(whole.channels["all"], active=False)})
    assert only(plan(off, channel="all"), "helsinki").state is State.INACTIVE


def test_a_host_of_another_platform_is_not_applicable_and_no_failure() -> None:
    whole = site()
    off = replace(whole, distributions={"zone": replace(whole.distributions["zone"], platforms=("windows",))})
    assert {(t.state, t.reason) for t in plan(off)} == {
        (State.NOT_APPLICABLE, "not applicable: zone is for windows, but helsinki is debian-12"),
        (State.NOT_APPLICABLE, "not applicable: zone is for windows, but oslo is debian-12"),
    }


def test_what_was_never_built_is_not_sent() -> None:
    target = only(plan(site(), latest={}), "oslo")
    assert (target.state, target.revision, target.reason) == (State.NOT_BUILT, None, "zone has no revision yet")


def test_what_receipts_say_is_there_is_not_sent_unless_the_hosts_are_asked() -> None:
    states = {
        ("helsinki", "zone"): CurrentState("helsinki", "zone", held=TWO, extracted=ONE),
        ("oslo", "zone"): CurrentState("oslo", "zone", held=TWO, extracted=TWO),
    }
    targets = plan(site(), distribution="zone", states=states)
    assert [(t.state, t.reason) for t in targets] == [
        (State.RECEIVED, "1.2 is already held"),
        (State.INSTALLED, "1.2 is already held and extracted"),
    ]
    asked = plan(site(), distribution="zone", states=states, check=True)
    assert len(pairs(asked)) == 2
    assert all(target.check for target in asked)
    older = {("oslo", "zone"): CurrentState("oslo", "zone", held=ONE, extracted=ONE)}
    assert only(plan(site(), states=older), "oslo").is_due


def test_what_is_held_and_to_be_extracted_at_once_is_due_until_it_is() -> None:
    """A run that was killed between the two leaves it so, and no Extract schedule starts for it."""
    whole = site()
    now = replace(whole, distributions={"zone": replace(whole.distributions["zone"], extract_immediately=True)})
    states = {
        ("helsinki", "zone"): CurrentState("helsinki", "zone", held=TWO, extracted=ONE),
        ("oslo", "zone"): CurrentState("oslo", "zone", held=TWO, extracted=TWO),
    }
    targets = plan(now, states=states)
    assert pairs(targets) == [("helsinki", "zone")]
    assert only(targets, "helsinki").is_held
    assert only(targets, "oslo").state is State.INSTALLED
    now = replace(whole, subscribers={**whole.subscribers, "oslo": replace(whole.subscribers["oslo"], extract=IMMEDIATELY)})
    states = {("oslo", "zone"): CurrentState("oslo", "zone", held=TWO)}
    assert only(plan(now, states=states), "oslo").is_held


def test_what_was_found_damaged_where_it_is_extracted_is_sent_again() -> None:
    damaged = {("oslo", "zone"): CurrentState("oslo", "zone", held=None, extracted=TWO, state=State.FAILED)}
    assert only(plan(site(), states=damaged), "oslo").is_due


def test_a_channel_of_several_distributors_needs_one_named() -> None:
    with pytest.raises(NotFoundError, match="Channel all has Distributions of hq, lab: set the flow's parameter distributor"):
        sender_of(site(), channel="all", distribution="", distributor="")
    assert sender_of(site(), channel="all", distribution="", distributor="lab") == "lab"
    assert sender_of(site(), channel="north", distribution="", distributor="") == "hq"
    assert sender_of(site(), channel="north", distribution="", distributor="lab") == ""
    assert sender_of(site(), channel="", distribution="motd", distributor="") == "lab"


def test_several_subscribers_are_planned_at_once_each_with_its_reason() -> None:
    targets = plan(site(), distribution="zone", channel="north", to=["oslo", "helsinki", "oslo"])
    assert [(t.subscriber, t.is_due) for t in targets] == [("helsinki", True), ("oslo", False)]
    assert only(targets, "oslo").reason == "Channel north doesn't join zone with oslo"


def test_nobody_was_offered_a_revision_until_one_state_says_so() -> None:
    targets = plan(site(), distribution="zone")
    assert were_never_offered(targets, {})
    older = CurrentState("oslo", "zone", offered=ONE)
    assert were_never_offered(targets, {("oslo", "zone"): older})
    assert not were_never_offered(targets, {("oslo", "zone"): replace(older, offered=TWO)})
    assert not were_never_offered([], {})


def test_what_another_distributor_had_extracted_is_due_from_the_new_owner() -> None:
    installed = CurrentState("oslo", "zone", "lab", held=TWO, extracted=TWO, offered=TWO, state=State.INSTALLED, sequence=3)
    mine = replace(installed, distributor="hq")
    assert only(plan(site(), states={("oslo", "zone"): installed}), "oslo").is_due
    assert not only(plan(site(), states={("oslo", "zone"): mine}), "oslo").is_due


def test_a_check_says_what_is_extracted_by_receipts() -> None:
    mine = CurrentState("oslo", "zone", "hq", held=TWO, extracted=TWO, offered=TWO, state=State.INSTALLED)
    targets = plan(site(), states={("oslo", "zone"): mine}, check=True)
    assert (only(targets, "oslo").is_extracted, only(targets, "helsinki").is_extracted) == (True, False)
