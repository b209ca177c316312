"""The Transport port's conformance suite, run against every adapter: real sshd, and child processes."""

import hashlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from infra.transports.address import AddressTransport
from infra.transports.local import LocalTransport
from infra.transports.ssh import SshStream, SshTransport
from sluice.errors import AgentMissingError, ConnectionLostError, TransportError, TransportTimeoutError
from sluice.formats.agent_call import launcher
from sluice.model.site import Address, Subscriber
from tests.system.sshd import lab

ECHO = """
import os, sys
while data := os.read(0, 65536):
    while data:
        data = data[os.write(1, data):]
"""


@dataclass
class Place:
    """A Subscriber and the transport that reaches it."""

    transport: SshTransport | LocalTransport
    subscriber: Subscriber

    def install(self, program: str) -> None:
        """Make a Python program the agent."""
        path = Path(launcher(self.subscriber.working_directory))
        path.parent.mkdir(parents=True)
        path.write_text(f"#!{sys.executable} -IS\n{program}")
        path.chmod(0o700)


@pytest.fixture(params=["ssh", "local"])
def place(request: pytest.FixtureRequest, tmp_path: Path, real_part: Callable[[str], Path]) -> Iterator[Place]:
    if request.param == "local":
        yield Place(LocalTransport(), Subscriber("here", Address("local", path=str(tmp_path)), PurePosixPath(tmp_path / "a dir; 'quoted'")))
        return
    with lab(tmp_path, real_part) as made:
        yield Place(SshTransport(tmp_path), made.host("there").subscriber)


def read_exactly(stream: object, size: int) -> bytes:
    parts = b""
    while len(parts) < size:
        part = stream.read(size - len(parts))  # type: ignore[attr-defined]
        assert part
        parts += part
    return parts


def test_what_is_written_comes_back_whole_and_in_order(place: Place) -> None:
    place.install(ECHO)
    stream = place.transport.connect(place.subscriber, timeout=20)
    sent = bytes(range(256)) * 400
    stream.write(memoryview(sent))
    assert read_exactly(stream, len(sent)) == sent
    stream.close()
    stream.close()


def test_much_more_than_any_buffer_goes_through_in_one_direction(place: Place) -> None:
    place.install(
        "import hashlib, os\nd = hashlib.sha256()\nn = 0\n"
        "while n < 40_000_000:\n    b = os.read(0, 1 << 20)\n    d.update(b)\n    n += len(b)\n"
        "os.write(1, d.hexdigest().encode())\nos.read(0, 1)\n"
    )
    stream = place.transport.connect(place.subscriber, timeout=20)
    digest = hashlib.sha256()
    piece = memoryview(bytes(range(250)) * 4000)
    for _ in range(40):
        digest.update(piece)
        stream.write(piece)
    assert read_exactly(stream, 64) == digest.hexdigest().encode()
    stream.close()


def test_readable_tells_without_blocking_whether_an_answer_is_there(place: Place) -> None:
    place.install(ECHO)
    stream = place.transport.connect(place.subscriber, timeout=20)
    assert not stream.readable()
    stream.write(b"x")
    deadline = time.monotonic() + 90
    while not stream.readable():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert stream.read(100) == b"x"
    assert not stream.readable()
    stream.close()


def test_the_clean_end_of_an_agent_is_an_empty_read(place: Place) -> None:
    place.install("import os\nos.read(0, 1)\nos.write(1, b'bye')")
    stream = place.transport.connect(place.subscriber, timeout=20)
    stream.write(b"x")
    assert read_exactly(stream, 3) == b"bye"
    assert stream.read(1) == b""
    assert stream.readable()
    stream.close()


def test_no_agent_is_said_with_the_remedy(place: Place) -> None:
    with pytest.raises(AgentMissingError, match=f"sluice subscriber bootstrap {place.subscriber.name}"):
        place.transport.connect(place.subscriber, timeout=20).read(1)


def test_an_agent_that_may_not_be_executed_counts_as_missing(place: Place) -> None:
    place.install(ECHO)
    Path(launcher(place.subscriber.working_directory)).chmod(0o600)
    with pytest.raises(AgentMissingError, match=f"sluice subscriber bootstrap {place.subscriber.name}"):
        place.transport.connect(place.subscriber, timeout=20).read(1)


