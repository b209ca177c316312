"""SSH against real OpenSSH servers: who is believed, and what happens when the line breaks."""

import errno
import inspect
import os
import signal
import socket
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import paramiko
import pytest

from infra.transports.address import AddressTransport
from infra.transports.ssh import SshTransport
from infra.transports.ssh_errors import translate
from sluice.errors import (
    AuthenticationError,
    ConnectionLostError,
    HostKeyError,
    TransportError,
    TransportTimeoutError,
    UnreachableError,
)
from sluice.formats.agent_call import launcher
from tests.system.sshd import Sshd, SshLab, children, free_port, make_key, with_address

ECHO = "import os\nwhile data := os.read(0, 65536):\n    while data:\n        data = data[os.write(1, data):]\n"


def install(host: Sshd, program: str = ECHO) -> None:
    path = Path(launcher(host.subscriber.working_directory))
    path.parent.mkdir(parents=True)
    path.write_text(f"#!{sys.executable} -IS\n{program}")
    path.chmod(0o700)


def fingerprint(public: Path) -> str:
    return paramiko.PKey.from_type_string(*_type_and_blob(public)).fingerprint


def _type_and_blob(public: Path) -> tuple[str, bytes]:
    import base64

    kind, blob = public.read_text().split()[:2]
    return kind, base64.b64decode(blob)


def test_gcm_is_what_is_negotiated_and_strict_key_exchange_with_it(ssh_lab: SshLab, tmp_path: Path) -> None:
    host = ssh_lab.host("a")
    with closing(SshTransport(tmp_path).login(host.subscriber, timeout=20)) as login:
        transport = login._transport
        assert transport.remote_cipher == transport.local_cipher == "aes128-gcm@openssh.com"
        assert transport.agreed_on_strict_kex
        assert not [cipher for cipher in transport.get_security_options().ciphers if "cbc" in cipher or "chacha" in cipher]


def test_a_home_directory_of_its_own_for_every_host(ssh_lab: SshLab, tmp_path: Path) -> None:
    for name in ("a", "b"):
        host = ssh_lab.host(name)
        with closing(SshTransport(tmp_path).login(host.subscriber, timeout=20)) as login:
            assert login.run(["sh", "-c", 'printf %s "$HOME"'])[1].decode() == str(host.home)


def test_a_changed_host_key_is_refused_before_anything_is_sent_and_both_fingerprints_are_named(ssh_lab: SshLab, tmp_path: Path) -> None:
    host = ssh_lab.host("a")
    pinned = host.subscriber
    before = fingerprint(host.directory / "host_key.pub")
    host.stop()
    host.new_host_key()
    host.start()
    with pytest.raises(HostKeyError) as caught:
        SshTransport(tmp_path).connect(pinned, timeout=20)
    assert before in str(caught.value)
    assert fingerprint(host.directory / "host_key.pub") in str(caught.value)
    assert "change host_key:" in caught.value.remedy
    assert "Accepted" not in host.log()


def test_a_host_that_shows_another_kind_of_key_is_refused_with_both_fingerprints(ssh_lab: SshLab, tmp_path: Path) -> None:
    host = ssh_lab.host("a", start=False)
    pinned = host.subscriber
    other = make_key(tmp_path / "ecdsa", kind="ecdsa")
    for suffix in ("", ".pub"):
        os.replace(f"{other}{suffix}", host.directory / f"host_key{suffix}")
    host.start()
    with pytest.raises(HostKeyError, match=r"ecdsa-sha2-nistp256 SHA256:.*pinned is ssh-ed25519 SHA256:"):
        SshTransport(tmp_path).connect(pinned, timeout=20)


def test_a_known_hosts_file_below_the_site_pins_as_well(ssh_lab: SshLab, tmp_path: Path) -> None:
    host = ssh_lab.host("a")
    other = ssh_lab.host("b")
    known = tmp_path / "known_hosts"
    known.write_text(f"# ours\n[127.0.0.1]:{host.port} {host.host_key}\n")
    by_file = replace(host.subscriber, host_key="", host_keys="known_hosts")
    with closing(SshTransport(tmp_path).login(by_file, timeout=20)) as login:
        assert login.run(["true"])[0] == 0
    with pytest.raises(HostKeyError, match="isn't in"):
        SshTransport(tmp_path).login(replace(other.subscriber, host_key="", host_keys="known_hosts"), timeout=20)
    known.write_text(known.read_text() + f"@revoked * {host.host_key}\n")
    with pytest.raises(HostKeyError, match="isn't in"):
        SshTransport(tmp_path).login(by_file, timeout=20)


