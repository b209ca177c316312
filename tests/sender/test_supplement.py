"""Deltas and mending: what a Subscriber that isn't as it should be is lent, and when it is sent everything after all."""

import os
from pathlib import Path

import pytest
from blake3 import blake3

from sluice.errors import BaseDiffersError, ConnectionLostError, ProtocolError, SluiceError, StoreCorruptError, TamperedError
from sluice.formats.ted.file import PAYLOAD_OFFSET, needed_contents, open_ted, read_contents
from sluice.sender.supplement import ROUNDS
from sluice.sender.transfer import Remedy, SendResult
from tests.distributor.distributor import Bench, bench
from tests.sender.agent_double import AgentDouble

BIG, SAME, OLD, NEW = os.urandom(300_000), os.urandom(40_000), os.urandom(50_000), os.urandom(51_000)
FIRST = {"big": BIG, "same": SAME, "changed": OLD}
SECOND = {"big": BIG, "same": SAME, "changed": NEW}
DELTA = "zone/1.2/from-1.1.ted"


def digest(data: bytes) -> str:
    return blake3(data).hexdigest()


@pytest.fixture
def agent() -> AgentDouble:
    return AgentDouble(
        held={"zone": "1.1"},
        extracted={"zone": "1.1"},
        features=["delta", "script"],
        hello={"codecs": ["hdiff", "lzma", "zstd"], "memory": 1 << 32},
    )


@pytest.fixture
def hq(tmp_path: Path, agent: AgentDouble) -> Bench:
    made = bench(tmp_path, agent)
    made.build("1.1", FIRST)
    made.build("1.2", SECOND)
    return made


def sent(hq: Bench, remedy: Remedy = Remedy.NONE) -> SendResult:
    sending = hq.sending(hq.store.revisions("zone")[-1], remedy=remedy)
    try:
        sending.call()
        return sending.transfer()
    finally:
        sending.close()


def test_a_delta_is_held_once_it_is_completed_and_brings_its_manifest(hq: Bench, agent: AgentDouble) -> None:
    result = sent(hq)
    assert (str(result.base), result.supplement, result.small, result.already_held) == ("1.1", 0, False, False)
    assert "why_whole" not in result.as_event(1.0)
    assert agent.requests == ["hello", "metadata", "put", "complete", "bye"]
    assert agent.held == {"zone": "1.2"}
    assert result.payload < len(NEW) + 2_000


def test_what_a_changed_tree_lacks_is_lent_alone(hq: Bench, agent: AgentDouble) -> None:
    agent.lacks = iter([[digest(SAME), digest(OLD)]])
    result = sent(hq)
    assert agent.lent == [[digest(SAME), digest(OLD)]]
    assert agent.held == {"zone": "1.2"}
    assert len(SAME) + len(OLD) < result.supplement < len(SAME) + len(OLD) + 1_000
    assert result.sent > result.payload + result.supplement
    assert list(agent.parts) == [DELTA, "zone/1.2/lent"]


def test_what_is_lent_is_a_ted_of_these_contents(hq: Bench, agent: AgentDouble, tmp_path: Path) -> None:
    agent.lacks = iter([[digest(OLD)]])
    sent(hq)
    payload = bytes(agent.parts["zone/1.2/lent"])
    with hq.store.supplement("zone", hq.store.revisions("zone")[-1], hq.store.revisions("zone")[0], [digest(OLD)]) as ted:
        index, _ = open_ted(ted.path)
        assert Path(ted.path).read_bytes()[PAYLOAD_OFFSET:][: len(payload)] == payload
        with open(ted.path, "rb") as file:
            file.seek(PAYLOAD_OFFSET)
            assert [b"".join(pieces) for _, _, pieces in read_contents(file.read, index, [(digest(OLD), len(OLD))])] == [OLD]
    assert index.base is None
    assert needed_contents(hq.store.manifest("zone", hq.store.revisions("zone")[0]))


@pytest.mark.parametrize("lacks", [[digest(BIG)], [digest(BIG), digest(SAME)]])
def test_who_lacks_more_than_half_is_sent_everything(lacks: list[str], hq: Bench, agent: AgentDouble) -> None:
    agent.lacks = iter([lacks])
    result = sent(hq)
    assert (result.base, agent.lent) == (None, [])
    assert agent.requests == ["hello", "metadata", "put", "complete", "put", "put", "bye"]
    assert agent.held == {"zone": "1.2"}


def test_a_tree_that_changes_faster_than_it_is_mended_is_sent_everything(hq: Bench, agent: AgentDouble) -> None:
    agent.lacks = iter([[digest(SAME)]] * 100)
    assert sent(hq).base is None
    assert len(agent.lent) == ROUNDS
    assert agent.held == {"zone": "1.2"}


