"""The way to a host through real OpenSSH parts: jump hosts, ssh-agent, passphrases, certificates, known_hosts, client configurations."""

from __future__ import annotations

import base64
import getpass
import os
import re
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, cast

import paramiko
import pytest

from infra.transports import ssh_secrets
from infra.transports.ssh import SshTransport
from infra.transports.ssh_connection import open_tunnel
from infra.transports.ssh_keys import _private_key
from infra.transports.ssh_way import find_way
from sluice.errors import AuthenticationError, BlueprintError, ConnectionLostError, HostKeyError, TransportError, UnreachableError
from sluice.model.site import Address, Ssh, Subscriber
from tests.system.sshd import Sshd, SshLab, children, free_port, make_key
from tests.system.test_ssh_transport import install

ME = getpass.getuser()


def keygen(*words: object) -> None:
    subprocess.run(["ssh-keygen", "-q", *map(str, words)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def known(*hosts: Sshd) -> str:
    return "".join(f"[127.0.0.1]:{host.port} {host.host_key}\n" for host in hosts)


def by_file(host: Sshd, site: Path, **ssh: Any) -> Subscriber:
    """The host with its key in the site's known_hosts file."""
    return replace(host.subscriber, host_key="", host_keys=str(site / "known_hosts"), ssh=Ssh(**ssh))


def works(site: Path, subscriber: Subscriber) -> bool:
    with closing(SshTransport(site).login(subscriber, timeout=20)) as login:
        return login.run(["sh", "-c", 'printf %s "$HOME"'])[1].decode().startswith("/")


def jump_to(host: Sshd, user: str = ME) -> Address:
    return Address("ssh", "127.0.0.1", host.port, user)


# --- jump hosts -------------------------------------------------------------------------------------------------------


def test_through_two_jump_hosts_every_key_is_pinned_and_a_stream_comes_back_whole(ssh_lab: SshLab, tmp_path: Path) -> None:
    first, second, end = (ssh_lab.host(name) for name in ("first", "second", "end"))
    install(end)
    (tmp_path / "known_hosts").write_text(known(first, second, end))
    subscriber = by_file(end, tmp_path, jump=(jump_to(first), jump_to(second)))
    data = os.urandom(3_000_000)
    with closing(SshTransport(tmp_path).connect(subscriber, timeout=20)) as stream:
        writer = threading.Thread(target=stream.write, args=(data,))
        writer.start()
        back = b""
        while len(back) < len(data):
            back += stream.read(65536)
        writer.join()
    assert back == data
    assert [len(host.log().split("Accepted publickey")) for host in (first, second, end)] == [2, 2, 2]


def test_each_hop_says_who_failed(ssh_lab: SshLab, tmp_path: Path) -> None:
    jump, end = ssh_lab.host("jump"), ssh_lab.host("end")
    way = {"jump": (jump_to(jump),)}
    site = tmp_path
    (site / "known_hosts").write_text(known(end))
    with pytest.raises(HostKeyError, match=rf"jump host {ME}@127.0.0.1:{jump.port} of Subscriber end .*isn't in"):
        SshTransport(site).login(by_file(end, site, **way), timeout=20)
    (site / "known_hosts").write_text(known(jump) + f"[127.0.0.1]:{end.port} {jump.host_key}\n")
    with pytest.raises(HostKeyError, match=r"^Subscriber end .*shows the host key"):
        SshTransport(site).login(by_file(end, site, **way), timeout=20)
    (site / "known_hosts").write_text(known(jump, end))
    gone = replace(by_file(end, site, **way), address=replace(end.subscriber.address, port=free_port()))
    (site / "known_hosts").write_text(known(jump) + f"127.0.0.1 {end.host_key}\n")
    with pytest.raises(UnreachableError, match=rf"Subscriber end .*jump host {ME}@127.0.0.1:{jump.port} can't reach 127.0.0.1 port"):
        SshTransport(site).login(gone, timeout=20)
    make_key(site / "other")
    (jump.directory / "authorized_keys").write_text((site / "other.pub").read_text())
    with pytest.raises(AuthenticationError, match=r"^jump host .* of Subscriber end"):
        SshTransport(site).login(by_file(end, site, **way), timeout=20)


def test_a_jump_host_that_forwards_nobody_is_named_with_the_setting(ssh_lab: SshLab, tmp_path: Path) -> None:
    jump, end = ssh_lab.host("jump", options=("AllowTcpForwarding no",)), ssh_lab.host("end")
    (tmp_path / "known_hosts").write_text(known(jump, end))
    with pytest.raises(UnreachableError, match="forwards nobody there") as caught:
        SshTransport(tmp_path).login(by_file(end, tmp_path, jump=(jump_to(jump),)), timeout=20)
    assert "AllowTcpForwarding" in caught.value.remedy


def test_a_link_that_stalls_behind_a_jump_host_is_noticed_while_writing_and_while_reading(ssh_lab: SshLab, tmp_path: Path) -> None:
    jump, end = ssh_lab.host("jump"), ssh_lab.host("end")
    install(end)
    (tmp_path / "known_hosts").write_text(known(jump, end))
    for act in ("write", "read"):
        stream = SshTransport(tmp_path).connect(by_file(end, tmp_path, jump=(jump_to(jump),)), timeout=3)
        frozen = [pid for session in end.session_pids() for pid in (session, *children(session, named="sshd"))]
        for pid in frozen:
            os.kill(pid, signal.SIGSTOP)
        with pytest.raises(TransportError) as caught:
            stream.write(bytes(40_000_000)) if act == "write" else stream.read(1)
        assert caught.value.retryable
        for pid in frozen:
            os.kill(pid, signal.SIGCONT)
        stream.close()


def test_closing_the_stream_ends_the_sessions_at_all_hops(ssh_lab: SshLab, tmp_path: Path) -> None:
    jump, end = ssh_lab.host("jump"), ssh_lab.host("end")
    install(end)
    (tmp_path / "known_hosts").write_text(known(jump, end))
    SshTransport(tmp_path).connect(by_file(end, tmp_path, jump=(jump_to(jump),)), timeout=20).close()
    deadline = time.monotonic() + 60
    while jump.session_pids() or end.session_pids():
        assert time.monotonic() < deadline, "a session stays"
        time.sleep(0.05)


# --- client configurations --------------------------------------------------------------------------------------------


def test_a_client_configuration_gives_name_port_user_identity_known_hosts_and_jump(ssh_lab: SshLab, tmp_path: Path) -> None:
    jump, end = ssh_lab.host("jump"), ssh_lab.host("end")
    (tmp_path / "known").write_text(f"bastion {jump.host_key}\n" + known(end))
    (tmp_path / "config").write_text(
        f"Host web\n HostName 127.0.0.1\n Port {end.port}\n ProxyJump bastion\n"
        f"Host bastion\n HostName localhost\n AddressFamily inet\n Port {jump.port}\n HostKeyAlias bastion\n"
        f"Host *\n User {ME}\n IdentityFile {ssh_lab.identity}\n UserKnownHostsFile known\n ServerAliveInterval 5\n ConnectTimeout 15\n"
    )
    subscriber = Subscriber("web", Address("ssh", "web", 0), end.subscriber.working_directory, ssh=Ssh(config=str(tmp_path / "config")))
    assert works(tmp_path, subscriber)
    assert "Accepted publickey" in jump.log()


def test_one_configuration_takes_ssh_and_sluice_to_the_same_host(ssh_lab: SshLab, tmp_path: Path, real_part: Callable[[str], Path]) -> None:
    """All lines of docs/ssh.md that have no effect for Sluice, and those that have, as far as this host suffers them."""
    jump, end = ssh_lab.host("jump"), ssh_lab.host("end")
    rows = re.findall(r"^\| `([^`]+)` \| no effect", (Path(__file__).parents[2] / "docs/ssh.md").read_text(), re.MULTILINE)
    assert len(rows) > 10
    (tmp_path / "known").write_text(f"fleet {end.host_key}\nbastion {jump.host_key}\n")
    (tmp_path / "more").write_text("ConnectTimeout 1m\nServerAliveInterval 15\nIdentitiesOnly yes\nIdentityAgent none\n")
    (tmp_path / "config").write_text(
        f"IgnoreUnknown UseKey*\nUseKeychain yes\nInclude {tmp_path}/more\n"
        f"Host web\n HostName 127.0.0.1\n Port {end.port}\n HostKeyAlias fleet\n ProxyJump bastion\n"
        f"Host bastion\n HostName localhost\n AddressFamily inet\n Port {jump.port}\n HostKeyAlias bastion\n ProxyJump none\n"
        f"Match user nobody host web\n Port 1\nMatch originalhost web,bastion\n User {ME}\n"
        f"Host *\n IdentityFile {ssh_lab.identity}\n UserKnownHostsFile {tmp_path}/known\n" + "".join(f" {row}\n" for row in rows)
    )
    command = [str(real_part("ssh")), "-F", str(tmp_path / "config"), "-o", "StrictHostKeyChecking=yes", "web", 'echo "$HOME"']
    by_ssh = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert by_ssh.stdout.strip() == str(end.home), by_ssh.stderr
    before = jump.log().count("Accepted publickey"), end.log().count("Accepted publickey")
    assert works(tmp_path, Subscriber("web", Address("ssh", "web", 0), PurePosixPath("/w"), ssh=Ssh(config=str(tmp_path / "config"))))
    after = jump.log().count("Accepted publickey"), end.log().count("Accepted publickey")
    assert after == tuple(2 * each for each in before) == (2, 2)


def test_the_blueprint_wins_over_the_client_configuration(ssh_lab: SshLab, tmp_path: Path) -> None:
    end = ssh_lab.host("end")
    (tmp_path / "config").write_text(
        "Host *\n User nobody\n Port 1\n IdentityFile absent\n UserKnownHostsFile absent\n ProxyJump nowhere\n"
    )
    subscriber = replace(end.subscriber, ssh=Ssh(config=str(tmp_path / "config"), jump=()))
    assert works(tmp_path, subscriber)


def test_a_configuration_that_cannot_be_honoured_is_refused_before_anybody_is_called(ssh_lab: SshLab, tmp_path: Path) -> None:
    end = ssh_lab.host("end", start=False)
    (tmp_path / "config").write_text("Host *\n ProxyCommand nc %h %p\n")
    with pytest.raises(BlueprintError, match=r"config:2: ProxyCommand: is not honoured"):
        SshTransport(tmp_path).login(replace(end.subscriber, ssh=Ssh(config=str(tmp_path / "config"))), timeout=20)
    (tmp_path / "config").write_text(f"Host *\n User {ME}\n ProxyJump 127.0.0.1\n")
    with pytest.raises(BlueprintError, match=r"through 127.0.0.1 and back"):
        SshTransport(tmp_path).login(replace(end.subscriber, ssh=Ssh(config=str(tmp_path / "config"))), timeout=20)


# --- ssh-agent and passphrases ----------------------------------------------------------------------------------------


@pytest.fixture
def agent(tmp_path: Path, real_part: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A real ssh-agent at SSH_AUTH_SOCK."""
    sock = tmp_path / "agent"
    process = subprocess.Popen([str(real_part("ssh-agent")), "-D", "-a", str(sock)], stdout=subprocess.DEVNULL)
    monkeypatch.setenv("SSH_AUTH_SOCK", str(sock))
    while not sock.exists():
        assert process.poll() is None
        time.sleep(0.02)
    yield sock
    process.terminate()
    process.wait(60)


def add(key: Path, *words: str) -> None:
    subprocess.run(["ssh-add", "-q", *words, str(key)], check=True, stderr=subprocess.DEVNULL)


def with_agent(host: Sshd, identity: str = "", **ssh: Any) -> Subscriber:
    return replace(host.subscriber, identity=identity, ssh=Ssh(agent=True, **ssh))


@pytest.mark.parametrize("kind", ["ed25519", "rsa", "ecdsa"])
def test_a_key_of_the_agent_logs_in(kind: str, ssh_lab: SshLab, tmp_path: Path, agent: Path) -> None:
    host, key = ssh_lab.host("a"), make_key(tmp_path / "key", kind=kind)
    (host.directory / "authorized_keys").write_text((tmp_path / "key.pub").read_text())
    add(key)
    key.unlink()
    assert works(tmp_path, with_agent(host))
    assert works(tmp_path, with_agent(host, str(tmp_path / "key.pub")))


def test_a_key_of_the_agent_whose_comment_is_not_utf8_logs_in(ssh_lab: SshLab, tmp_path: Path, agent: Path) -> None:
    host, key = ssh_lab.host("a"), tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", b"J\xf6rg", "-f", key], check=True)
    (host.directory / "authorized_keys").write_bytes((tmp_path / "key.pub").read_bytes())
    add(key)
    assert works(tmp_path, with_agent(host))


def test_with_an_identity_beside_it_the_agent_offers_that_key_alone(ssh_lab: SshLab, tmp_path: Path, agent: Path) -> None:
    host, other = ssh_lab.host("a"), make_key(tmp_path / "other")
    add(ssh_lab.identity)
    with pytest.raises(AuthenticationError, match=r"other\.pub isn't among the keys of the ssh-agent") as caught:
        SshTransport(tmp_path).login(with_agent(host, str(tmp_path / "other.pub")), timeout=20)
    assert "ssh-add" in caught.value.remedy
    add(other)
    with pytest.raises(AuthenticationError, match="doesn't accept the key"):
        SshTransport(tmp_path).login(with_agent(host, str(tmp_path / "other.pub")), timeout=20)
    assert works(tmp_path, with_agent(host))


def test_each_way_an_agent_can_fail_has_its_words(ssh_lab: SshLab, tmp_path: Path, agent: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = ssh_lab.host("a")

    def error() -> AuthenticationError:
        with pytest.raises(AuthenticationError) as caught:
            SshTransport(tmp_path).login(with_agent(host), timeout=20)
        return caught.value

    assert "shows no keys: it has none, or it is locked" in error().message
    add(ssh_lab.identity, "-c")  # asks for confirmation, and nobody is there
    monkeypatch.delenv("DISPLAY", raising=False)
    assert "refuses to sign with" in error().message
    (tmp_path / "askpass").write_text("#!/bin/sh\necho a word\n")
    (tmp_path / "askpass").chmod(0o755)
    asking = {"SSH_ASKPASS": str(tmp_path / "askpass"), "SSH_ASKPASS_REQUIRE": "force"}
    subprocess.run(["ssh-add", "-x"], env=os.environ | asking, check=True, stderr=subprocess.DEVNULL)
    assert "it has none, or it is locked" in error().message
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "nobody"))
    assert f"no ssh-agent answers at {tmp_path}/nobody: No such file" in error().message
    monkeypatch.delenv("SSH_AUTH_SOCK")
    assert "SSH_AUTH_SOCK isn't set in this process" in error().message
    (tmp_path / "config").write_text(f"IdentityAgent {agent}\nIdentityFile {ssh_lab.identity}\n")
    assert works(tmp_path, replace(host.subscriber, identity="", ssh=Ssh(config=str(tmp_path / "config"), agent=False)))


def test_a_passphrase_comes_from_a_secret_or_is_asked_once_and_a_wrong_one_is_said(
    ssh_lab: SshLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, key = ssh_lab.host("a"), make_key(tmp_path / "key", passphrase="three secret words")
    (host.directory / "authorized_keys").write_text((tmp_path / "key.pub").read_text())
    plain = replace(host.subscriber, identity=str(key))
    by_secret = replace(plain, ssh=Ssh(passphrase="KEY"))
    with pytest.raises(AuthenticationError, match="nobody can type"):
        SshTransport(tmp_path).login(plain, timeout=20)
    with pytest.raises(AuthenticationError, match="secret:KEY"):
        SshTransport(tmp_path).login(by_secret, timeout=20)
    monkeypatch.setenv("SLUICE_SECRET_KEY", "three other words")
    with pytest.raises(AuthenticationError, match=r"the passphrase of the identity .* is wrong \(secret:KEY\)") as caught:
        SshTransport(tmp_path).login(by_secret, timeout=20)
    assert "three" not in str(caught.value)
    monkeypatch.setenv("SLUICE_SECRET_KEY", "three secret words")
    assert works(tmp_path, by_secret)
    prompts: list[str] = []
    monkeypatch.setattr(ssh_secrets, "_asked", {})
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setattr(ssh_secrets, "_line_typed", lambda prompt: prompts.append(prompt) or "three secret words")
    assert works(tmp_path, plain)
    assert works(tmp_path, plain)
    assert prompts == [f"Passphrase of {key}: "]


@pytest.mark.parametrize(
    "words", [("ecdsa", "-b", "521"), ("ecdsa",), ("rsa", "-b", "2048", "-m", "PEM"), ("rsa", "-b", "2048", "-m", "PKCS8"), ("ed25519",)]
)
@pytest.mark.parametrize("passphrase", ["", "three words"])
def test_every_form_in_which_ssh_keygen_writes_a_key_is_opened(words: tuple[str, ...], passphrase: str, tmp_path: Path) -> None:
    for number in range(6 if words == ("ecdsa",) else 1):  # paramiko fails at every second ECDSA key without a comment
        path = tmp_path / f"key-{number}"
        keygen("-t", *words, "-N", passphrase, "-C", "", "-f", path)
        if passphrase:
            with pytest.raises(TypeError):
                _private_key(path, None)
        key = _private_key(path, passphrase.encode() or None)
        assert key.asbytes() == base64.b64decode(path.with_suffix(".pub").read_text().split()[1])


def test_identity_files_that_cannot_be_used_each_say_why(ssh_lab: SshLab, tmp_path: Path) -> None:
    host, key = ssh_lab.host("a", start=False), make_key(tmp_path / "key")
    (tmp_path / "garbage").write_text("no key")
    (tmp_path / "broken").write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n")
    (tmp_path / "directory").mkdir()
    for path in ("garbage", "broken"):
        (tmp_path / path).chmod(0o600)
    key.chmod(0o644)
    for name, why in {
        "key.pub": f"is a public key, with which nobody can log in: name the private key, such as {key}",
        "key": f"is open to others (mode 0644), so that they could log in with it; ssh refuses it too: chmod 600 {key}",
        "directory": "isn't a file",
        "garbage": "it isn't a private key",
        "broken": "can't be used",
        "absent": "doesn't exist",
    }.items():
        with pytest.raises(AuthenticationError) as caught:
            SshTransport(tmp_path).login(replace(host.subscriber, identity=str(tmp_path / name)), timeout=20)
        assert why in str(caught.value)
        assert name in str(caught.value)


# --- certificates -----------------------------------------------------------------------------------------------------


def sign(ca: Path, public: Path, *words: object) -> Path:
    keygen("-s", ca, "-I", "id", *words, public)
    return public.with_name(f"{public.stem}-cert.pub")


@pytest.mark.parametrize("kind", ["ed25519", "rsa", "ecdsa"])
def test_a_certificate_of_a_user_logs_in_beside_its_key_or_named(kind: str, ssh_lab: SshLab, tmp_path: Path) -> None:
    ca, key = make_key(tmp_path / "ca"), make_key(tmp_path / "key", kind=kind)
    host = ssh_lab.host("a", options=(f"TrustedUserCAKeys {ca}.pub",))
    cert = sign(ca, tmp_path / "key.pub", "-n", ME, "-V", "+1d")
    subscriber = replace(host.subscriber, identity=str(key))
    assert works(tmp_path, subscriber)
    elsewhere = cert.rename(tmp_path / "elsewhere.pub")
    assert works(tmp_path, replace(subscriber, ssh=Ssh(certificate=str(elsewhere))))
    (tmp_path / "config").write_text(f"UserKnownHostsFile x\nIdentityFile {key}\nCertificateFile {elsewhere}\n")
    assert works(tmp_path, replace(host.subscriber, identity="", ssh=Ssh(config=str(tmp_path / "config"))))


@pytest.mark.parametrize(("words", "whose"), [(("-n", "somebody-else"), "somebody-else"), (("-n", "ops,web"), "ops, web"), ((), "nobody")])
def test_a_certificate_that_the_host_refuses_is_shown_with_whom_it_is_for(
    words: tuple[str, ...], whose: str, ssh_lab: SshLab, tmp_path: Path
) -> None:
    ca, key = make_key(tmp_path / "ca"), make_key(tmp_path / "key")
    host = ssh_lab.host("a", options=(f"TrustedUserCAKeys {ca}.pub",))
    cert = sign(ca, tmp_path / "key.pub", *words)
    with pytest.raises(AuthenticationError) as caught:
        SshTransport(tmp_path).login(replace(host.subscriber, identity=str(key)), timeout=20)
    assert f"{key} with the certificate {cert} for {whose} (ssh-ed25519" in caught.value.message
    assert f"or have the CA in TrustedUserCAKeys there sign it for {ME}" in caught.value.remedy


def test_a_certificate_goes_with_a_key_that_only_the_agent_has(ssh_lab: SshLab, tmp_path: Path, agent: Path) -> None:
    ca, key = make_key(tmp_path / "ca"), make_key(tmp_path / "key")
    host = ssh_lab.host("a", options=(f"TrustedUserCAKeys {ca}.pub",))
    add(key)
    key.unlink()
    cert = sign(ca, tmp_path / "key.pub", "-n", ME)
    assert works(tmp_path, with_agent(host, str(tmp_path / "key.pub"), certificate=str(cert)))
    add(make_key(tmp_path / "unrelated"))
    assert works(tmp_path, with_agent(host, certificate=str(cert)))


def test_a_certificate_that_does_not_hold_is_named(ssh_lab: SshLab, tmp_path: Path, agent: Path) -> None:
    ca, key, other = (make_key(tmp_path / name) for name in ("ca", "key", "other"))
    host = ssh_lab.host("a", options=(f"TrustedUserCAKeys {ca}.pub",))
    subscriber = replace(host.subscriber, identity=str(key))

    def error(subscriber: Subscriber) -> str:
        with pytest.raises(AuthenticationError) as caught:
            SshTransport(tmp_path).login(subscriber, timeout=20)
        return str(caught.value)

    cert = sign(ca, tmp_path / "key.pub", "-n", ME, "-V", "20200101:20200102")
    assert f"certificate {cert} expired on 2020-01-02" in error(subscriber)
    named = replace(subscriber, ssh=Ssh(certificate=str(cert)))
    assert f"the certificate {cert} expired on 2020-01-02" in error(named)
    sign(ca, tmp_path / "key.pub", "-n", ME, "-V", "+10d:+11d")
    assert "is valid only from" in error(named)
    sign(ca, tmp_path / "key.pub", "-h", "-n", ME)
    assert "is a host's, not a user's" in error(named)
    wrong = sign(ca, tmp_path / "other.pub", "-n", ME)
    assert "is of another key" in error(replace(subscriber, ssh=Ssh(certificate=str(wrong))))
    assert "isn't a certificate" in error(replace(subscriber, ssh=Ssh(certificate=str(tmp_path / "ca.pub"))))
    cert.unlink()
    add(other)  # takes the certificate beside it too
    assert works(tmp_path, with_agent(host))


def certified(lab: SshLab, site: Path, *words: object, ca_kind: str = "ed25519", key_kind: str = "ed25519") -> Sshd:
    """A host that shows a certificate of the CA ``site/ca`` (made if it isn't there)."""
    ca = site / "ca" if (site / "ca").exists() else make_key(site / "ca", kind=ca_kind)
    host = lab.host(f"h{len(lab.hosts)}", start=False)
    for suffix in ("", ".pub"):
        (host.directory / f"host_key{suffix}").unlink()
    make_key(host.directory / "host_key", kind=key_kind)
    cert = sign(ca, host.directory / "host_key.pub", *words)
    host.options = (f"HostCertificate {cert}",)
    host.start()
    return host


@pytest.mark.parametrize(("ca_kind", "key_kind"), [("ed25519", "ed25519"), ("rsa", "ecdsa"), ("ecdsa", "rsa")])
def test_a_host_with_a_certificate_of_a_known_ca_is_believed(ca_kind: str, key_kind: str, ssh_lab: SshLab, tmp_path: Path) -> None:
    host = certified(ssh_lab, tmp_path, "-h", "-n", "127.0.0.1", "-V", "+1d", ca_kind=ca_kind, key_kind=key_kind)
    (tmp_path / "known_hosts").write_text("@cert-authority 127.0.0.* " + (tmp_path / "ca.pub").read_text())
    assert works(tmp_path, by_file(host, tmp_path))


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("-h", "-n", "web.example.org"), "is for web.example.org, not for 127.0.0.1"),
        (("-h",), "names no host"),
        (("-h", "-n", "127.0.0.1", "-V", "20200101:20200102"), "expired on 2020-01-02"),
        (("-h", "-n", "127.0.0.1", "-V", "+10d:+11d"), "is valid only from"),
    ],
)
def test_a_hosts_certificate_that_does_not_count_is_refused_with_the_reason(
    words: tuple[str, ...], why: str, ssh_lab: SshLab, tmp_path: Path
) -> None:
    host = certified(ssh_lab, tmp_path, *words)
    (tmp_path / "known_hosts").write_text("@cert-authority * " + (tmp_path / "ca.pub").read_text())
    with pytest.raises(HostKeyError, match=why):
        SshTransport(tmp_path).login(by_file(host, tmp_path), timeout=20)
    assert "Accepted" not in host.log()
    (tmp_path / "known_hosts").write_text((tmp_path / "known_hosts").read_text() + known(host))
    assert works(tmp_path, by_file(host, tmp_path)), "its plain key is pinned"


def test_a_certificate_that_its_ca_signed_with_sha1_does_not_count(ssh_lab: SshLab, tmp_path: Path) -> None:
    host = certified(ssh_lab, tmp_path, "-t", "ssh-rsa", "-h", "-n", "127.0.0.1", ca_kind="rsa")
    (tmp_path / "known_hosts").write_text("@cert-authority * " + (tmp_path / "ca.pub").read_text())
    with pytest.raises(HostKeyError, match="is signed with SHA-1"):
        SshTransport(tmp_path).login(by_file(host, tmp_path), timeout=20)


def test_another_ca_a_ca_for_other_hosts_and_a_revoked_one_do_not_count(ssh_lab: SshLab, tmp_path: Path) -> None:
    host = certified(ssh_lab, tmp_path, "-h", "-n", "127.0.0.1")
    make_key(tmp_path / "other")
    ours, other = ((tmp_path / f"{name}.pub").read_text() for name in ("ca", "other"))
    for lines, why in {
        f"@cert-authority * {other}": "is signed by another CA",
        f"@cert-authority *.example.org {ours}": "isn't in",
        f"@cert-authority * {ours}@revoked * {ours}": "isn't in",
        f"@cert-authority * {ours}@cert-authority * {other}@revoked * {ours}": "is signed by a CA that is revoked",
        f"@cert-authority * {ours}@revoked * {host.host_key}\n": "which is revoked",
    }.items():
        (tmp_path / "known_hosts").write_text(lines)
        with pytest.raises(HostKeyError, match=why):
            SshTransport(tmp_path).login(by_file(host, tmp_path), timeout=20)


# --- known_hosts ------------------------------------------------------------------------------------------------------


def test_lines_as_ssh_keygen_hashes_them_and_several_keys_of_one_type(ssh_lab: SshLab, tmp_path: Path) -> None:
    host, other = ssh_lab.host("a"), make_key(tmp_path / "other")
    line, wrong = known(host), f"[127.0.0.1]:{host.port} {(tmp_path / 'other.pub').read_text()}"
    for order in (line + wrong, wrong + line):
        for hashed in (False, True):
            (tmp_path / "known_hosts").write_text(order)
            if hashed:
                keygen("-H", "-f", tmp_path / "known_hosts")
                assert "127.0.0.1" not in (tmp_path / "known_hosts").read_text()
            assert works(tmp_path, by_file(host, tmp_path))
    assert other.exists()


def test_the_remedy_names_the_key_that_the_document_has(ssh_lab: SshLab, tmp_path: Path) -> None:
    host = ssh_lab.host("a")
    make_key(tmp_path / "other")
    wrong = " ".join((tmp_path / "other.pub").read_text().split()[:2])
    (tmp_path / "known_hosts").write_text(f"[127.0.0.1]:{host.port} {wrong}\n")
    (tmp_path / "config").write_text(f"UserKnownHostsFile {tmp_path}/known_hosts\n")
    config = replace(host.subscriber, host_key="", ssh=Ssh(config=str(tmp_path / "config")))
    for subscriber, place in [
        (replace(host.subscriber, host_key=wrong), "change host_key: in a's document"),
        (by_file(host, tmp_path), f"change its line in {tmp_path}/known_hosts (host_keys: of a)"),
        (config, f"change its line in {tmp_path}/known_hosts (UserKnownHostsFile in {tmp_path}/config)"),
    ]:
        with pytest.raises(HostKeyError, match="pinned is") as caught:
            SshTransport(tmp_path).login(subscriber, timeout=20)
        assert place in caught.value.remedy


# --- hosts that mean harm ---------------------------------------------------------------------------------------------


class Hostile(paramiko.ServerInterface):
    """A host that lets everybody in, notes what it is asked for, and does ``act`` when a command comes."""

    def __init__(self, site: Path, act: Callable[[paramiko.Channel], object], allowed: str = "publickey") -> None:
        self.site, self.act, self.allowed = site, act, allowed
        self.asked: list[str] = []
        self.outcome: list[object] = []
        self.key = paramiko.PKey.from_path(make_key(site / "hostile"))
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def subscriber(self, identity: Path, **ssh: Any) -> Subscriber:
        address = Address("ssh", "127.0.0.1", self._listening.getsockname()[1], ME)
        host_key = f"{self.key.get_name()} {self.key.get_base64()}"
        return Subscriber("hostile", address, PurePosixPath("/srv/x"), host_key=host_key, identity=str(identity), ssh=Ssh(**ssh))

    def error(self, subscriber: Subscriber) -> TransportError:
        """What becomes of a command there."""
        with pytest.raises(TransportError) as caught, closing(SshTransport(self.site).login(subscriber, timeout=20)) as login:
            login.run(["true"])
        self._thread.join()
        return caught.value

    def _serve(self) -> None:
        with self._listening, self._listening.accept()[0] as sock, closing(paramiko.Transport(sock)) as transport:
            transport.add_server_key(self.key)
            with suppress(EOFError, OSError, paramiko.SSHException):  # the guest may leave at any moment
                transport.start_server(server=self)
                channel = transport.accept(20)
                if channel is not None:
                    channel.settimeout(20)
                    self.outcome.append(self.act(channel))
                    channel.close()
            transport.join(20)

    def get_allowed_auths(self, username: str) -> str:
        return self.allowed

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        return paramiko.AUTH_SUCCESSFUL if self.allowed == "publickey" else paramiko.AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        self.asked.append(kind)
        return paramiko.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        self.asked.append(command.decode())
        return True

    def check_channel_env_request(self, channel: paramiko.Channel, name: bytes, value: bytes) -> bool:
        self.asked.append(f"environment {name!r}")
        return True

    def check_channel_forward_agent_request(self, channel: paramiko.Channel) -> bool:
        self.asked.append("the agent")
        return True


def script_of(channel: paramiko.Channel) -> str:
    """The one line that the host is given to run."""
    said = b""
    while not said.endswith(b"\n"):
        said += channel.recv(1)
    return said.decode()


def test_a_host_is_asked_for_sh_alone_and_gets_no_channel_back(ssh_lab: SshLab, tmp_path: Path, agent: Path) -> None:
    """Not to the ssh-agent that logs in there, nor to a display or a port."""
    add(ssh_lab.identity)

    def grab(channel: paramiko.Channel) -> list[str]:
        transport, got = channel.get_transport(), []
        for kind in ("auth-agent@openssh.com", "auth-agent", "x11", "forwarded-tcpip", "direct-tcpip", "session"):
            with suppress(paramiko.ChannelException):
                transport.open_channel(kind, ("127.0.0.1", 22), ("127.0.0.1", 22), timeout=20)
                got.append(kind)
        if transport.global_request("tcpip-forward", ("127.0.0.1", 0), wait=True) is not None:
            got.append("a port")
        return got

    host = Hostile(tmp_path, grab)
    host.error(host.subscriber(Path(f"{ssh_lab.identity}.pub"), agent=True))
    assert host.outcome == [[]]
    assert host.asked == ["session", "sh"]


def test_a_host_that_asks_for_a_password_without_sudo_gets_none(ssh_lab: SshLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICE_SECRET_SUDO", "three secret words")
    monkeypatch.setattr("infra.transports.ssh.asked", lambda prompt: pytest.fail("somebody is asked"))

    def imitate(channel: paramiko.Channel) -> bytes:
        sign = "".join(re.findall(r"printf '%s%s\\n' (\S+) (\S+);", script_of(channel))[0])
        channel.sendall_stderr(f"[sudo] password: {sign}?".encode())
        channel.settimeout(1)
        with suppress(TimeoutError):
            return channel.recv(100)
        channel.send_exit_status(1)
        return b""

    host = Hostile(tmp_path, imitate)
    error = host.error(host.subscriber(ssh_lab.identity, become_password="SUDO"))
    assert host.outcome == [b""]
    assert "three secret words" not in repr(error)


def test_a_host_that_asks_for_sudos_password_twice_gets_it_once(ssh_lab: SshLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICE_SECRET_SUDO", "three secret words")

    def imitate(channel: paramiko.Channel) -> bytes:
        script = script_of(channel)
        assert "three" not in script
        prompt = script.split(" -p ")[1].split()[0].strip("'")
        channel.sendall_stderr(prompt.encode())
        got = channel.recv(100)
        with suppress(OSError):  # the guest may have left
            channel.sendall_stderr(prompt.encode() * 3)
        return got + channel.recv(100)

    host = Hostile(tmp_path, imitate)
    error = host.error(host.subscriber(ssh_lab.identity, become="sudo", become_password="SUDO"))
    assert host.outcome == [b"three secret words\n"]
    assert "sudo refuses the password" in error.message
    assert "three" not in f"{error!r} {error.__cause__!r} {error.__context__!r}"


def test_what_a_host_says_reaches_a_terminal_without_control_characters(ssh_lab: SshLab, tmp_path: Path) -> None:
    host = Hostile(tmp_path, lambda channel: None, allowed="password,\x1b[2J\x07evil")
    error = host.error(host.subscriber(ssh_lab.identity))
    assert "[2J" in error.message
    assert str(error).isprintable()


@pytest.mark.parametrize("at", ["greeting", "login", "session"])
def test_packets_that_make_no_sense_are_an_error_of_the_host(at: str, ssh_lab: SshLab, tmp_path: Path) -> None:
    """Names that aren't UTF-8: paramiko's thread ends with a UnicodeDecodeError."""

    class Senseless(Hostile):
        def get_allowed_auths(self, username: str) -> Any:
            return b"\xff"

        def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
            return paramiko.AUTH_SUCCESSFUL if at == "session" else paramiko.AUTH_FAILED

        def _serve(self) -> None:
            if at != "greeting":
                super()._serve()
                return
            with self._listening, self._listening.accept()[0] as sock, suppress(OSError):
                sock.sendall(b"SSH-2.0-x\r\n" + struct.pack(">IBB16sI4s6x", 32, 6, 20, b"", 4, b"\xff" * 4))
                while sock.recv(4096):
                    pass

    def senseless(channel: paramiko.Channel) -> None:
        packet = paramiko.Message()
        packet.add_byte(b"\x62")  # a request of the channel
        packet.add_int(channel.remote_chanid)
        packet.add_string(b"\xff")
        cast(Any, channel.get_transport())._send_message(packet)
        channel.recv(10_000)

    host = Senseless(tmp_path, senseless)
    error = host.error(host.subscriber(ssh_lab.identity))
    assert isinstance(error, ConnectionLostError)


@pytest.mark.parametrize("code", [1, 2])
def test_what_a_jump_host_says_does_so_too(code: int, tmp_path: Path) -> None:
    class Refusing(paramiko.Transport):
        def __init__(self) -> None:
            pass

        def open_channel(self, *_: object, **__: object) -> paramiko.Channel:
            raise paramiko.ChannelException(code, "\x1b[2Jno")

    ssh = Ssh(jump=(Address("ssh", "j", 22, "u"),))
    subscriber = Subscriber("a", Address("ssh", "a", 22, "u"), PurePosixPath("/w"), host_keys="k", identity="i", ssh=ssh)
    jump, end = find_way(subscriber, tmp_path).hops
    with pytest.raises(UnreachableError, match=r"jump host u@j:22 .*\[2Jno") as caught:
        open_tunnel(Refusing(), jump, end, 1)
    assert str(caught.value).isprintable()
