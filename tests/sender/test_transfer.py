"""Sending one revision to one Subscriber: what goes over the wire, what is resumed, which ``.ted`` is chosen."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from sluice.errors import (
    AgentMissingError,
    AgentVersionError,
    BaseDiffersError,
    ConnectionLostError,
    NotFoundError,
    UnknownDistributorError,
    UnreachableError,
)
from sluice.formats.ted.index import BLOCK
from sluice.sender.transfer import Remedy
from tests.distributor.distributor import Bench, bench
from tests.sender.agent_double import AgentDouble, Line

BIG = os.urandom(5 * BLOCK)
FIRST = {"a": b"same", "big": BIG, "c": b"old"}
SECOND = {"a": b"same", "big": BIG, "c": b"new"}


@pytest.fixture
def agent() -> AgentDouble:
    return AgentDouble()


@pytest.fixture
def hq(tmp_path: Path, agent: AgentDouble) -> Bench:
    return bench(tmp_path, agent)


def makes_deltas(agent: AgentDouble) -> None:
    """It completes deltas, of all kinds."""
    agent.features = ["delta", "script"]
    agent.hello = {"codecs": ["hdiff", "lzma", "zstd"]}


def test_a_first_send_brings_metadata_manifest_and_everything(hq: Bench, agent: AgentDouble) -> None:
    revision = hq.build("1.1", FIRST)
    sending = hq.sending(revision)
    assert sending.call().subscriber == "helsinki-1"
    assert sending.needs_transfer
    result = sending.transfer()
    sending.close()
    assert (result.base, result.already_held, result.resumed, result.again) == (None, False, 0, 0)
    assert agent.held == {"zone": "1.1"}
    assert {"1.root.json", "timestamp.json"} <= set(agent.metadata)
    assert agent.manifests["zone/1.1/manifest"] == hq.store.manifest_bytes("zone", revision)
    assert result.sent == hq.way.lines[0].arrived - len(b'{"type":"bye"}') - 5
    assert result.sent > result.payload + result.metadata + result.manifest
    assert result.payload > len(BIG)


def test_what_is_held_is_not_sent_again(hq: Bench, agent: AgentDouble) -> None:
    revision = hq.build("1.1", FIRST)
    agent.held["zone"] = "1.1"
    sending = hq.sending(revision)
    sending.call()
    assert not sending.needs_transfer
    result = sending.transfer()
    assert result.already_held
    assert result.sent < 500
    assert agent.requests == ["hello"]


def test_what_was_extracted_and_cleaned_up_counts_as_held(hq: Bench, agent: AgentDouble) -> None:
    revision = hq.build("1.1", FIRST)
    agent.extracted["zone"] = "1.1"
    sending = hq.sending(revision)
    sending.call()
    assert not sending.needs_transfer


def test_a_subscriber_that_has_a_kept_revision_gets_the_difference_signed_first(hq: Bench, agent: AgentDouble) -> None:
    hq.build("1.1", FIRST)
    revision = hq.build("1.2", SECOND)
    makes_deltas(agent)
    agent.held["zone"] = agent.extracted["zone"] = "1.1"
    signed = len(hq.signed)
    sending = hq.sending(revision)
    sending.call()
    result = sending.transfer()
    assert str(result.base) == "1.1"
    assert result.payload < 500
    assert list(agent.parts) == ["zone/1.2/from-1.1.ted"]
    assert len(hq.signed) == signed + 1
    assert "zone/1.2/from-1.1.ted" in hq.publisher.listing("zone")
    sending.close()
    other = hq.sending(revision)
    other.call()
    other.close()
    assert len(hq.signed) == signed + 1


def test_received_but_not_extracted_is_no_base(hq: Bench, agent: AgentDouble) -> None:
    hq.build("1.1", FIRST)
    revision = hq.build("1.2", SECOND)
    agent.held["zone"] = "1.1"
    sending = hq.sending(revision)
    sending.call()
    assert sending.transfer().base is None


@pytest.mark.parametrize("claimed", ["1.2", "2.7", "9.9"])
def test_a_base_that_is_not_kept_or_not_older_is_not_used(claimed: str, hq: Bench, agent: AgentDouble) -> None:
    hq.build("1.1", FIRST)
    revision = hq.build("1.3", SECOND)
    agent.extracted["zone"] = claimed
    sending = hq.sending(revision)
    sending.call()
    assert sending.transfer().base is None


def test_a_subscriber_whose_tree_differs_gets_everything_when_asked(hq: Bench, agent: AgentDouble) -> None:
    hq.build("1.1", FIRST)
    revision = hq.build("1.2", SECOND)
    agent.extracted["zone"] = "1.1"
    sending = hq.sending(revision, remedy=Remedy.WHOLE)
    sending.call()
    result = sending.transfer()
    assert result.base is None
    assert list(agent.parts) == ["zone/1.2/distfile.ted"]


def test_a_base_the_subscriber_refuses_at_once_is_followed_by_everything(
    hq: Bench, agent: AgentDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    hq.build("1.1", FIRST)
    revision = hq.build("1.2", SECOND)
    agent.extracted["zone"] = "1.1"
    usual = Line._begin

    def picky(line: Line, put: dict[str, object]) -> None:
        if "from-" in str(put["target"]):
            line._message({"type": "refused"})
            return
        usual(line, put)

    agent.refuse["refused"] = BaseDiffersError("the tree was changed")
    monkeypatch.setattr(Line, "_begin", picky)
    sending = hq.sending(revision)
    sending.call()
    assert sending.transfer().base is None
    assert agent.held == {"zone": "1.2"}


def test_a_cut_send_leaves_its_bytes_counted_and_the_next_try_resumes(hq: Bench, agent: AgentDouble) -> None:
    revision = hq.build("1.1", FIRST)
    agent.cut_after = 3 * BLOCK + 100_000
    sending = hq.sending(revision)
    sending.call()
    with pytest.raises(ConnectionLostError):
        sending.transfer()
    sending.close()
    assert sending.sent > 2 * BLOCK
    assert agent.held == {}
    agent.cut_after = None
    again = hq.sending(revision)
    again.call()
    seen: list[int] = []
    result = again.transfer(lambda done, total: seen.append(done))
    assert result.resumed == again.resumed == seen[0] >= 2 * BLOCK
    assert result.sent < result.payload - result.resumed + 20_000
    assert agent.held == {"zone": "1.1"}


def test_a_send_cut_anywhere_converges(hq: Bench, agent: AgentDouble) -> None:
    revision = hq.build("1.1", {"a": os.urandom(2 * BLOCK)})
    for cut in (1, 5, 100, 500, 2_000, 4_000, 6_000, BLOCK, BLOCK + 9_000, 2 * BLOCK, 2 * BLOCK + 4_000):
        agent.cut_after = cut
        sending = hq.sending(revision)
        try:
            sending.call()
            sending.transfer()
        except ConnectionLostError:
            pass
        finally:
            sending.close()
    agent.cut_after = None
    sending = hq.sending(revision)
    sending.call()
    sending.transfer()
    assert agent.held == {"zone": "1.1"}


def test_only_changed_metadata_travels(hq: Bench, agent: AgentDouble) -> None:
    revision = hq.build("1.1", FIRST)
    agent.trust = hq.publisher.versions()
    sending = hq.sending(revision)
    sending.call()
    assert sending.transfer().metadata == 0
    assert agent.metadata == {}


def test_a_subscriber_that_is_down_is_found_by_the_call(hq: Bench) -> None:
    revision = hq.build("1.1", FIRST)
    with pytest.raises(UnreachableError):
        hq.sending(revision, subscriber="oslo-1").call()


def test_a_subscriber_that_does_not_trust_us_is_found_by_the_call_and_the_line_closed(hq: Bench, agent: AgentDouble) -> None:
    agent.trust = None
    with pytest.raises(UnknownDistributorError, match="sluice trust push hq"):
        hq.sending(hq.build("1.1", FIRST)).call()
    assert hq.way.lines[0].closed


def test_another_subscriber_at_the_address_is_refused(hq: Bench, agent: AgentDouble) -> None:
    agent.hello = {"subscriber": "oslo-1"}
    with pytest.raises(AgentMissingError, match="says it is oslo-1"):
        hq.sending(hq.build("1.1", FIRST)).call()
    assert hq.way.lines[0].closed


def test_an_agent_too_old_for_the_actions_is_found_before_sending(hq: Bench, agent: AgentDouble) -> None:
    agent.features = []
    agent.hello = {"agent": "0.0.9"}
    sending = hq.sending(hq.build("1.1", FIRST), needs=frozenset({"script", "perl"}))
    for _ in range(2):
        with pytest.raises(
            AgentVersionError, match=r"^the agent 0\.0\.9 of Subscriber helsinki-1 can't do what zone needs: perl, script:"
        ) as e:
            sending.call()
    assert e.value.remedy == "run: sluice subscriber bootstrap helsinki-1"
    assert not e.value.retryable
    assert agent.requests == ["hello"]


@pytest.mark.parametrize("needs", [{"owner"}, {"owner", "perl"}, {"owner", "xattrs", "delta"}])
def test_an_agent_that_isnt_roots_is_told_with_a_remedy_that_makes_it_so(needs: set[str], hq: Bench, agent: AgentDouble) -> None:
    agent.features = []
    with pytest.raises(AgentVersionError, match="owner") as e:
        hq.sending(hq.build("1.1", FIRST), needs=frozenset(needs)).call()
    assert "write ssh: {become: sudo} or a login as root" in e.value.remedy
    assert e.value.remedy.endswith("then run: sluice subscriber bootstrap helsinki-1")


def test_an_agent_that_can_do_more_than_this_version_knows_is_fine(hq: Bench, agent: AgentDouble) -> None:
    agent.features = ["script", "teleport"]
    assert hq.sending(hq.build("1.1", FIRST), needs=frozenset({"script"})).call().features == {"script", "teleport"}


def test_what_must_stay_free_goes_with_the_put_where_it_says_something(hq: Bench, agent: AgentDouble) -> None:
    revision, puts = hq.build("1.1", FIRST), []
    usual = Line._begin

    def noting(line: Line, put: dict[str, object]) -> None:
        puts.append(put.get("min_free", "nothing"))
        usual(line, put)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Line, "_begin", noting)
        for sending in (hq.sending(revision), hq.sending(revision)):
            agent.held.clear()
            if puts:
                sending.subscriber = replace(sending.subscriber, min_free=4096)
            sending.call()
            sending.transfer()
            sending.close()
    assert puts == ["nothing", 4096]


def test_a_revision_that_is_no_longer_signed_is_not_sent(hq: Bench, agent: AgentDouble) -> None:
    old = hq.build("1.1", FIRST)
    hq.build("1.2", SECOND)
    hq.build("1.3", FIRST)
    sending = hq.sending(old)
    sending.call()
    with pytest.raises(NotFoundError, match="not in the signed metadata any more"):
        sending.transfer()
    assert "put" not in agent.requests


@pytest.mark.parametrize("takes", [True, False])
def test_a_path_with_a_backslash_is_sent_only_to_an_agent_that_takes_it(hq: Bench, agent: AgentDouble, takes: bool) -> None:
    agent.features = ["backslash"] if takes else ["removals", "rename"]
    sending = hq.sending(hq.build("1.1", {r"dev\x2ddisk.mount": b"unit"}))
    if takes:
        sending.call()
        assert not sending.transfer().already_held
        assert agent.held == {"zone": "1.1"}
    else:
        with pytest.raises(AgentVersionError, match="can't do what zone needs: backslash"):
            sending.call()
        assert agent.requests == ["hello"]  # nothing was sent
    sending.close()