def test_an_agent_that_lacks_what_nobody_has_talks_nonsense(hq: Bench, agent: AgentDouble) -> None:
    agent.lacks = iter([[digest(b"secret")]])
    with pytest.raises(ProtocolError, match=r"which zone/1\.2 doesn't have"):
        sent(hq)
    assert agent.lent == []


def test_lending_that_was_cut_begins_by_asking_anew(hq: Bench, agent: AgentDouble) -> None:
    agent.lacks, agent.cut_after = iter([[digest(SAME)], [digest(SAME)]]), 75_000
    with pytest.raises(ConnectionLostError):
        sent(hq)
    agent.cut_after = None
    agent.requests.clear()
    result = sent(hq)
    assert agent.requests == ["hello", "put", "complete", "put", "complete", "bye"]
    assert result.resumed == result.payload
    assert agent.held == {"zone": "1.2"}


def test_a_base_that_the_agent_refuses_is_followed_by_everything(hq: Bench, agent: AgentDouble) -> None:
    agent.refuse["complete"] = BaseDiffersError("too much of it differs")
    assert sent(hq).base is None
    assert agent.held == {"zone": "1.2"}


@pytest.mark.parametrize("refused", [TamperedError("isn't what was signed"), StoreCorruptError("a frame is damaged")])
@pytest.mark.parametrize("remedy", [Remedy.NONE, Remedy.MEND])
def test_a_delta_that_comes_out_wrong_there_is_followed_by_everything(
    refused: SluiceError, remedy: Remedy, hq: Bench, agent: AgentDouble
) -> None:
    agent.refuse["complete"] = refused
    result = sent(hq, remedy)
    assert result.base is None
    assert refused.message in str(result.as_event(1.0)["why_whole"])
    assert agent.held == {"zone": "1.2"}
    assert list(agent.parts)[-1] == "zone/1.2/distfile.ted"


def test_an_agent_that_takes_no_deltas_is_sent_everything(hq: Bench, agent: AgentDouble) -> None:
    agent.features = ["script"]
    assert sent(hq).base is None
    assert agent.requests == ["hello", "metadata", "put", "put", "bye"]


@pytest.mark.parametrize("hello", [{"memory": (1 << 30) - 1}, {"codecs": ["hdiff", "zstd"]}, {"codecs": ["zstd"]}])
def test_a_small_host_and_one_that_reads_less_get_a_small_delta(hello: dict[str, object], hq: Bench, agent: AgentDouble) -> None:
    agent.hello |= hello
    result = sent(hq)
    assert (str(result.base), result.small) == ("1.1", True)
    assert list(agent.parts) == ["zone/1.2/from-1.1.small.ted"]


@pytest.mark.parametrize("extracted", ["1.1", "1.2"])
def test_what_is_held_or_installed_is_mended_by_lending_alone(extracted: str, hq: Bench, agent: AgentDouble) -> None:
    agent.held["zone"], agent.extracted["zone"] = "1.2", extracted
    agent.lacks = iter([[digest(SAME)]])
    result = sent(hq, Remedy.MEND)
    assert agent.requests == ["hello", "metadata", "complete", "put", "complete", "bye"]
    assert (agent.lent, result.already_held, result.payload) == ([[digest(SAME)]], False, 0)
    assert len(SAME) < result.supplement < len(SAME) + 1_000


def test_mending_what_lacks_nothing_sends_nothing(hq: Bench, agent: AgentDouble) -> None:
    agent.held["zone"] = "1.2"
    result = sent(hq, Remedy.MEND)
    assert (agent.lent, result.already_held, result.supplement) == ([], True, 0)


@pytest.mark.parametrize(("remedy", "features"), [(Remedy.WHOLE, ["delta", "script"]), (Remedy.MEND, ["script"])])
def test_everything_is_sent_where_mending_did_not_help_or_cannot_be(
    remedy: Remedy, features: list[str], hq: Bench, agent: AgentDouble
) -> None:
    agent.features = features
    agent.extracted["zone"] = "1.1"
    result = sent(hq, remedy)
    assert (result.base, result.already_held) == (None, False)
    assert list(agent.parts) == ["zone/1.2/distfile.ted"]


def test_metadata_are_sent_plainly_where_the_host_holds_others_under_the_same_versions(hq: Bench, agent: AgentDouble) -> None:
    agent.trust = hq.publisher.versions()
    hq.build("1.3", FIRST)
    agent.refuse_prefix = True
    assert sent(hq).base is not None
    assert agent.requests[:3] == ["hello", "metadata", "metadata"]
    assert "timestamp.json" in agent.metadata