@pytest.mark.parametrize("host_key", ["", "ssh-ed25519", "ssh-ed25519 AAAA", "ssh-ed25519 ????", "nonsense AAAA"])
def test_without_a_usable_pinned_key_nobody_is_called(host_key: str, ssh_lab: SshLab, tmp_path: Path) -> None:
    host = ssh_lab.host("a", start=False)
    with pytest.raises(HostKeyError):
        SshTransport(tmp_path).connect(replace(host.subscriber, host_key=host_key), timeout=20)


def test_an_identity_the_host_does_not_know_is_refused(ssh_lab: SshLab, tmp_path: Path) -> None:
    host = ssh_lab.host("a")
    make_key(tmp_path / "other")
    with pytest.raises(AuthenticationError, match="authorized_keys"):
        SshTransport(tmp_path).connect(replace(host.subscriber, identity="other"), timeout=20)


def test_identities_that_cannot_be_used_each_say_why(ssh_lab: SshLab, tmp_path: Path) -> None:
    host = ssh_lab.host("a", start=False)
    make_key(tmp_path / "locked", passphrase="secret words")
    (tmp_path / "garbage").write_text("no key")
    for identity, why in {"": "no identity", "absent": "doesn't exist", "locked": "passphrase", "garbage": "can't be used"}.items():
        with pytest.raises(AuthenticationError, match=why):
            SshTransport(tmp_path).connect(replace(host.subscriber, identity=identity), timeout=20)


