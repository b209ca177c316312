"""Deltas over the line to an agent of its own process: put, completed, lent, ordered."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from agents.requests import COMPLETIONS_MAX
from sluice.errors import NotFoundError, TamperedError
from sluice.model.agent_event import AgentEvent
from sluice.model.order import Outcome
from sluice.ports import TedFile
from sluice.sender.conversation import Conversation
from sluice.sender.supplement import ROUNDS
from sluice.trust.roles import ted_target
from tests.agents.workbench import Workbench
from tests.end_to_end.deltas import delta, lent
from tests.subscriber.revisions import Made, make, tree_of


class Pair:
    """1.1 is extracted at ``target``; 1.2 is signed as a delta."""

    def __init__(self, directory: Path) -> None:
        self.bench = Workbench(directory)
        self.source, self.target = directory / "source", directory / "zone"
        self.source.mkdir()
        chance = random.Random(3)
        (self.source / "big").write_bytes(chance.randbytes(100_000))
        (self.source / "stays").write_text("stays")
        self.first = make("1.1", self.source)
        self.conversation = self.bench.connect()
        self.bench.send(self.conversation, self.first)
        assert self.bench.extract(self.conversation, self.bench.order(self.first, self.target)).outcome is Outcome.INSTALLED
        (self.source / "big").write_bytes((self.source / "big").read_bytes() + b"more")
        self.second = delta(make("1.2", self.source), self.first)
        self.bench.publish(self.second)
        self.bench.push_metadata(self.conversation)
        self.ted = self.second.ted_file(directory)

    def put(self) -> None:
        self.conversation.put_ted(ted_target("zone", self.second.manifest.revision, self.second.file), self.ted)

    def supplement(self, digests: list[str], contents: list[bytes]) -> None:
        payload, index, data = lent(contents)
        path = self.bench.directory / "lent.ted"
        path.write_bytes(b"SLUICET1" + payload)
        file = TedFile(self.second.manifest.revision, None, str(path), "distfile.ted", data, index.payload)
        self.conversation.put_supplement("zone/1.2", digests, file)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    found = Pair(tmp_path)
    yield found
    found.conversation.close()


def content(made: Made, path: str) -> tuple[str, bytes]:
    digest = next(entry.digest for entry in made.manifest.destinations[0].entries if entry.path == path)
    return digest, made.contents[digest]


def test_a_delta_is_completed_with_what_is_lent_and_extracted(pair: Pair) -> None:
    (pair.target / "big").write_bytes(b"edited")
    pair.put()
    events = list[AgentEvent]()

    lacks = pair.conversation.complete("zone/1.2", events.append)

    digest, data = content(pair.first, "big")
    assert lacks == [digest]
    assert {event.phase for event in events} <= {"begin", "complete"}
    pair.supplement([digest], [data])
    assert pair.conversation.complete("zone/1.2") == []
    assert hello(pair.bench).of("zone").held == pair.second.manifest.revision
    assert pair.bench.extract(pair.conversation, pair.bench.order(pair.second, pair.target)).outcome is Outcome.INSTALLED
    assert tree_of(pair.target) == tree_of(pair.source)


def hello(bench: Workbench):  # type: ignore[no-untyped-def]
    conversation: Conversation = bench.connect()
    try:
        return conversation.hello("hq", ["zone"])
    finally:
        conversation.close()


def test_what_is_not_here_is_neither_completed_nor_lent_for(pair: Pair) -> None:
    digest, data = content(pair.first, "big")
    with pytest.raises(NotFoundError):
        pair.conversation.complete("zone/1.2")
    with pytest.raises(NotFoundError):
        pair.supplement([digest], [data])
    for target in ("zone/1.2/manifest", "zone", "../1.2", "zone/1", ""):
        with pytest.raises(TamperedError):
            pair.conversation.complete(target)
    pair.put()
    with pytest.raises(TamperedError):
        pair.supplement(["0" * 64], [b"strange"])
    assert pair.conversation.complete("zone/1.2") == []


def test_a_conversation_may_complete_as_often_as_two_tries_of_lending_ask() -> None:
    assert 2 * (ROUNDS + 1) <= COMPLETIONS_MAX


def test_nothing_is_made_for_a_distribution_that_was_only_named(pair: Pair) -> None:
    payload, _, data = lent([])
    path = pair.bench.directory / "lent.ted"
    path.write_bytes(b"SLUICET1" + payload)
    with pytest.raises(NotFoundError):
        pair.conversation.put_supplement("other/1.2", [], TedFile(pair.second.manifest.revision, None, str(path), "distfile.ted", data, 0))
    assert {path.name for path in pair.bench.directory.rglob("distributions/*")} == {"zone"}
