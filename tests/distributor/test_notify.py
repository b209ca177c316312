"""Mail when few revisions are left (C7): one for each revision in the range, also over kills and servers that don't take it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from infra.ledger.sql import SqlLedger, open_ledger
from infra.mail import SmtpMailer
from sluice.distributor.build.notify import notify
from sluice.errors import MailError
from sluice.model.event import EventKind
from sluice.model.site import Mail, Notify
from sluice.ports import Letter, Mailer
from tests.distributor.context import context_of
from tests.distributor.test_build import Site
from tests.system.smtp import Inbox, smtp_server


class Scene:
    """A Distribution with at most 4 revisions, whose people are told when one is left."""

    def __init__(self, directory: Path, inbox: Inbox) -> None:
        self.site = Site(directory / "site", max_revisions=4, notify=Notify(("ops@example.org",), 1))
        self.inbox = inbox
        self.ledger: SqlLedger = open_ledger(directory / "ledger.db")
        self._number = 0

    def change(self) -> str:
        """Another revision."""
        self._number += 1
        self.site.write("a", b"%d" % self._number)
        return str(self.site.build().revision)

    def tell(self, mailer: Mailer | None = None) -> list[str]:
        mailer = mailer or SmtpMailer(Mail("127.0.0.1", self.inbox.port, "sluice@example.org"))
        context = context_of(store=self.site.store, ledger=self.ledger, flow_run="run-1")
        return [str(mailed.revision) for mailed in notify(context, mailer, self.site.distribution)]

    def subjects(self) -> list[str]:
        return [str(got.message["Subject"]) for got in self.inbox.received]

    def events(self) -> list[tuple[EventKind, str]]:
        return [(each.event.kind, str(each.event.revision)) for each in self.ledger.events()]


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with smtp_server() as inbox:
        made = Scene(tmp_path, inbox)
        yield made
        made.ledger.close()


def test_each_revision_in_the_range_is_told_once_and_a_new_baseline_begins_anew(scene: Scene) -> None:
    told = []
    for _ in range(8):
        revision = scene.change()
        assert scene.tell() in ([], [revision])
        assert scene.tell() == [], "a run without a new revision tells nobody"
        told.append((revision, len(scene.inbox.received)))
    assert told == [("1.1", 0), ("1.2", 0), ("1.3", 1), ("1.4", 2), ("2.1", 2), ("2.2", 2), ("2.3", 3), ("2.4", 4)]
    assert scene.subjects()[:2] == ["zone 1.3: 1 of 4 revisions left", "zone 1.4: 0 of 4 revisions left"]
    assert len({str(got.message["Message-ID"]) for got in scene.inbox.received}) == 4
    assert scene.events()[:2] == [(EventKind.MAIL_DUE, "1.3"), (EventKind.MAIL_SENT, "1.3")]


def test_nobody_is_told_where_nobody_asked(scene: Scene) -> None:
    scene.site.change(notify=None)
    for _ in range(4):
        scene.change()
    assert scene.tell() == []
    assert scene.events() == []


def test_a_server_that_takes_nothing_leaves_it_due_and_the_next_build_tells_both(scene: Scene) -> None:
    for _ in range(3):
        scene.change()
    scene.inbox.is_closed = True
    with pytest.raises(MailError, match="451"):
        scene.tell()
    scene.change()
    with pytest.raises(MailError):
        scene.tell()
    scene.inbox.is_closed = False
    assert scene.tell() == ["1.3", "1.4"]
    assert scene.events().count((EventKind.MAIL_FAILED, "1.3")) == 2
    assert scene.tell() == []


def test_what_is_due_of_a_revision_that_went_isnt_sent_any_more(scene: Scene) -> None:
    for _ in range(4):
        scene.change()
    scene.inbox.is_closed = True
    with pytest.raises(MailError):
        scene.tell()
    scene.change()
    scene.inbox.is_closed = False
    assert scene.tell() == []
    assert scene.inbox.received == []


class Killed(BaseException):
    """What no code of ours catches."""


def test_killed_between_server_and_ledger_it_goes_out_again_under_the_same_id(scene: Scene) -> None:
    class Dying:
        """Its process dies once the server has taken the letter."""

        def send(self, letter: Letter) -> Sequence[str]:
            SmtpMailer(Mail("127.0.0.1", scene.inbox.port, "sluice@example.org")).send(letter)
            raise Killed

    for _ in range(3):
        scene.change()
    with pytest.raises(Killed):
        scene.tell(Dying())
    assert scene.tell() == ["1.3"]
    first, second = scene.inbox.received
    assert first.message["Message-ID"] == second.message["Message-ID"]
    assert first.message["Date"] == second.message["Date"]
    assert scene.tell() == []