def test_a_key_of_the_environment_is_never_tried(ssh_lab: SshLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = ssh_lab.host("a")
    (tmp_path / ".ssh").mkdir()
    for suffix in ("", ".pub"):
        (tmp_path / ".ssh" / f"id_ed25519{suffix}").write_bytes(Path(f"{ssh_lab.identity}{suffix}").read_bytes())
    monkeypatch.setenv("HOME", str(tmp_path))
    make_key(tmp_path / "other")
    with pytest.raises(AuthenticationError):
        SshTransport(tmp_path).connect(replace(host.subscriber, identity="other"), timeout=20)


def test_nobody_listening_is_unreachable(ssh_lab: SshLab, tmp_path: Path) -> None:
    host = ssh_lab.host("a", start=False)
    with pytest.raises(UnreachableError, match=r"127\.0\.0\.1"):
        SshTransport(tmp_path).connect(with_address(host.subscriber, port=free_port()), timeout=5)
    with pytest.raises(UnreachableError):
        SshTransport(tmp_path).connect(with_address(host.subscriber, host="no-such-host.invalid"), timeout=5)


def test_closing_the_transport_ends_a_login_to_a_mute_host(ssh_lab: SshLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.transports.ssh_connection.GREETING_WAIT", 3600.0)
    host, transport = ssh_lab.host("a", start=False), AddressTransport(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as silent, ThreadPoolExecutor() as pool:
        mute = with_address(host.subscriber, port=silent.getsockname()[1])
        waiting = pool.submit(transport.connect, mute, timeout=3600)
        with silent.accept()[0]:
            transport.close()
            with pytest.raises(TransportError):
                waiting.result()
        with pytest.raises(TransportError):
            transport.connect(mute, timeout=3600)


@pytest.mark.parametrize("closed", ["the transport", "the stream"])
def test_closing_from_another_thread_ends_a_write_to_a_host_that_reads_no_more(closed: str, ssh_lab: SshLab, tmp_path: Path) -> None:
    host, transport, written = ssh_lab.host("a"), AddressTransport(tmp_path), [0]
    install(host)
    stream = transport.connect(host.subscriber, timeout=3600)
    stream._login._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    stop(host)

    def write() -> None:
        while True:
            stream.write(bytes(32_000))
            written[0] += 1

    with ThreadPoolExecutor() as pool:
        writing, before = pool.submit(write), -1
        while before != written[0]:  # the buffers between here and there aren't full yet
            before = written[0]
            threading.Event().wait(0.5)
        (transport if closed == "the transport" else stream).close()
        with pytest.raises(TransportError):
            writing.result()


def test_something_else_that_answers_is_no_ssh_and_ends_in_time(ssh_lab: SshLab, tmp_path: Path) -> None:
    host = ssh_lab.host("a", start=False)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        with pytest.raises(TransportError) as caught:
            SshTransport(tmp_path).connect(with_address(host.subscriber, port=silent.getsockname()[1]), timeout=1)
        assert caught.value.retryable

    def greet() -> None:
        with other.accept()[0] as sock:
            sock.sendall(b"220 mail.example.org ESMTP\r\n" * 200)

    with socket.create_server(("127.0.0.1", 0)) as other:
        greeter = threading.Thread(target=greet)
        greeter.start()
        with pytest.raises(TransportError):
            SshTransport(tmp_path).connect(with_address(host.subscriber, port=other.getsockname()[1]), timeout=5)
        greeter.join()


def test_a_server_frozen_during_the_login_ends_in_a_timeout(ssh_lab: SshLab, tmp_path: Path) -> None:
    host = ssh_lab.host("a")
    install(host)
    with closing(SshTransport(tmp_path).login(host.subscriber, timeout=20)) as login:
        login.timeout = 1.5
        stop(host)
        with pytest.raises(TransportTimeoutError, match="no answer within"):
            login.start(["true"])


def stop(host: Sshd) -> None:
    for pid in host.session_pids():
        for each in (pid, *children(pid, named="sshd")):
            os.kill(each, signal.SIGSTOP)


def test_a_connection_cut_in_the_middle_of_a_write_is_lost_and_retryable(ssh_lab: SshLab, tmp_path: Path) -> None:
    host = ssh_lab.host("a")
    install(host, "import os\nwhile os.read(0, 65536): pass")
    stream = SshTransport(tmp_path).connect(host.subscriber, timeout=20)
    stream.write(bytes(5_000_000))
    assert host.kill_sessions()
    with pytest.raises(ConnectionLostError) as caught:
        stream.write(bytes(100_000_000))
    assert caught.value.retryable
    with pytest.raises(ConnectionLostError):
        stream.read(1)
    stream.close()


def test_the_remote_agent_ends_when_its_connection_is_cut_or_closed(ssh_lab: SshLab, tmp_path: Path) -> None:
    host = ssh_lab.host("a")
    install(host)
    stream = SshTransport(tmp_path).connect(host.subscriber, timeout=20)
    stream.write(b"x")
    assert stream.read(1) == b"x"
    assert len(host.command_pids()) == 1
    pid = host.command_pids()[0]
    stream.close()
    for _ in range(1200):
        if not Path(f"/proc/{pid}").exists():
            return
        threading.Event().wait(0.05)
    pytest.fail("the agent still runs")


def foreign_exceptions() -> list[type[BaseException]]:
    """Every exception class paramiko defines, wherever, and what sockets raise."""
    found: set[type[BaseException]] = set()
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] == "paramiko":
            found |= {
                each
                for _, each in inspect.getmembers(module, inspect.isclass)
                if issubclass(each, Exception) and each.__module__.startswith("paramiko")
            }
    found |= {TimeoutError, ConnectionResetError, BrokenPipeError, socket.gaierror, socket.herror, EOFError, OSError}
    return sorted(found, key=lambda each: each.__name__)


# Raised and caught inside paramiko only; nothing of ours calls what lets them out.
INTERNAL = {"NeedRekeyException", "PipeTimeout", "BERException", "SFTPError"}


def test_the_translation_of_foreign_exceptions_is_total() -> None:
    from infra.transports.ssh_errors import TRANSLATION

    found = foreign_exceptions()
    assert len(found) > 15
    unmapped = [each.__name__ for each in found if not any(issubclass(each, foreign) for foreign, _ in TRANSLATION)]
    assert set(unmapped) <= INTERNAL
    order = [foreign for foreign, _ in TRANSLATION]
    for place, foreign in enumerate(order):
        assert not [earlier for earlier in order[:place] if issubclass(foreign, earlier)], f"{foreign} is never reached"


def test_every_refusal_of_the_network_is_unreachable() -> None:
    for number in (errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH):
        error = translate(OSError(number, os.strerror(number)), "Subscriber a", "connecting")
        assert type(error) is UnreachableError
        assert os.strerror(number) in str(error)
