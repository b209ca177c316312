"""The send queue as Prefect shows it while sends last, on a real server."""

import asyncio
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactCollectionFilter, ArtifactCollectionFilterKey

from infra.workplace import Workplace, open_workplace
from sluice.model.assignment import Assignment
from sluice.model.event import Event, EventKind
from sluice.model.revision import RevisionNumber
from sluice.model.site import Priority
from sluice.model.state import Record
from sluice.model.ticket import Ticket
from tasks import progress, queue_view
from tests.flows.blueprint import HOSTS, write_site

pytestmark = pytest.mark.usefixtures("server")
V1 = RevisionNumber(1, 1)


def enter(work: Workplace, subscriber: str, priority: Priority, run: str) -> Ticket:
    assignment = Assignment(subscriber, "zone", V1, priority=priority)
    ticket = work.ledger.enqueue("hq", assignment, run, lease_seconds=60, now=work.clock.now())
    assert isinstance(ticket, Ticket)
    return ticket


def start(work: Workplace, *tickets: Ticket) -> None:
    numbers, now = [ticket.number for ticket in tickets], work.clock.now()

    def began(number: int) -> Record:
        return Record(Event(now, EventKind.SEND_STARTED, distribution="zone", subscriber=str(number)))

    work.ledger.take_turns("hq", numbers, numbers, began, limit=1, now=now)


async def shown() -> tuple[list[dict[str, Any]], int, int]:
    """The rows of the artifact, and the limit with its slots that are taken."""
    async with get_client() as client:
        key = ArtifactCollectionFilterKey(any_=["send-queue-hq"])
        (latest,) = await client.read_latest_artifacts(artifact_filter=ArtifactCollectionFilter(key=key))
        limit = await client.read_global_concurrency_limit_by_name("sends of hq")
        return json.loads(str(latest.data)), limit.limit, limit.active_slots


def test_an_artifact_and_a_limit_follow_the_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "SILENT_SECONDS", 0.0)
    directory = write_site(tmp_path / "site", limit=1)
    with open_workplace(directory, "hq") as work:
        first, second = enter(work, HOSTS[0], Priority.LOW, work.flow_run), enter(work, HOSTS[1], Priority.HIGH, "another run")
        start(work, first, second)

        async def sending() -> tuple[Any, Any]:
            async with queue_view.queue_shown(work):
                for _ in range(200):
                    await asyncio.sleep(0.05)
                    with suppress(Exception):  # it isn't there yet
                        if (during := await shown())[1:] == (1, 1):
                            break
                work.ledger.finish(first)
                work.ledger.finish(second)
            return during, await shown()

        during, after = asyncio.run(sending())
    states = {row["Subscriber"]: (row["Priority"], row["State"]) for row in during[0]}
    assert states == {HOSTS[0]: ("low", "waiting"), HOSTS[1]: ("high", "running")}
    assert during[1:] == (1, 1)
    assert after == ([], 1, 0)


def test_a_run_whose_tickets_are_not_the_oldest_shows_nothing_before_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = write_site(tmp_path / "site", limit=1)
    with open_workplace(directory, "hq") as work:
        enter(work, HOSTS[0], Priority.LOW, "another run")
        enter(work, HOSTS[1], Priority.LOW, work.flow_run)
        seen: list[int] = []

        async def show(_self: object, _client: object, tickets: list[Ticket]) -> None:
            seen.append(len(tickets))

        monkeypatch.setattr(queue_view._View, "_show", show)
        view = queue_view._View(work)
        asyncio.run(view.update())
        assert seen == []
        asyncio.run(view.update(is_last=True))
        assert seen == [2]
