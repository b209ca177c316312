"""Settings of OpenSSH servers, login shells and sudo against the real ones: each is accepted, or refused with the words of docs/ssh.md."""

import os
import re
import shlex
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from pathlib import Path

import paramiko
import pytest

from infra.hosts.login import probe
from infra.transports import ssh_secrets, ssh_shell
from infra.transports.ssh import SshTransport
from infra.transports.ssh_auth import Identity, authenticate
from infra.transports.ssh_connection import Connection
from infra.transports.ssh_errors import TRANSLATION, translate
from sluice.errors import AgentMissingError, AuthenticationError, SluiceError, TransportError
from sluice.model.site import Ssh, Subscriber
from tests.conftest import missing
from tests.system.accounts import Account, account
from tests.system.sshd import Sshd, SshLab, lab, make_key, with_address

TEXT = (Path(__file__).parents[2] / "docs" / "ssh.md").read_text()
GLOBAL = ("MaxStartups", "Ciphers", "KexAlgorithms", "HostKeyAlgorithms", "MACs", "Compression", "UsePAM")
"""Settings that sshd doesn't take in a Match block; PubkeyAcceptedAlgorithms is told to clients only if it is for all."""
TIMEOUT = 300.0
"""A test that waits for it is ended by pytest."""


def rows(heading: str) -> list[list[str]]:
    """The table below a heading of docs/ssh.md."""
    section = TEXT.split(f"## {heading}\n")[1].split("\n## ")[0]
    return [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in section.splitlines() if line.startswith("|")][2:]


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory, real_part: Callable[[str], Path]) -> Iterator[SshLab]:
    real_part("useradd")
    if os.geteuid() != 0:
        missing("root, for accounts")
    with lab(tmp_path_factory.mktemp("settings"), real_part) as made:
        yield made


@pytest.fixture(scope="module")
def user(hosts: SshLab) -> Iterator[Account]:
    with account(hosts.identity) as made:
        yield made


@pytest.fixture(scope="module")
def plain(hosts: SshLab, user: Account) -> Sshd:
    """A host without further settings."""
    return hosts.host("plain", options=user.match())


def failure(subscriber: Subscriber, *, timeout: float = TIMEOUT) -> SluiceError:
    """The error of a login that runs a command."""
    with pytest.raises(SluiceError) as caught, closing(SshTransport(Path("/")).login(subscriber, timeout=timeout)) as login:
        login.run(["true"])
    said = str(caught.value)
    assert not re.search(r"[.:;,]{2}|: *$|Exception|Error\b", said), said
    assert caught.value.remedy
    return caught.value


def outcome(subscriber: Subscriber) -> bytes:
    """The output of a command that is hard to quote, of which the last part comes from stdin."""
    with closing(SshTransport(Path("/")).login(subscriber, timeout=TIMEOUT)) as login:
        return login.run(["sh", "-c", 'printf "%s\\n" "$@"; cat', "-", 'it\'s "a" $HOME !x `y`\\', "a\nb"], b"from stdin")[1]


WHOLE = b'it\'s "a" $HOME !x `y`\\\na\nb\nfrom stdin'


def runs_by_ssh(subscriber: Subscriber, directory: Path) -> bool:
    """Whether the installed ssh, with the same key and host key, runs a command there when nobody can type."""
    address, known = subscriber.address, directory / "known_hosts"
    known.write_text(f"[{address.host}]:{address.port} {subscriber.host_key}\n")
    options = ("BatchMode=yes", "StrictHostKeyChecking=yes", f"UserKnownHostsFile={known}", "IdentitiesOnly=yes", "IdentityAgent=none")
    words = [word for option in options for word in ("-o", option)] + ["-i", subscriber.identity, "-p", str(address.port)]
    command = ["ssh", "-F", "none", *words, f"{address.user}@{address.host}", "echo it 'runs'"]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True).stdout == b"it runs\n"