def test_an_agent_that_fails_is_a_lost_connection_with_its_last_words_bounded(place: Place) -> None:
    place.install("import sys\nsys.stderr.write('x' * 100_000 + ' no\\x1bmodule')\nsys.exit(3)")
    stream = place.transport.connect(place.subscriber, timeout=20)
    with pytest.raises(ConnectionLostError, match=r"status 3: x+ no module") as caught:
        stream.read(1)
    assert len(str(caught.value)) < 5000
    stream.close()


def test_an_agent_killed_by_a_signal_is_a_lost_connection(place: Place) -> None:
    place.install("import os, signal\nos.read(0, 1)\nos.kill(os.getpid(), signal.SIGKILL)")
    stream = place.transport.connect(place.subscriber, timeout=20)
    stream.write(b"x")
    with pytest.raises(ConnectionLostError):
        stream.read(1)
    stream.close()


def hurry(stream: Any) -> None:
    """A second from now on; to connect in a second is asked of no machine."""
    stream._login.timeout = 1
    if isinstance(stream, SshStream):
        stream._channel.settimeout(1)


def test_a_silent_agent_ends_in_a_timeout_that_names_the_subscriber(place: Place) -> None:
    place.install("import time\ntime.sleep(60)")
    stream = place.transport.connect(place.subscriber, timeout=20)
    hurry(stream)
    with pytest.raises(TransportTimeoutError, match=rf"{place.subscriber.name} .* no progress within 1 s"):
        stream.read(1)
    stream.close()


def test_an_agent_that_stops_reading_ends_in_a_timeout(place: Place) -> None:
    place.install("import time\ntime.sleep(60)")
    stream = place.transport.connect(place.subscriber, timeout=20)
    hurry(stream)
    with pytest.raises(TransportTimeoutError):
        stream.write(bytes(64 * 1024 * 1024))
    stream.close()


def test_a_flood_on_stderr_stops_nothing(place: Place) -> None:
    place.install("import os, sys\nsys.stderr.write('y' * 1_000_000)\nsys.stderr.flush()\nos.write(1, os.read(0, 5))\nos.read(0, 1)")
    stream = place.transport.connect(place.subscriber, timeout=20)
    stream.write(b"hello")
    assert read_exactly(stream, 5) == b"hello"
    stream.close()


def test_a_closed_stream_refuses_further_use(place: Place) -> None:
    place.install(ECHO)
    stream = place.transport.connect(place.subscriber, timeout=20)
    stream.close()
    with pytest.raises(TransportError):
        stream.write(b"x")
    with pytest.raises(TransportError):
        stream.read(1)


@pytest.mark.parametrize("doing", ["read", "write"])
def test_closing_from_another_thread_ends_what_waits(doing: str, place: Place) -> None:
    place.install("import time\ntime.sleep(60)")
    stream = place.transport.connect(place.subscriber, timeout=30)
    closer = threading.Timer(0.5, stream.close)
    closer.start()
    with pytest.raises(ConnectionLostError):
        stream.read(1) if doing == "read" else stream.write(bytes(64 * 1024 * 1024))
    closer.join()


def test_a_command_gives_status_output_and_stderr(place: Place) -> None:
    with closing(place.transport.login(place.subscriber, timeout=20)) as login:
        status, output, said = login.run(["sh", "-c", 'cat; echo "it\'s $0" >&2; exit 4', "a b"], stdin=[b"in", b"put"])
    assert (status, output, said) == (4, b"input", b"it's a b\n")


def test_a_command_that_does_not_listen_is_no_error_and_its_output_is_bounded(place: Place) -> None:
    with closing(place.transport.login(place.subscriber, timeout=20)) as login:
        status, output, _ = login.run(["sh", "-c", "head -c 3000000 /dev/zero"], stdin=[bytes(100_000)] * 100)
    assert (status, len(output)) == (0, 1024 * 1024)


def test_an_address_no_transport_reaches_is_no_reason_to_try_again(tmp_path: Path) -> None:
    host = Subscriber("oslo", Address("smb", host="oslo", path="/share"), PurePosixPath("/var/lib/sluice"))
    with pytest.raises(TransportError, match="no transport reaches smb") as caught:
        AddressTransport(tmp_path).connect(host, timeout=1)
    assert not caught.value.retryable
