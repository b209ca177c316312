"""Ordering an extraction: what is believed, what is stored, and that a repeat after a kill converges."""

from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path, PurePosixPath

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sluice.distributor.deliver.contact import Contact
from sluice.distributor.deliver.delivery import Delivery
from sluice.distributor.deliver.extraction import Extraction
from sluice.distributor.deliver.orders import ExtractResult, Orders
from sluice.distributor.plan.extractions import plan_extracts
from sluice.distributor.send_queue.watch import QueueWatch
from sluice.errors import (
    ActionFailedError,
    AgentVersionError,
    BaseDiffersError,
    ConnectionLostError,
    LedgerError,
    LockedTargetError,
    ReadBackError,
    TamperedError,
)
from sluice.formats.manifest.document import parse_manifest, read_back_digest
from sluice.formats.orders import parse_order, parse_receipt
from sluice.model.action import Script, ScriptType, StopProcess
from sluice.model.assignment import Assignment
from sluice.model.belief import Doubt
from sluice.model.event import EventKind
from sluice.model.known import LedgerSnapshot
from sluice.model.locked import Locked
from sluice.model.order import Act, Failure, Outcome, Receipt
from sluice.model.recipe import RenderedRecipe
from sluice.model.revision import RevisionNumber
from sluice.model.site import Channel, Distribution, DistributionType, Distributor, Site, Subscription
from sluice.model.state import Built, State
from sluice.rules.lifetimes import ORDER_LIFETIMES
from sluice.rules.reasons import why
from sluice.sender.call import Call, call_agent
from sluice.sender.transfer import Remedy, Transfer
from tests.distributor.distributor import Bench, bench, subscriber_named
from tests.sender.agent_double import NOW, AgentDouble

RECIPE = RenderedRecipe(("/opt/zone",))


@pytest.fixture
def agent() -> AgentDouble:
    return AgentDouble()


@pytest.fixture
def hq(tmp_path: Path, agent: AgentDouble) -> Bench:
    made = bench(tmp_path, agent)
    made.build("1.1", {"a": b"content"})
    agent.manifests["zone/1.1/manifest"] = made.store.manifest_bytes("zone", RevisionNumber(1, 1))
    agent.held["zone"] = "1.1"
    return made


def call(hq: Bench) -> Call:
    return call_agent(subscriber_named("helsinki-1"), "hq", transport=hq.way, timeout=5)


def order(hq: Bench, *, if_changed: str = "", lent: int = 0) -> ExtractResult:
    called = call(hq)
    try:
        return hq.orders(called, RevisionNumber(1, 1), RECIPE).give(if_changed=if_changed, supplement=lent)
    finally:
        called.close()


def kinds(hq: Bench) -> list[EventKind]:
    return [each.event.kind for each in hq.ledger.events()]


def test_installed_is_said_after_the_receipt_was_verified_stored_and_acknowledged(hq: Bench, agent: AgentDouble) -> None:
    result = order(hq)
    assert result.is_installed
    assert result.error is None
    state = hq.ledger.state("helsinki-1", "zone")
    assert (state.state, str(state.extracted), state.sequence) == (State.INSTALLED, "1.1", 1)
    assert kinds(hq) == [EventKind.EXTRACT_STARTED, EventKind.INSTALLED]
    assert agent.receipts == []
    assert agent.requests[:4] == ["hello", "receipts", "order", "acknowledge"]
    stored = hq.ledger.receipt("hq", "helsinki-1", 1)
    assert stored is not None
    assert '"signature"' in stored


def test_the_answer_is_recorded_as_long_after_the_order_as_it_took(hq: Bench) -> None:
    passed = [timedelta(0)]
    called = call(hq)
    orders = hq.orders(called, RevisionNumber(1, 1), RECIPE)
    orders.context.clock.now = lambda: NOW + passed[0]
    replace(orders, on_event=lambda _: passed.__setitem__(0, timedelta(minutes=10))).give()
    called.close()
    assert [(each.event.kind, each.event.at - NOW) for each in hq.ledger.events()] == [
        (EventKind.EXTRACT_STARTED, timedelta(0)),
        (EventKind.INSTALLED, timedelta(minutes=10)),
    ]