@pytest.mark.parametrize(
    ("row", "by_ssh", "accepted", "words"),
    [pytest.param(*row[:3], row[3] if row[3:] else "", id=row[0]) for row in rows("Server settings")],
)
def test_a_server_setting_is_taken_as_the_table_says(
    row: str, by_ssh: str, accepted: str, words: str, hosts: SshLab, user: Account, real_part: Callable[[str], Path]
) -> None:
    real_part("ssh")
    settings = [line.replace("USER", user.name) for line in re.findall("`([^`]+)`", row)]
    known = "PubkeyAccepted" if "PubkeyAccepted" in row else GLOBAL
    above = [line for line in settings if line.startswith(known)]
    host = hosts.host(f"settings-{len(hosts.hosts)}", start=False)
    if "HostKeyAlgorithms ssh-rsa" in settings:
        above.append(f"HostKey {make_key(host.directory / 'rsa', kind='rsa')}")
    if row.endswith("(as root)"):
        host.options, subscriber = tuple(settings), host.subscriber
    else:
        host.options = (*above, *user.match(*(line for line in settings if line not in above)))
        subscriber = user.on(host)
    host.start()
    try:
        if accepted == "accepted":
            assert outcome(subscriber) == WHOLE
        else:
            assert words.replace("USER", user.name) in str(failure(subscriber))
        assert runs_by_ssh(subscriber, host.directory) is (by_ssh == "accepted")
    finally:
        host.stop()


def test_the_table_has_a_dozen_settings_of_both_kinds() -> None:
    for column in (1, 2):
        found = [row[column] for row in rows("Server settings")]
        assert found.count("accepted") >= 6
        assert found.count("refused") >= 12
        assert len(found) == found.count("accepted") + found.count("refused")


def test_a_key_that_the_host_doesnt_know_is_named_with_the_user_and_the_causes(plain: Sshd, user: Account, tmp_path: Path) -> None:
    other = replace(user.on(plain), identity=str(make_key(tmp_path / "other")))
    error = failure(other)
    assert f"the host doesn't accept the key {tmp_path / 'other'} (ssh-ed25519 SHA256:" in error.message
    assert f"for user {user.name}; it offers publickey" in error.message
    assert f"~{user.name}/.ssh/authorized_keys" in error.remedy
    assert not error.retryable


@pytest.mark.parametrize("name", ["nobody-of-this-name", "CORP\\anna", "anna@corp.example", "anna maria"])
def test_a_user_who_doesnt_exist_is_refused_as_an_unknown_key_is(name: str, plain: Sshd) -> None:
    subscriber = with_address(plain.subscriber)
    error = failure(replace(subscriber, address=replace(subscriber.address, user=name)))
    assert f"for user {name}" in error.message
    assert "the account doesn't exist, is locked or expired" in error.remedy


def test_a_host_that_tells_which_types_of_keys_it_takes_is_quoted(hosts: SshLab) -> None:
    """OpenSSH does so since 9.4, and otherwise names all that it knows."""

    class Asked(Connection):
        def __init__(self, takes: bytes) -> None:
            self.server_extensions = {"server-sig-algs": takes}

        def auth_publickey(self, username: str, key: paramiko.PKey, event: object = None) -> list[str]:
            raise paramiko.AuthenticationException("Authentication failed.")

        def auth_none(self, username: str) -> list[str]:
            raise paramiko.BadAuthenticationType("Bad authentication type", ["publickey"])

        def is_active(self) -> bool:
            return True

        def banner(self) -> str:
            return ""

    key = Identity(paramiko.PKey.from_path(hosts.identity), "keys/hq")
    with pytest.raises(AuthenticationError, match="accepts no keys of type ssh-ed25519; it accepts rsa-sha2-512, sk-a"):
        authenticate(Asked(b"rsa-sha2-512,sk-a"), "anna", [key], "Subscriber a")
    for takes in (b"", b"ssh-ed25519,rsa-sha2-512"):
        with pytest.raises(AuthenticationError, match="doesn't accept the key keys/hq"):
            authenticate(Asked(takes), "anna", [key], "Subscriber a")
    with pytest.raises(AuthenticationError, match="no key to offer"):
        authenticate(Asked(b""), "anna", [], "Subscriber a")


