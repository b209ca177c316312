"""Mail to a real SMTP server."""

import errno
import smtplib
import socket
from datetime import UTC, datetime
from pathlib import Path

import pytest

from infra.mail import SmtpMailer
from sluice.errors import MailError, NoMailServerError
from sluice.model.site import Mail
from sluice.ports import Letter
from tests.system.smtp import smtp_server

LETTER = Letter("sluice.hq.zone.1.8", ("ops@example.org", "dä@example.org"), "zone 1.8: ü", "Größe\n", datetime(2026, 3, 1, 12, tzinfo=UTC))
ASCII = Letter("sluice.hq.zone.1.8", ("ops@example.org", "on-call@example.org"), "zone 1.8: ü", "Größe\n", LETTER.at)


def mailer(port: int, **options: float) -> SmtpMailer:
    return SmtpMailer(Mail("127.0.0.1", port, "sluice@example.org"), **options)


def test_a_letter_arrives_with_its_id_and_its_words() -> None:
    with smtp_server() as inbox:
        assert mailer(inbox.port).send(ASCII) == []
    (got,) = inbox.received
    assert (got.sender, got.to, got.over_tls) == ("sluice@example.org", list(ASCII.to), False)
    assert got.message["Message-ID"] == "<sluice.hq.zone.1.8@example.org>"
    assert got.message["Date"] == "Sun, 01 Mar 2026 12:00:00 +0000"
    assert got.message["Auto-Submitted"] == "auto-generated"
    payload = got.message.get_payload(decode=True)
    assert isinstance(payload, bytes)
    assert payload.decode().strip() == "Größe"


def test_starttls_is_used_where_the_server_offers_it_whoever_signed_its_certificate(tmp_path: Path) -> None:
    with smtp_server(tmp_path) as inbox:
        mailer(inbox.port).send(ASCII)
    assert [got.over_tls for got in inbox.received] == [True]


def test_whom_the_server_refuses_is_said_and_the_others_get_it() -> None:
    with smtp_server() as inbox:
        inbox.refused = {"on-call@example.org"}
        assert mailer(inbox.port).send(ASCII) == ["on-call@example.org"]
        assert [got.to for got in inbox.received] == [["ops@example.org"]]
        inbox.refused |= {"ops@example.org"}
        with pytest.raises(MailError, match=r"refuses every recipient: on-call@example.org: 550 nobody of that name; ops@example.org"):
            mailer(inbox.port).send(ASCII)
        inbox.refused, inbox.is_closed = set(), True
        with pytest.raises(MailError, match="refuses: 451 try again later"):
            mailer(inbox.port).send(ASCII)


def test_what_was_taken_is_sent_however_the_server_says_goodbye() -> None:
    with smtp_server() as inbox:
        inbox.goodbye = "421 going down"
        assert mailer(inbox.port).send(ASCII) == []
        assert len(inbox.received) == 1


def test_a_server_that_isnt_there_or_says_nothing_is_an_error_in_bounded_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(MailError, match=rf"mail server 127\.0\.0\.1:{port}: .*timed out"):
            mailer(port, timeout=0.2).send(ASCII)
    with pytest.raises(NoMailServerError, match="refused"):
        mailer(port).send(ASCII)


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), False),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), False),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"), True),
        (TimeoutError("timed out"), True),
        (smtplib.SMTPDataError(451, b"try again later"), True),
    ],
    ids=repr,
)
def test_only_a_server_that_isnt_there_isnt_tried_again_within_a_run(
    error: Exception, again: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(smtplib, "SMTP", fails)
    with pytest.raises(MailError) as caught:
        mailer(25).send(ASCII)
    assert caught.value.retryable is again


def test_an_address_beyond_ascii_goes_out_where_the_server_takes_it_and_nothing_adds_a_header() -> None:
    with smtp_server() as inbox:
        mailer(inbox.port).send(LETTER)
        assert inbox.received[0].to == list(LETTER.to)
        with pytest.raises(MailError):
            mailer(inbox.port).send(Letter("x", ("ops@example.org\r\nBcc: all@example.org",), "zone", "", LETTER.at))
        assert len(inbox.received) == 1