def test_the_printed_form_of_orders_and_sends_has_no_script_and_no_variable(hq: Bench) -> None:
    recipe = replace(RECIPE, pre_actions=(Script(ScriptType.SHELL, "none", run="login --password=opensesame"),))
    subscriber = replace(subscriber_named("helsinki-1"), variables={"PASSWORD": "opensesame"})
    revision, context = RevisionNumber(1, 1), hq.context()
    called, sender = call(hq), hq.sending(revision).sender
    assignment, watch = Assignment("helsinki-1", "zone", revision), QueueWatch("hq", None, ledger=hq.ledger, clock=context.clock)
    printed = (
        Orders(context, called, assignment, recipe),
        Extraction(context, watch, sender, subscriber, assignment, partial(replace, recipe)),
        Delivery(context, watch, assignment, lambda remedy: Transfer(sender, subscriber, assignment, frozenset(), remedy), recipe),
        Transfer(sender, subscriber, assignment, frozenset(), Remedy.NONE),
    )
    called.close()
    assert "opensesame" not in repr(printed)


def test_the_order_is_for_one_recipient_numbered_and_expires(hq: Bench, agent: AgentDouble) -> None:
    seen = []
    usual = hq.publisher.sign_order
    hq.publisher.sign_order = lambda each: (seen.append(each), usual(each))[1]  # type: ignore[method-assign]
    order(hq)
    order(hq)
    assert [each.sequence for each in seen] == [1, 2]
    assert (seen[0].subscriber, seen[0].distributor, seen[0].destinations) == ("helsinki-1", "hq", ("/opt/zone",))
    assert seen[0].expires - seen[0].issued == ORDER_LIFETIMES[Act.EXTRACT]
    assert parse_order(usual(seen[0])["payload"].encode()) == seen[0]


def test_an_agent_that_lacks_what_the_order_asks_gets_none(hq: Bench, agent: AgentDouble) -> None:
    recipe = replace(RECIPE, pre_actions=(StopProcess("named"),), locked=Locked(1, timedelta(seconds=1)), min_free=7)
    called = call(hq)
    with pytest.raises(AgentVersionError, match=r"helsinki-1 can't do what zone needs: locked, min free, stop process:"):
        hq.orders(called, RevisionNumber(1, 1), recipe).give()
    assert agent.requests == ["hello", "receipts"]
    assert kinds(hq) == []
    extraction = Extraction(
        hq.context(),
        QueueWatch("hq", None, ledger=hq.ledger, clock=hq.context().clock),
        hq.sending(RevisionNumber(1, 1)).sender,
        subscriber_named("helsinki-1"),
        Assignment("helsinki-1", "zone", RevisionNumber(1, 1)),
        lambda: recipe,
    )
    with pytest.raises(AgentVersionError):
        extraction.extract()
    assert hq.ledger.state("helsinki-1", "zone").state is State.FAILED


def test_the_order_says_how_locked_targets_are_waited_for_and_what_stays_free(hq: Bench, agent: AgentDouble) -> None:
    agent.features = ["script", "locked", "min free"]
    seen = []
    usual = hq.publisher.sign_order
    hq.publisher.sign_order = lambda each: (seen.append(each), usual(each))[1]  # type: ignore[method-assign]
    recipe = replace(RECIPE, locked=Locked(3, timedelta(seconds=20)), min_free=10**9)
    called = call(hq)
    assert hq.orders(called, RevisionNumber(1, 1), recipe).give().is_installed
    assert (seen[0].locked, seen[0].min_free) == (Locked(3, timedelta(seconds=20)), 10**9)


