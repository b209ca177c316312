"""Mail within a build on a real Prefect server, to a real SMTP server (C7)."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest

from infra.workplace import open_workplace
from sluice.model.event import EventKind
from tests.flows.blueprint import write_site
from tests.system.smtp import Inbox, smtp_server

pytestmark = pytest.mark.usefixtures("server")


def site(directory: Path, inbox: Inbox, text: str) -> Path:
    """``zone`` with at most two revisions; its people hear when one is left."""
    write_site(directory, text=text)
    with open(directory / "hq.yaml", "a", encoding="utf-8") as file:
        file.write(f'mail: {{server: "127.0.0.1:{inbox.port}", from: sluice@example.org}}\n')
    with open(directory / "zone.yaml", "a", encoding="utf-8") as file:
        file.write("max_revisions: 2\nnotify: {to: [ops@example.org], when_left: 0}\n")
    return directory


def built() -> str:
    from flows.build import build

    state = asyncio.run(build(distribution="zone", return_state=True))
    assert state.type.value == "COMPLETED", state.message
    return str(state.message)


def test_a_mail_server_that_takes_nothing_fails_no_build_and_the_next_build_sends_the_mail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from tasks import notify_people as telling

    monkeypatch.setattr(telling, "notify_people", telling.notify_people.with_options(retries=0))
    with smtp_server() as inbox:
        directory = site(tmp_path / "site", inbox, "one")
        monkeypatch.setenv("SLUICE_SITE", str(directory))
        with open_workplace(directory, "hq") as work:
            work.publisher.ensure_keys(datetime.now(UTC))
        assert built() == "built zone 1.1"
        assert inbox.received == []
        inbox.is_closed = True
        site(directory, inbox, "two")
        assert built() == "built zone 1.2"
        assert "no mail was sent, the next build tries again" in caplog.text
        inbox.is_closed = False
        assert "no change" in built()
    assert [str(got.message["Subject"]) for got in inbox.received] == ["zone 1.2: 0 of 2 revisions left"]
    with open_workplace(directory, "hq") as work:
        mail = [EventKind.MAIL_DUE, EventKind.MAIL_FAILED, EventKind.MAIL_SENT]
        assert [each.event.kind for each in work.ledger.events(kinds=mail)] == mail