def test_a_locked_account_is_among_the_causes(hosts: SshLab, real_part: Callable[[str], Path]) -> None:
    with account(hosts.identity) as locked:
        subprocess.run([str(real_part("usermod")), "--lock", locked.name], check=True)
        host = hosts.host(f"locked-{locked.name}", options=locked.match())
        assert "is locked or expired" in failure(locked.on(host)).remedy
        host.stop()


def test_an_expired_account_of_pam_is_told_at_once_with_what_pam_says(hosts: SshLab, real_part: Callable[[str], Path]) -> None:
    with account(hosts.identity) as expired:
        subprocess.run([str(real_part("usermod")), "--expiredate", "2001-01-01", expired.name], check=True)
        host = hosts.host(f"expired-{expired.name}", options=("UsePAM yes", *expired.match()))
        error = failure(expired.on(host))
        assert "the host closed the connection when" in error.message
        assert "the account may be expired" in error.remedy
        host.stop()


def test_too_many_keys_end_with_the_hosts_words(hosts: SshLab, user: Account, tmp_path: Path) -> None:
    host = hosts.host("tries", options=user.match("MaxAuthTries 1"))
    error = failure(replace(user.on(host), identity=str(make_key(tmp_path / "other"))))
    assert "the host ended the login after" in error.message
    assert "Too many authentication failures" in error.message
    assert "MaxAuthTries" in error.remedy
    host.stop()


def test_a_banner_is_part_of_a_refusal(hosts: SshLab, user: Account, tmp_path: Path) -> None:
    text = user.home / "banner"
    text.write_text("Call the\n\x1b[2Joperator.\n")
    host = hosts.host("banner", options=user.match(f"Banner {text}"))
    error = failure(replace(user.on(host), identity=str(make_key(tmp_path / "other"))))
    assert "(its banner: Call the [2Joperator.)" in error.message
    host.stop()


def test_max_startups_is_told_and_may_be_tried_again(hosts: SshLab, user: Account) -> None:
    host = hosts.host("startups", start=False)
    host.options = ("MaxStartups 1:100:1", *user.match())
    host.start()
    with ExitStack() as held:
        greeted = False
        while not greeted:  # the one by which the start was seen may still count
            waiting = held.enter_context(socket.create_connection(("127.0.0.1", host.port)))
            waiting.settimeout(120)
            with suppress(ConnectionResetError):
                greeted = waiting.recv(4) == b"SSH-"
        error = failure(user.on(host))
    assert "the host takes no more logins at the moment" in error.message or "closed without a greeting" in error.message
    assert "MaxStartups" in error.remedy
    assert error.retryable
    host.stop()


ANSWERS = {
    "http": (b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n", "no SSH server answers there: it said 'HTTP/1.1 400 Bad Request'"),
    "smtp": (b"220 mail.example.org ESMTP\r\n", "no SSH server answers there: it said '220 mail.example.org ESMTP'"),
    "tls": (b"\x15\x03\x01\x00\x02\x02\x46\xff\xfe\n", "no SSH server answers there"),
    "closed": (b"", "the connection was accepted and closed without a greeting"),
    "refused": (b"Exceeded MaxStartups\r\n", "the host takes no more logins at the moment: it said 'Exceeded MaxStartups'"),
    "penalty": (b"Not allowed at this time\r\n", "the host takes no more logins at the moment"),
    "old": (b"SSH-1.5-Cisco-1.25\r\n", "it speaks another SSH"),
    "greeted": (b"SSH-2.0-OpenSSH_9.9\r\n", "the connection was closed during the key exchange"),
    "endless": (b"\x1b[2Jx" * 100_000, "no SSH server answers there: it said '"),
}


@pytest.mark.parametrize("kind", sorted(ANSWERS))
def test_whatever_answers_in_place_of_an_ssh_server_is_told(kind: str, hosts: SshLab) -> None:
    said, words = ANSWERS[kind]

    def answer() -> None:
        with server.accept()[0] as sock:
            if kind in ("http", "greeted"):
                sock.recv(4096)
            with suppress(OSError):  # it hangs up on who says too much
                sock.sendall(said)
                sock.shutdown(socket.SHUT_WR)
                sock.settimeout(20)
                while sock.recv(4096):
                    pass

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=answer)
        thread.start()
        host = hosts.hosts.get("nowhere") or hosts.host("nowhere", start=False)
        error = failure(with_address(host.subscriber, port=server.getsockname()[1]))
        thread.join()
    assert words in error.message
    assert error.message.isprintable()