def test_a_locked_target_is_the_ledgers_reason_and_the_next_extract_tries_again(hq: Bench, agent: AgentDouble) -> None:
    message = "locked: /opt/zone/a (held by pid 123)"
    agent.outcome, agent.failure = Outcome.FAILED, Failure("LockedTargetError", message, "end what uses it", True)
    result = order(hq)
    assert isinstance(result.error, LockedTargetError)
    state = hq.ledger.state("helsinki-1", "zone")
    assert (state.state, state.reason) == (State.FAILED, message)

    states = {("helsinki-1", "zone"): replace(state, held=RevisionNumber(1, 1))}
    site = Site(
        "",
        {"hq": Distributor("hq", PurePosixPath("/hq"))},
        {"helsinki-1": subscriber_named("helsinki-1")},
        {"all": Channel("all", subscriptions=(Subscription("helsinki-1"),))},
        {"zone": Distribution("zone", "hq", DistributionType.FILE, channels=("all",))},
    )
    again = plan_extracts(site, "hq", states, NOW)
    assert [(each.subscriber, str(each.revision), each.at) for each in again] == [("helsinki-1", "1.1", NOW)]
    snapshot = LedgerSnapshot(built={"zone": Built("zone", RevisionNumber(1, 1), NOW, 1, 7)}, states=states, tickets=())
    assert f"tried again at the next Extract: {message}: end what uses it" in why(site, snapshot, "helsinki-1", "zone", NOW)


@pytest.mark.parametrize("about", ["zone", "other"])
def test_orders_go_on_above_what_a_lost_ledger_gave(about: str, hq: Bench, agent: AgentDouble) -> None:
    agent.hello["distributions"] = {
        "zone": {"held": "1.1", "extracted": None, "sequence": 3},
        about: {"held": "1.1", "extracted": None, "sequence": 31},
    }
    assert order(hq).receipt.sequence == 32
    state = hq.ledger.state("helsinki-1", "zone")
    assert (state.state, state.sequence) == (State.INSTALLED, 32)


def test_a_failed_extraction_is_a_result_with_the_error_the_subscriber_met(hq: Bench, agent: AgentDouble) -> None:
    agent.outcome, agent.failure = Outcome.FAILED, Failure("ActionFailedError", "script: exit 3", "look at it", False)
    result = order(hq)
    assert not result.is_installed
    assert isinstance(result.error, ActionFailedError)
    assert str(result.error) == "script: exit 3: look at it"
    assert hq.ledger.state("helsinki-1", "zone").state is State.FAILED
    assert kinds(hq)[-1] is EventKind.EXTRACT_FAILED
    assert agent.receipts == []


def test_a_changed_tree_is_told_apart_so_that_everything_can_be_sent(hq: Bench, agent: AgentDouble) -> None:
    agent.outcome, agent.failure = Outcome.FAILED, Failure("BaseDiffersError", "a was changed", "", False)
    assert isinstance(order(hq).error, BaseDiffersError)


def test_a_receipt_that_got_lost_is_fetched_and_no_second_order_is_given(hq: Bench, agent: AgentDouble) -> None:
    agent.lose_receipt = True
    with pytest.raises(ConnectionLostError):
        order(hq)
    assert hq.ledger.state("helsinki-1", "zone").state is State.INSTALLING
    agent.lose_receipt = False
    result = order(hq)
    assert (result.is_installed, result.fetched, result.receipt.sequence) == (True, True, 1)
    assert hq.ledger.state("helsinki-1", "zone").state is State.INSTALLED
    assert agent.requests.count("order") == 1
    assert agent.receipts == []


