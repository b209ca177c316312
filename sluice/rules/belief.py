"""The one rule for what is believed of a Subscriber: each contact's claims are compared with what was seen and attested before. Pure.

A claim that is older, other or less than what is believed raises a doubt: the pair counts as due again, and only an order that reads
everything back ends it. A claim of more changes nothing: that is believed by a receipt alone.

=============================================  ==========================================================
seen                                           concerns
=============================================  ==========================================================
another receipt key                            all Distributions: the agent was set up anew, or is another
another working directory                      all
no agent of this Subscriber, or one without
its identity or trust                          all: ``deliver/contact.py`` knows it by the error of the call
signed metadata of a lower version             all: restored from a backup
a lower order number than a receipt answered   that Distribution: restored from a backup
a higher order number than was ever given      that Distribution: the ledger is the older one
not extracted, or another revision             that Distribution
a revision that was received isn't there       that Distribution
a machine that had been replaced by another    nothing is due for it; told as twins: see ``twins_sentence``
the receipt key of another Subscriber          nothing is due for it; told: see ``shared_identities``
=============================================  ==========================================================

A doubt's text is in the past tense and has its time: it stays true when the right agent is back, until something was read back.
Left out: reboots and new versions of the agent, which are recorded and doubt nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from sluice.model.belief import Belief, Doubt, HeldState, Machine, Seen
from sluice.model.known import Known
from sluice.model.order import CLAIMED_SEQUENCE_MAX
from sluice.model.revision import RevisionNumber
from sluice.model.state import CurrentState, State
from sluice.rules.retry import moment

MACHINES_MAX = 8
"""Machines that are remembered of one Subscriber."""
TWINS_TOLD = timedelta(days=7)
"""Time for which two machines that answered in turn are told of, since they last did."""
TWINS_REMEDY = "find out which of them is meant; on the other one remove the working directory, and bootstrap it as a Subscriber of its own"
_NOTHING = HeldState()


def compare(known: Known, seen: Seen) -> tuple[Belief, Mapping[str, Doubt]]:
    """Return what is believed from now on, and the doubts that the contact raises, by Distribution."""
    whole = _doubt_of_all(known.belief, seen)
    doubts = {}
    for name, state in known.states.items():
        if state.held is None and state.extracted is None:
            continue
        asked = seen.about is None or name in seen.about
        claim = seen.pairs.get(name, _NOTHING)
        if whole:
            doubts[name] = Doubt(whole, _still_held(state, claim), None, claim.sequence)  # not asked about: nothing is known of it
        elif asked and (found := _doubt_of(state, claim, known.last_order, seen.at)) is not None:
            doubts[name] = found
    return _belief(known.belief, seen), doubts


def of_owner(state: CurrentState | None, distributor: str) -> CurrentState | None:
    """Return the state of a pair if this Distributor made it; None: another one owned the Distribution then, and attests nothing for it."""
    return None if state is None or state.distributor not in ("", distributor) else state


def doubt_remedy(state: CurrentState) -> str:
    """Name the command that has a doubted pair read back, or what stands in its way."""
    if state.state is State.FAILED and state.error is not None and state.error.remedy:
        return state.error.remedy
    return f"run: sluice distribute {state.distribution} --to {state.subscriber}"


def twins_sentence(subscriber: str, belief: Belief | None, now: datetime) -> str:
    """Describe two machines that answered in turn lately; empty if none did."""
    if belief is None or belief.twins_at is None or now - belief.twins_at > TWINS_TOLD or len(belief.machines) < 2:
        return ""
    one, other = belief.machines[:2]
    return (
        f"two machines answered in turn as {subscriber}: {_named(one)} and {_named(other)}; a clone with the same identity, "
        "or one that went back to a snapshot"
    )


def shared_identities(beliefs: Mapping[tuple[str, str], Belief]) -> Mapping[tuple[str, str], str]:
    """Describe, by Distributor and Subscriber, those whose agents show one receipt key: clones under several names."""
    by_key: dict[tuple[str, str], list[str]] = {}
    for (distributor, subscriber), belief in sorted(beliefs.items()):
        if belief.key:
            by_key.setdefault((distributor, belief.key), []).append(subscriber)
    return {
        (distributor, name): f"{', '.join(names)} have one identity: all but one are clones"
        for (distributor, _), names in by_key.items()
        if len(names) > 1
        for name in names
    }


def _doubt_of_all(belief: Belief | None, seen: Seen) -> str:
    if belief is None:
        return ""
    at, before = moment(seen.at), moment(belief.at)
    if (identity := seen.identity) is not None:
        if belief.key and identity.key != belief.key:
            return f"at {at} another agent answered: its receipt key wasn't the one seen until {before}"
        if belief.directory and identity.directory != belief.directory:
            return f"at {at} its working directory was {identity.directory}, and until {before} {belief.directory}"
    if seen.metadata < belief.metadata:
        had = f"and {belief.metadata} at {before}"
        return f"at {at} its agent had signed metadata {seen.metadata}, {had}: restored from a backup, or another machine"
    return ""


def _doubt_of(state: CurrentState, claim: HeldState, last_order: int, at: datetime) -> Doubt | None:
    """Compare what receipts attest of one Distribution with a claim about it."""
    if state.doubt and state.held == claim.held and claim.sequence >= state.sequence and state.extracted in (None, claim.extracted):
        return None  # this doubt was raised before
    had = f"at {moment(at)} its agent had {claim.extracted or 'nothing'} extracted"
    believed = f"{state.extracted} had been read back" if state.extracted else f"{state.held} had been received"
    gone = Doubt(f"{had}, although {believed}", _still_held(state, claim), None, claim.sequence)
    if claim.sequence < state.sequence:
        orders = f"it had accepted order {claim.sequence} last, and a receipt had answered {state.sequence}"
        return replace(gone, text=f"{had}; {orders}: restored from a backup, or another machine")
    if max(last_order, state.sequence) < claim.sequence < CLAIMED_SEQUENCE_MAX:
        orders = f"it had accepted order {claim.sequence}, and this ledger had given {last_order} at most"
        return replace(gone, text=f"{had}; {orders}: the ledger was restored from a backup, or isn't the one used before")
    if state.extracted is not None and claim.extracted != state.extracted:
        return gone if claim.sequence == state.sequence else None  # a newer order was accepted: its receipt is still to come
    newer = state.held if state.held != state.extracted else None
    if newer is not None and claim.extracted != newer and (claim.held is None or claim.held < newer):
        text = f"at {moment(at)} its agent didn't hold {newer}, which had been received"
        return Doubt(text, claim.held, state.extracted, claim.sequence)
    return None


def _still_held(state: CurrentState, claim: HeldState) -> RevisionNumber | None:
    """Return the revision that may be extracted there; not an older one than was attested, whose files may stand in the destinations."""
    attested = [each for each in (state.held, state.extracted) if each is not None]
    return claim.held if claim.held is not None and claim.held >= max(attested) else None


def _belief(before: Belief | None, seen: Seen) -> Belief:
    if before is None:
        before = Belief(seen.at, seen.agent)
    if seen.identity is None:
        return replace(before, at=seen.at, agent=seen.agent, metadata=seen.metadata)
    identity = seen.identity
    machine = Machine(identity.instance, identity.host, seen.address, seen.at)
    is_same_agent = identity.key == before.key  # one that was set up anew has no twin that counts
    earlier = before.machines if is_same_agent else ()
    returned = identity.instance in [each.instance for each in earlier[1:]]
    if identity.instance:  # else its system doesn't tell its starts apart
        earlier = (machine, *(each for each in earlier if each.instance != identity.instance))[:MACHINES_MAX]
    return replace(
        before,
        at=seen.at,
        agent=seen.agent,
        key=identity.key,
        directory=identity.directory,
        metadata=seen.metadata,
        machines=earlier,
        twins_at=seen.at if returned else before.twins_at if is_same_agent else None,
    )


def _named(machine: Machine) -> str:
    return f"{machine.host or 'a machine'} at {machine.address} (seen {moment(machine.at)})"