def test_a_silent_port_ends_long_before_the_connection_timeout(hosts: SshLab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.transports.ssh_connection.GREETING_WAIT", 0.5)
    host = hosts.hosts.get("nowhere") or hosts.host("nowhere", start=False)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        error = failure(with_address(host.subscriber, port=silent.getsockname()[1]))
    assert "says nothing for 0.5 s: no SSH server, or a stalled one" in error.message
    assert error.retryable


@pytest.mark.parametrize("foreign", [each for each, _ in TRANSLATION], ids=lambda each: each.__name__)
def test_no_error_of_the_seam_has_double_punctuation_or_the_name_of_a_class(foreign: type[BaseException]) -> None:
    made: list[BaseException] = []
    for arguments in ((), ("",), ("Authentication failed.",), ("a:",), (1, "it said so."), ("host", "key", "key")):
        try:
            made.append(foreign(*arguments))
            str(made[-1])
        except (TypeError, AttributeError, IndexError):
            continue
    for error in made:
        if isinstance(error, paramiko.BadHostKeyException):
            continue
        said = str(translate(error, "Subscriber a", "logging in"))
        assert not re.search(r"[.:]{2}|\.:|: *$|: :|[a-z]Exception|[a-z]Error", said), said


# --- login shells -----------------------------------------------------------------------------------------------------

SHELLS = ("sh", "dash", "bash", "zsh", "fish", "csh", "tcsh", "ksh")
LOUD = {
    # What each of them reads although no terminal is there; csh's and fish's words differ from sh's.
    "bash": (".bashrc", "echo welcome; echo noise >&2\n"),
    "zsh": (".zshenv", "echo welcome; echo noise >&2\n"),
    "fish": (".config/fish/config.fish", "echo welcome; echo noise >&2\n"),
    "csh": (".cshrc", "echo welcome\n"),
    "tcsh": (".tcshrc", "echo welcome\n"),
}


def tree(place: Path) -> set[tuple[str, int]]:
    """Everything below a directory, with sizes; without what fish makes by itself whenever it starts."""
    found = {(str(path.relative_to(place)), path.lstat().st_size) for path in place.rglob("*") if not path.is_dir()}
    return {each for each in found if "/fish/" not in f"/{each[0]}"}


@pytest.mark.parametrize("shell", SHELLS)
def test_any_login_shell_runs_everything_and_a_probe_leaves_nothing_behind(
    shell: str, hosts: SshLab, real_part: Callable[[str], Path]
) -> None:
    with account(hosts.identity, shell=str(real_part(shell))) as made:
        if shell in LOUD:
            path = made.home / LOUD[shell][0]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(LOUD[shell][1])
        host = hosts.host(f"shell-{made.name}", options=made.match())
        before = tree(made.home)
        assert outcome(made.on(host)) == WHOLE
        with closing(SshTransport(Path("/")).login(made.on(host), timeout=TIMEOUT)) as login:
            found = probe(login, made.on(host))
        assert found.pythons
        assert found.directory is None
        assert tree(made.home) == before
        with pytest.raises(AgentMissingError, match="sluice subscriber bootstrap"):
            SshTransport(Path("/")).connect(made.on(host), timeout=TIMEOUT).read(1)
        host.stop()


def test_busybox_is_a_login_shell_too(hosts: SshLab, real_part: Callable[[str], Path]) -> None:
    busybox = real_part("busybox")
    with account(hosts.identity) as made:
        # sshd calls a shell by its own name, by which busybox knows what to be.
        shell = made.home / "ash"
        shell.symlink_to(busybox)
        os.system(f"usermod --shell {shlex.quote(str(shell))} {made.name}")
        host = hosts.host(f"shell-{made.name}", options=made.match())
        assert outcome(made.on(host)) == WHOLE
        host.stop()


def test_a_restricted_shell_works_if_its_path_has_sh_and_says_so_else(hosts: SshLab, real_part: Callable[[str], Path]) -> None:
    with account(hosts.identity, shell=str(real_part("rbash"))) as made:
        host = hosts.host(f"shell-{made.name}", options=made.match())
        assert outcome(made.on(host)) == WHOLE
        host.stop()
        host.options = made.match(f"SetEnv PATH={made.home} HOME={made.home}")
        host.start()
        error = failure(made.on(host))
        assert "its login shell finds no sh on its PATH" in error.message
        assert "link sh into the directory of its PATH there" in error.remedy
        host.stop()


@pytest.mark.parametrize(("shell", "words"), [pytest.param(row[0].strip("`"), row[1], id=row[0]) for row in rows("Login shells")])
def test_a_login_shell_that_runs_nothing_is_told(shell: str, words: str, hosts: SshLab, real_part: Callable[[str], Path]) -> None:
    with account(hosts.identity, shell=str(real_part(shell))) as made:
        host = hosts.host(f"shell-{made.name}", options=made.match())
        error = failure(made.on(host))
        assert words in error.message
        assert f"usermod -s /bin/sh {made.name}" in error.remedy
        host.stop()


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("echo 'Closed for maintenance.'; exit 3", "(exit status 3; it said 'Closed for maintenance.')"),
        ("echo 'Menu: 1) mail 2) news'; read choice; exit 0", "ended without running anything"),
        ("exec sleep 600", "didn't run sh within"),
        ("kill -9 $$", "the connection was lost, or a signal came, as the login shell"),
        ("head -c 2000000 /dev/zero | tr '\\0' x; sleep 600", "runs another program than a shell"),
    ],
)
def test_a_shell_of_somebodys_own_that_runs_nothing_is_told_by_what_it_says(
    program: str, words: str, hosts: SshLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    if program == "exec sleep 600":
        monkeypatch.setattr(ssh_shell, "START_WAIT", 1.0)
    with account(hosts.identity) as made:
        shell = made.home / "shell"
        shell.write_text(f"#!/bin/sh\n{program}\n")
        shell.chmod(0o755)
        os.system(f"usermod --shell {shlex.quote(str(shell))} {made.name}")
        host = hosts.host(f"shell-{made.name}", options=made.match())
        assert words in failure(made.on(host)).message
        host.stop()


# --- sudo ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def sudo(real_part: Callable[[str], Path]) -> Path:
    return real_part("sudo")


def by_sudo(subscriber: Subscriber, password: str = "") -> Subscriber:
    return replace(subscriber, ssh=replace(Ssh(), become="sudo", become_password=password))


def test_sudo_without_a_password_makes_commands_roots_and_carries_any_bytes(plain: Sshd, user: Account, sudo: Path) -> None:
    user.rule("{} ALL=(root) NOPASSWD: ALL")
    with closing(SshTransport(Path("/")).login(by_sudo(user.on(plain)), timeout=TIMEOUT)) as login:
        assert login.run(["id", "-un"])[1] == b"root\n"
        every = bytes(range(256)) * 5000
        assert login.run(["cat"], every)[1] == every[: 1024 * 1024]
        status, _, said = login.run(["sh", "-c", "echo oh >&2; exit 7"])
        assert (status, said) == (7, b"oh\n")
    assert outcome(by_sudo(user.on(plain))) == WHOLE


def test_stderr_is_the_commands_alone_and_none_of_it_is_lost(hosts: SshLab) -> None:
    with account(hosts.identity) as made:
        shell = made.home / "shell"
        shell.write_text('#!/bin/sh\necho noise >&2; echo noise; exec /bin/sh "$@"\n')
        shell.chmod(0o755)
        os.system(f"usermod --shell {shlex.quote(str(shell))} {made.name}")
        host = hosts.host(f"shell-{made.name}", options=made.match())
        with closing(SshTransport(Path("/")).login(made.on(host), timeout=TIMEOUT)) as login:
            for number in range(5):
                assert login.run(["sh", "-c", f"echo {number} >&2; echo out; exit 3"]) == (3, b"out\n", f"{number}\n".encode())
            assert login.run(["sh", "-c", "exec 2>&-; echo out"]) == (0, b"out\n", b"")
        host.stop()


def test_the_password_reaches_sudo_alone(plain: Sshd, user: Account, sudo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    user.rule("{} ALL=(root) ALL")
    monkeypatch.setenv("SLUICE_SECRET_OURS", user.password)
    subscriber = by_sudo(user.on(plain), "OURS")
    with closing(SshTransport(Path("/")).login(subscriber, timeout=TIMEOUT)) as login:
        assert login.run(["id", "-un"])[1] == b"root\n"
        everything = login.run(["sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '; env; cat"], b"end")[1]
        assert user.password.encode() not in everything
        assert everything.endswith(b"end")
    assert user.password not in repr(subscriber) + plain.log()
    monkeypatch.setenv("SLUICE_SECRET_OURS", "wrong")
    error = failure(subscriber)
    assert "sudo refuses the password" in error.message
    assert "wrong" not in str(error)
    monkeypatch.delenv("SLUICE_SECRET_OURS")
    assert "SLUICE_SECRET_OURS" in failure(subscriber).remedy
    # A password that Defaults name is asked for by nobody where the account stays what it is.
    assert outcome(replace(subscriber, ssh=replace(subscriber.ssh, become=""))) == WHOLE


def test_without_a_secret_the_password_is_asked_once_on_a_terminal(
    plain: Sshd, user: Account, sudo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user.rule("{} ALL=(root) ALL")
    prompts: list[str] = []

    def typed(prompt: str) -> str:
        prompts.append(prompt)
        return user.password

    monkeypatch.setattr(ssh_secrets, "_asked", {})
    monkeypatch.setattr(ssh_secrets, "_line_typed", typed)
    subscriber = by_sudo(user.on(plain))
    assert "sudo asks for a password" in failure(subscriber).message  # there is no terminal here
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    assert outcome(subscriber) == outcome(subscriber) == WHOLE
    assert prompts == [f"Password of {user.name}@127.0.0.1:{plain.port} for sudo: "]


@pytest.mark.parametrize(
    ("rules", "number"),
    [
        (["{} ALL=(root) ALL"], 0),
        (["{} ALL=(root) ALL", "Defaults:{} passwd_tries=1"], 1),
        ([], 2),
        (["{} ALL=(root) NOPASSWD: /bin/ls"], 3),
        (["{} ALL=(root) NOPASSWD: ALL", "Defaults:{} requiretty"], 4),
        (["{} ALL=(root) ALL", "Defaults:{} lecture=always"], 1),
        (["{} ALL=(root) NOPASSWD: ALL", "Defaults:{} secure_path=/nowhere"], 6),
    ],
)
def test_each_refusal_of_sudo_has_its_words(
    rules: list[str], number: int, plain: Sshd, user: Account, sudo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user.rule(*rules)
    monkeypatch.setenv("SLUICE_SECRET_OURS", "wrong" if number == 1 else user.password)
    error = failure(by_sudo(user.on(plain), "" if number == 0 else "OURS"))
    assert rows("sudo")[number][1].replace("USER", user.name) in error.message
    assert isinstance(error, AuthenticationError)


def test_a_host_without_sudo_says_so(hosts: SshLab, real_part: Callable[[str], Path]) -> None:
    with account(hosts.identity, shell="/bin/sh") as made:
        programs = made.home / "bin"
        programs.mkdir()
        (programs / "sh").symlink_to("/bin/sh")
        host = hosts.host(f"sudo-{made.name}", options=made.match(f"SetEnv PATH={programs} HOME={made.home}"))
        assert rows("sudo")[5][1] in failure(by_sudo(made.on(host))).message
        host.stop()


def test_errors_of_this_seam_are_transport_errors() -> None:
    assert issubclass(AuthenticationError, TransportError)