def test_a_kill_before_the_receipt_is_stored_loses_nothing(hq: Bench, agent: AgentDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:

        def killed(*_: object, **__: object) -> None:
            raise LedgerError("killed")

        patched.setattr(hq.ledger, "accept_receipt", killed)
        with pytest.raises(LedgerError):
            order(hq)
    assert len(agent.receipts) == 1
    assert order(hq).fetched


def test_a_lost_acknowledgement_is_no_failure_and_stores_nothing_twice(hq: Bench, agent: AgentDouble) -> None:
    agent.refuse["acknowledge"] = ConnectionLostError("cut")
    assert order(hq).is_installed
    assert len(agent.receipts) == 1
    agent.refuse.clear()
    assert order(hq).fetched
    assert kinds(hq).count(EventKind.INSTALLED) == 1
    assert agent.receipts == []


def test_a_receipt_from_before_a_doubt_doesnt_answer_for_the_time_after_it(hq: Bench, agent: AgentDouble) -> None:
    """It was stored, only its acknowledgement got lost: fetched again, it mustn't say that it is installed."""
    agent.features = ["script", "verify"]
    agent.refuse["acknowledge"] = ConnectionLostError("cut")
    order(hq)
    agent.refuse.clear()
    state = hq.ledger.state("helsinki-1", "zone")
    doubt = Doubt("its working directory is another one", state.held, None, state.sequence)
    hq.ledger.believe("hq", "helsinki-1", None, [], {"zone": lambda state: state.raise_doubt(doubt, NOW)})
    result = order(hq)
    assert (result.fetched, result.receipt.sequence, result.receipt.files_read) == (False, 2, 1)
    after = hq.ledger.state("helsinki-1", "zone")
    assert (after.state, after.doubt, str(after.extracted)) == (State.INSTALLED, "", "1.1")
    assert agent.receipts == []


@pytest.mark.parametrize(("forgets", "claims"), [(True, 0), (False, 0), (False, 40)])
def test_the_receipt_of_an_order_from_before_a_doubt_never_ends_it(hq: Bench, agent: AgentDouble, *, forgets: bool, claims: int) -> None:
    """It was never stored, and is a genuine one of every file; ``claims``: the last order number there, which a lost ledger gave."""
    agent.features = ["script", "verify"]
    order(hq)
    agent.lose_receipt = True
    with pytest.raises(ConnectionLostError):
        order(hq)
    agent.lose_receipt = False
    if claims:
        read_back = read_back_digest(parse_manifest(agent.manifests["zone/1.1/manifest"]))
        one = RevisionNumber(1, 1)
        old = Receipt("hq", agent.name, claims, "zone", one, Outcome.INSTALLED, NOW, NOW, 1, 0, 1, read_back, files_read=1)
        agent.receipts.append(("zone", claims, agent.sign(old)))
    agent.sequence = claims
    agent.extracted.clear()
    contact, called = Contact(hq.ledger, hq.context().clock, "hq", subscriber_named("helsinki-1")), call(hq)
    if forgets:
        contact.forget("it was bootstrapped with a new identity")
    else:
        contact.heard(called.hello)
    orders = hq.orders(called, RevisionNumber(1, 1), RECIPE)
    assert len(orders.fetch_receipts()) == 1 + (claims > 0)
    state = hq.ledger.state("helsinki-1", "zone")
    assert (state.doubt != "", state.extracted) == (True, None)
    assert orders.give().receipt.sequence > max(3, claims)
    called.close()
    state = hq.ledger.state("helsinki-1", "zone")
    assert (state.doubt, str(state.extracted)) == ("", "1.1")


@pytest.mark.parametrize(
    ("features", "outcome", "written", "unchanged", "read", "ends"),
    [
        ((), Outcome.ALREADY_INSTALLED, 0, 0, None, False),  # from its status file
        ((), Outcome.INSTALLED, 1, 2, None, False),  # what was unchanged is known by its stat
        ((), Outcome.INSTALLED, 3, 0, None, True),
        (("verify",), Outcome.ALREADY_INSTALLED, 0, 3, 2, False),
        (("verify",), Outcome.ALREADY_INSTALLED, 0, 3, 3, True),
        (("verify",), Outcome.ALREADY_INSTALLED, 0, 0, 0, True),  # it has no files: its links and directories stand
    ],
)
def test_a_doubt_ends_by_a_receipt_of_every_file_alone(
    hq: Bench,
    agent: AgentDouble,
    monkeypatch: pytest.MonkeyPatch,
    features: tuple[str, ...],
    outcome: Outcome,
    written: int,
    unchanged: int,
    read: int | None,
    *,
    ends: bool,
) -> None:
    agent.features = ["script", *features]
    order(hq)
    doubt = Doubt("its working directory was another one", None, None, 0)
    hq.ledger.believe("hq", "helsinki-1", None, [], {"zone": lambda state: state.raise_doubt(doubt, NOW)})
    counts = {"files_written": written, "files_unchanged": unchanged, "files_read": read}
    usual, agent.outcome = AgentDouble.sign, outcome
    monkeypatch.setattr(AgentDouble, "sign", lambda self, receipt: usual(self, replace(receipt, **counts)))
    result, state = order(hq), hq.ledger.state("helsinki-1", "zone")
    if ends:
        assert (result.is_installed, state.state, state.doubt, str(state.extracted)) == (True, State.INSTALLED, "", "1.1")
        return
    assert (result.is_installed, state.state, state.doubt, state.extracted) == (False, State.FAILED, doubt.text, None)
    assert isinstance(result.error, AgentVersionError)
    assert str(result.error) == (
        "1.1 is extracted, says the agent of helsinki-1, which is too old to read it back: run: sluice subscriber bootstrap helsinki-1"
    )
    assert (state.error and state.error.message, str(state.held)) == (result.error.message, "1.1"), "the next extract asks again"
    monkeypatch.undo()
    agent.features = ["script", "verify"]
    assert order(hq).is_installed, "bootstrapped"
    assert hq.ledger.state("helsinki-1", "zone").doubt == ""


def test_a_doubt_of_what_was_received_asks_for_no_reading_back(hq: Bench, agent: AgentDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    order(hq)
    hq.build("1.2", {"a": b"content", "b": b"new"})
    agent.manifests["zone/1.2/manifest"] = hq.store.manifest_bytes("zone", RevisionNumber(1, 2))
    doubt = Doubt("1.2 was received, and isn't there", RevisionNumber(1, 1), RevisionNumber(1, 1), 1)
    hq.ledger.believe("hq", "helsinki-1", None, [], {"zone": lambda state: state.raise_doubt(doubt, NOW)})
    usual = AgentDouble.sign
    monkeypatch.setattr(AgentDouble, "sign", lambda self, receipt: usual(self, replace(receipt, files_unchanged=1)))
    called = call(hq)
    assert hq.orders(called, RevisionNumber(1, 2), RECIPE).give().is_installed
    state = hq.ledger.state("helsinki-1", "zone")
    assert (state.state, str(state.extracted), state.doubt) == (State.INSTALLED, "1.2", "")


def test_a_receipt_signed_by_another_key_is_refused_and_recorded(hq: Bench, agent: AgentDouble) -> None:
    agent.key = Ed25519PrivateKey.generate()
    with pytest.raises(TamperedError):
        order(hq)
    assert EventKind.RECEIPT_REFUSED in kinds(hq)
    assert hq.ledger.state("helsinki-1", "zone").state is not State.INSTALLED
    assert len(agent.receipts) == 1


@pytest.mark.parametrize("claimed", ["0" * 64, ""])
def test_a_receipt_that_read_back_something_else_is_not_believed(claimed: str, hq: Bench, agent: AgentDouble) -> None:
    agent.read_back = claimed
    with pytest.raises(ReadBackError, match=r"read back something else than zone 1\.1"):
        order(hq)
    assert hq.ledger.state("helsinki-1", "zone").state is not State.INSTALLED
    assert hq.ledger.receipt("hq", "helsinki-1", 1) is None


@pytest.mark.parametrize(
    "change",
    [{"sequence": 9}, {"revision": RevisionNumber(7, 7)}, {"subscriber": "oslo-1"}, {"distributor": "other"}, {"distribution": "other"}],
)
def test_a_receipt_that_answers_something_else_is_refused(
    change: dict[str, object], hq: Bench, agent: AgentDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = AgentDouble.sign
    monkeypatch.setattr(AgentDouble, "sign", lambda self, receipt: usual(self, replace(receipt, outcome=Outcome.FAILED, **change)))
    with pytest.raises(TamperedError):
        order(hq)
    assert EventKind.RECEIPT_REFUSED in kinds(hq)
    assert hq.ledger.receipt("hq", "helsinki-1", 1) is None


def test_old_receipts_that_cannot_be_believed_hold_nothing_up(hq: Bench, agent: AgentDouble) -> None:
    agent.lose_receipt = True
    with pytest.raises(ConnectionLostError):
        order(hq)
    agent.lose_receipt = False
    distribution, _, envelope = agent.receipts[0]
    agent.receipts.insert(0, (distribution, 77, {**envelope, "signature": "AAAA"}))
    assert order(hq).fetched
    assert [each[1] for each in agent.receipts] == [77]
    assert EventKind.RECEIPT_REFUSED in kinds(hq)


def test_receipts_of_pruned_revisions_are_stored_on_their_signature(hq: Bench, agent: AgentDouble) -> None:
    hq.build("2.1", {"a": b"newer"})
    receipt = Receipt("hq", "helsinki-1", 5, "zone", RevisionNumber(1, 9), Outcome.INSTALLED, NOW, NOW, 1, 0, 1, "f" * 64)
    agent.receipts.append(("zone", 5, agent.sign(receipt)))
    called = call(hq)
    assert hq.orders(called, RevisionNumber(2, 1), RECIPE).fetch_receipts() == [receipt]
    stored = hq.ledger.receipt("hq", "helsinki-1", 5)
    assert stored is not None
    assert parse_receipt(agent.sign(receipt)["payload"].encode()) == receipt
    assert agent.receipts == []


def test_an_agent_that_counts_no_files_read_verifies_nothing(hq: Bench, agent: AgentDouble) -> None:
    order(hq)
    agent.outcome = Outcome.ALREADY_INSTALLED
    again = order(hq)
    assert (again.is_installed, again.receipt.files_read, "verified" in again.reason) == (True, None, False)
    assert EventKind.VERIFIED not in kinds(hq)


def test_what_is_extracted_already_is_verified_and_that_is_another_event(hq: Bench, agent: AgentDouble) -> None:
    agent.features = ["script", "verify"]
    order(hq)
    agent.outcome = Outcome.ALREADY_INSTALLED
    again = order(hq)
    assert (again.is_installed, again.receipt.files_read, "verified" in again.reason) == (True, 1, True)
    assert kinds(hq) == [EventKind.EXTRACT_STARTED, EventKind.INSTALLED, EventKind.EXTRACT_STARTED, EventKind.VERIFIED]
    (last,) = [each.event for each in hq.ledger.events() if each.event.kind is EventKind.VERIFIED]
    assert last.data == {"files_mended": 1, "paths_adjusted": 0, "paths_removed": 0, "files_read": 1}
    state = hq.ledger.state("helsinki-1", "zone")
    assert (state.state, str(state.extracted), state.reason) == (State.INSTALLED, "1.1", "1.1 is installed, 1 file written anew")


def test_a_tree_found_changed_says_what_follows_and_what_was_lent_counts(hq: Bench, agent: AgentDouble) -> None:
    order(hq)
    sent = hq.ledger.state("helsinki-1", "zone").bytes_sent
    agent.outcome, agent.failure = Outcome.FAILED, Failure("BaseDiffersError", "a changed\x1b", "", retryable=False)
    order(hq, if_changed="it is lent now")
    (failed,) = [each.event for each in hq.ledger.events() if each.event.kind is EventKind.EXTRACT_FAILED]
    assert failed.data == {"code": "BaseDiffersError", "message": "a changed?; it is lent now"}
    agent.outcome, agent.failure = Outcome.INSTALLED, None
    order(hq, lent=4711)
    started = [each.event.data for each in hq.ledger.events() if each.event.kind is EventKind.EXTRACT_STARTED]
    assert started == [{}, {}, {"lent": 4711}]
    assert hq.ledger.state("helsinki-1", "zone").bytes_sent == sent + 4711
