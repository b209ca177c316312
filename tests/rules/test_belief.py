"""The rule for what is believed of a Subscriber: whatever is older, other or gone is doubted, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from sluice.model.belief import Belief, HeldState, Identity, Machine, Seen
from sluice.model.known import Known
from sluice.model.order import CLAIMED_SEQUENCE_MAX
from sluice.model.revision import RevisionNumber
from sluice.model.state import CurrentState, State
from sluice.rules.belief import TWINS_TOLD, compare, of_owner, shared_identities, twins_sentence

T0 = datetime(2026, 12, 1, 12, tzinfo=UTC)
V1, V2, V3 = (RevisionNumber(1, number) for number in (1, 2, 3))
IDENTITY = Identity("a" * 32, "/var/lib/sluice", "web-1", "boot-1")
BELIEF = Belief(T0, "0.1.0", IDENTITY.key, IDENTITY.directory, 7, (Machine("boot-1", "web-1", "ssh:web-1", T0),))
INSTALLED = CurrentState(
    "oslo", "zone", "hq", held=V2, extracted=V2, offered=V2, state=State.INSTALLED, sequence=5, read_back_at=T0, seen_at=T0, since=T0
)
CLAIM = HeldState(V2, V2, 5)
SEEN = Seen(T0 + timedelta(hours=1), "ssh:web-1", "0.1.0", IDENTITY, 7, {"zone": CLAIM})


def known(state: CurrentState = INSTALLED, belief: Belief | None = BELIEF, last_order: int = 5) -> Known:
    return Known(belief, {state.distribution: state}, last_order)


def claiming(claim: HeldState, **changes: object) -> Seen:
    return replace(SEEN, pairs={"zone": claim}, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "before", "seen"),
    [
        ("the same", known(), SEEN),
        ("a first contact", known(belief=None), SEEN),
        ("a restart", known(), replace(SEEN, identity=replace(IDENTITY, instance="boot-2"))),
        ("a renamed machine", known(), replace(SEEN, identity=replace(IDENTITY, host="www"))),
        ("another address", known(), replace(SEEN, address="ssh:10.0.0.7")),
        ("a new agent", known(), replace(SEEN, agent="0.2.0")),
        ("an older agent, which says nothing of itself", known(), replace(SEEN, identity=None)),
        ("newer metadata", known(), replace(SEEN, metadata=9)),
        ("an order whose receipt is still to come", known(last_order=6), claiming(HeldState(V3, V3, 6))),
        ("a newer revision received by another run", known(), claiming(HeldState(V3, V2, 5))),
        ("an absurd order number", known(), claiming(HeldState(V2, V2, CLAIMED_SEQUENCE_MAX))),
        ("another Distribution was asked about", known(), replace(SEEN, pairs={}, about=frozenset({"other"}))),
        ("nothing is believed", known(CurrentState("oslo", "zone", "hq", offered=V2)), claiming(HeldState())),
        ("received, not extracted", known(replace(INSTALLED, extracted=V1, state=State.RECEIVED)), claiming(HeldState(V2, V1, 5))),
        ("more than is known", known(replace(INSTALLED, held=None, extracted=None, sequence=0)), claiming(HeldState(V2, V2, 5))),
    ],
)
def test_nothing_is_doubted_by(name: str, before: Known, seen: Seen) -> None:
    _, doubts = compare(before, seen)
    assert doubts == {}, name


@pytest.mark.parametrize(
    ("seen", "says", "held", "extracted"),
    [
        (claiming(HeldState()), "restored from a backup", None, None),
        (claiming(HeldState(None, None, 5)), "had nothing extracted, although 1.2 had been read back", None, None),
        (claiming(HeldState(V2, None, 5)), "had nothing extracted, although 1.2 had been read back", V2, None),
        (claiming(HeldState(V1, V1, 5)), "had 1.1 extracted, although 1.2 had been read back", None, None),
        (claiming(HeldState(V1, V1, 4)), "had accepted order 4 last, and a receipt had answered 5: restored from a backup", None, None),
        (claiming(HeldState(V2, V2, 4)), "had accepted order 4 last, and a receipt had answered 5: restored from a backup", V2, None),
        (claiming(HeldState(V3, V3, 9)), "had accepted order 9, and this ledger had given 5 at most: the ledger was restored", V3, None),
        (replace(SEEN, metadata=6), "had signed metadata 6, and 7 at 2026-12-01 12:00:00 UTC: restored", V2, None),
        (
            replace(SEEN, identity=replace(IDENTITY, key="b" * 32)),
            "its receipt key wasn't the one seen until 2026-12-01",
            V2,
            None,
        ),
        (
            replace(SEEN, identity=replace(IDENTITY, directory="/srv/sluice")),
            "was /srv/sluice, and until 2026-12-01",
            V2,
            None,
        ),
        (replace(SEEN, identity=replace(IDENTITY, key="b" * 32), pairs={}, about=frozenset({"other"})), "its receipt key", None, None),
    ],
)
def test_what_is_older_other_or_gone_is_doubted_and_due(
    seen: Seen, says: str, held: RevisionNumber | None, extracted: RevisionNumber | None
) -> None:
    before = known()
    belief, doubts = compare(before, seen)
    doubt = doubts["zone"]
    assert doubt.text.startswith("at 2026-12-01 13:00:00 UTC "), "true whenever it is read"
    assert says in doubt.text
    assert (doubt.held, doubt.extracted) == (held, extracted)
    state = INSTALLED.raise_doubt(doubt, seen.at)
    assert (state.state, state.doubt, state.read_back_at) == (State.RECEIVED if held == V2 else State.WAITING, doubt.text, None)
    assert compare(Known(belief, {"zone": state}, 5), seen)[1] == {}, "the same contact again raises no second doubt"


def test_a_received_revision_that_is_gone_takes_nothing_from_what_is_extracted() -> None:
    waits = replace(INSTALLED, held=V3, offered=V3, state=State.RECEIVED)
    _, doubts = compare(known(waits), SEEN)
    state = waits.raise_doubt(doubts["zone"], SEEN.at)
    assert "its agent didn't hold 1.3, which had been received" in state.doubt
    assert (state.held, state.extracted, state.read_back_at) == (V2, V2, T0)
    assert compare(known(state), SEEN)[1] == {}, "the same contact again raises no second doubt"
    _, doubts = compare(known(state), claiming(HeldState(V2, None, 5)))
    assert (doubts["zone"].held, doubts["zone"].extracted) == (V2, None), "what goes later is doubted too"


def test_a_machine_that_comes_back_after_another_one_is_a_twin() -> None:
    other = replace(SEEN, at=T0 + timedelta(hours=2), address="ssh:10.0.0.9", identity=replace(IDENTITY, host="copy", instance="boot-9"))
    once, _ = compare(known(), other)
    assert twins_sentence("oslo", once, other.at) == "", "a restart, or a move, as far as can be seen"
    again = replace(SEEN, at=T0 + timedelta(hours=3))
    belief, _ = compare(known(belief=once), again)
    said = twins_sentence("oslo", belief, again.at)
    assert "two machines answered in turn as oslo: web-1 at ssh:web-1" in said
    assert "copy at ssh:10.0.0.9" in said
    assert twins_sentence("oslo", belief, again.at + TWINS_TOLD + timedelta(seconds=1)) == "", "it isn't told for ever"
    third, _ = compare(known(belief=belief), replace(other, at=T0 + timedelta(hours=4)))
    assert third.twins_at == T0 + timedelta(hours=4)


def test_restarts_alone_are_no_twins_and_a_new_identity_has_none() -> None:
    belief: Belief = BELIEF
    for number in range(20):
        seen = replace(SEEN, at=T0 + timedelta(hours=number), identity=replace(IDENTITY, instance=f"boot-{number + 2}"))
        belief, _ = compare(known(belief=belief), seen)
        assert belief.twins_at is None
    assert len(belief.machines) <= 8
    back, _ = compare(known(belief=belief), replace(SEEN, identity=replace(IDENTITY, key="b" * 32, instance="boot-20")))
    assert (back.twins_at, len(back.machines)) == (None, 1)


def test_a_machine_without_boot_ids_is_no_twin_of_itself() -> None:
    blank = replace(SEEN, identity=replace(IDENTITY, instance=""))
    belief, _ = compare(known(), blank)
    belief, _ = compare(known(belief=belief), SEEN)
    belief, _ = compare(known(belief=belief), blank)
    assert belief.twins_at is None


def test_what_another_distributor_had_extracted_attests_nothing_for_this_one() -> None:
    assert of_owner(INSTALLED, "hq") is INSTALLED
    assert of_owner(INSTALLED, "branch") is None
    assert of_owner(None, "hq") is None


def test_subscribers_that_show_one_receipt_key_are_told_to_each_other() -> None:
    other = replace(BELIEF, key="c" * 32)
    beliefs = {
        ("hq", "a"): BELIEF,
        ("hq", "b"): BELIEF,
        ("hq", "c"): other,
        ("branch", "c"): BELIEF,
        ("hq", "old-1"): replace(BELIEF, key=""),
    }
    beliefs["hq", "old-2"] = beliefs["hq", "old-1"]
    said = "a, b have one identity: all but one are clones"
    assert shared_identities(beliefs) == {("hq", "a"): said, ("hq", "b"): said}
