"""Start commands on a host whatever its login shell is: POSIX, csh, fish, a restricted one, or one that runs nothing.

The only word that the login shell sees is ``sh``. That sh reads a script from its stdin, which says a word of its own (the *sign*) and
then becomes the command, by sudo if need be. Everything before the sign is login scripts' and is passed over; nothing is sent after the
script until the sign came, because an sh may read ahead. If it never comes, the login shell runs nothing, and the error says what it
said. A password of sudo goes to sudo's stdin alone, when its prompt asks for it.
"""

from __future__ import annotations

import secrets
import shlex
import time
from collections.abc import Sequence
from contextlib import suppress

import paramiko

from infra.transports.ssh_connection import shown
from infra.transports.ssh_errors import FOREIGN
from sluice.errors import AuthenticationError, ConnectionLostError, TransportError, TransportTimeoutError
from sluice.formats.agent_call import NOT_FOUND
from sluice.rules.wording import output_text

SHELL = "sh"
NOISE_MAX = 256 * 1024
"""Most bytes that login scripts may print."""
START_WAIT = 60.0
"""Seconds in which a login shell starts sh, and sudo the command; less if the connection's timeout is less."""
_POLL = 0.003
"""Seconds between looks at stdout and stderr, of which paramiko awaits only one."""
_STATUS_WAIT = 2.0
"""Seconds between the end of the output and the exit status."""
_OTHER_SHELL = "give {user} a shell there (usermod -s /bin/sh {user}), or log in as another account"
_FORCED = "remove ForceCommand for {user} from the host's sshd_config, or command= from its line in authorized_keys"
_SILENT = {
    # What is said in place of the sign: the shell or setting, and the remedy.
    "currently not available": ("its login shell is nologin", _OTHER_SHELL),
    "unrecognized command": ("its login shell is git-shell, which runs git's commands alone", _OTHER_SHELL),
    "interactive git shell": ("its login shell is git-shell, which runs git's commands alone", _OTHER_SHELL),
    "allows sftp connections only": ("it is for SFTP alone (ForceCommand internal-sftp)", _FORCED),
    "restricted": ("its login shell is a restricted one", "link sh into the directory of its PATH there, or " + _OTHER_SHELL),
}
_LINE = "{user} ALL=(root) NOPASSWD: ALL"
_SUDO = {
    # What sudo says, in part: what is the matter, and the remedy.
    "try again": ("sudo refuses the password", "give the right one as become_password: or on the terminal"),
    "incorrect password": ("sudo refuses the password", "give the right one as become_password: or on the terminal"),
    "a password is required": (
        "sudo asks for a password",
        "give it as ssh: {{become_password: secret:NAME}} or on a terminal, or add this line to the host's sudoers (visudo): " + _LINE,
    ),
    "must have a tty": ("sudo wants a terminal (requiretty)", "add this line to the host's sudoers (visudo): Defaults:{user} !requiretty"),
    "not in the sudoers": ("{user} isn't in its sudoers", "add this line there (visudo): " + _LINE),
    "may not run sudo": ("{user} may not run sudo there", "add this line there (visudo): " + _LINE),
    "not allowed to": ("its sudoers allows {user} other commands only", "add this line there (visudo): " + _LINE),
    "no new privileges": ("sudo can't change the account there (no new privileges)", "start its sshd without that flag, or log in as root"),
    "setuid": ("its sudo isn't installed as root's setuid program", "reinstall sudo there, or log in as root"),
    "expired": ("the password or account of {user} is expired, says its sudo", "renew it there: passwd {user}, chage -E -1 {user}"),
    "sudo: sh: ": ("its sudo finds no sh (secure_path)", "add /usr/bin and /bin to secure_path in the host's sudoers (visudo)"),
    "not found": ("it has no sudo on its PATH", "install sudo there, or log in as root"),
}


class PasswordWantedError(AuthenticationError):
    """sudo asks for a password, and none is known so far."""


def start(
    channel: paramiko.Channel, command: Sequence[str], *, user: str, peer: str, timeout: float, sudo: bool, password: str | None
) -> tuple[bytes, bytes]:
    """Have the login shell start a command on this channel. On return its stdin and stdout are the channel's; if it fails, it is closed.

    Args:
        sudo: The command shall be root's.
        password: Told to sudo if it asks; never part of a command line or of an error.
    Returns:
        The sign, which comes on stderr too, and what came there so far: what is after the sign is the command's.
    Raises:
        AuthenticationError: The login shell runs nothing, or sudo refuses. PasswordWantedError: it asks, and ``password`` is None.
        ConnectionLostError, TransportTimeoutError.
    """
    sign = f"sluice-{secrets.token_hex(8)}"
    channel.settimeout(timeout)
    try:
        channel.exec_command(SHELL)
        with suppress(OSError):  # what has ended already is told by what it said
            channel.sendall(_script(command, sign, sudo))
        return f"{sign}\n".encode(), _await(channel, sign, user, peer, timeout, sudo, password)
    except BaseException as error:
        is_refused = isinstance(error, paramiko.SSHException) and channel.get_transport().is_active()
        with suppress(*FOREIGN):
            channel.close()
        if is_refused:
            what = f"{peer}: the host refuses to run commands for {user}"
            raise AuthenticationError(what, remedy=_FORCED.format(user=user)) from error
        raise


def _script(command: Sequence[str], sign: str, sudo: bool) -> bytes:
    """Return the script for sh. It doesn't contain the sign itself: a command that prints its input must not be taken for a shell."""
    say = f"say() {{ printf '%s%s\\n' {sign[:12]} {sign[12:]}; }}; say; say >&2"
    if not sudo:
        return f"{say}; exec {shlex.join(command)}\n".encode(errors="surrogateescape")
    # -k: whatever was typed there before doesn't count. sudo speaks English, the command as it would without us.
    by_sudo = ["sudo", "-k", "-S", "-H", "-p", f"{sign}?", "--", "sh", "-c", f'unset LC_ALL; {say}; exec "$@"', "sh", *command]
    return f"LC_ALL=C exec {shlex.join(by_sudo)}\n".encode(errors="surrogateescape")


def _await(channel: paramiko.Channel, sign: str, user: str, peer: str, timeout: float, sudo: bool, password: str | None) -> bytes:
    """Pass over everything before the sign, and tell sudo the password when it asks. Returns what came on stderr."""
    output, said = bytearray(), bytearray()
    end, prompt = f"{sign}\n".encode(), f"{sign}?".encode()
    asked = 0
    limit = min(START_WAIT, 0.9 * timeout)  # before the watchdog, which doesn't know what was said
    deadline = time.monotonic() + limit
    while not output.endswith(end):
        if channel.recv_stderr_ready():
            said += channel.recv_stderr(4096)
            if sudo and said.count(prompt) > asked:  # nobody else may ask
                asked += 1
                if password is None:
                    what, remedy = _SUDO["a password is required"]
                    raise PasswordWantedError(f"{peer}: {what.format(user=user)}", remedy=remedy.format(user=user))
                if asked > 1:
                    raise _sudo_error(b"Sorry, try again.", user, peer)
                channel.sendall(password.encode(errors="surrogateescape") + b"\n")
                deadline = time.monotonic() + limit
        elif channel.recv_ready():
            output += channel.recv(_missing(output, end))  # not a byte more: the rest is the command's
        elif channel.closed or channel.eof_received:
            raise _nothing_ran(channel, bytes(output), bytes(said).replace(prompt, b""), user, peer, sudo)
        elif time.monotonic() > deadline:
            heard = _heard(output, said)
            raise TransportTimeoutError(
                f"{peer}: the login shell of {user} didn't run sh within {limit:g} s" + (f": it said {heard!r}" if heard else ""),
                remedy="look at its login scripts, ForceCommand in the host's sshd_config and command= in authorized_keys: "
                "something waits there",
            )
        else:
            time.sleep(_POLL)
        # The script itself comes back from cat and the like.
        if len(output) + len(said) > NOISE_MAX or (output.endswith(b"\n") and f"{sign[:12]} {sign[12:]}".encode() in output):
            raise AuthenticationError(
                f"{peer}: for {user} the host runs another program than a shell: it said {_heard(output[:1000], b'')!r}",
                remedy=_FORCED.format(user=user),
            )

    return bytes(said)


def _missing(output: bytearray, end: bytes) -> int:
    """Return the number of bytes that ``output`` lacks at least until it ends with ``end``."""
    return next(len(end) - size for size in range(min(len(end), len(output)), -1, -1) if output.endswith(end[:size]))


def _nothing_ran(channel: paramiko.Channel, output: bytes, said: bytes, user: str, peer: str, sudo: bool) -> TransportError:
    """Return the error of a login shell that ended without running the script, or of sudo."""
    deadline = time.monotonic() + _STATUS_WAIT
    while not channel.exit_status_ready() and time.monotonic() < deadline:
        time.sleep(_POLL)
    status = channel.recv_exit_status() if channel.exit_status_ready() else -1
    if status < 0:
        return ConnectionLostError(
            f"{peer}: the connection was lost, or a signal came, as the login shell of {user} started",
            remedy="if that goes on, look at its limits there (ulimit, memory) and at sshd's log (journalctl -u ssh)",
        )
    heard = _heard(output, said)
    found = next((each for words, each in _SILENT.items() if words in heard.lower()), None)
    if found is None and sudo:
        return _sudo_error(said, user, peer)
    if found is None and status == NOT_FOUND:
        found = ("its login shell finds no sh on its PATH", _SILENT["restricted"][1])
    if found is None and not heard:
        found = ("its login shell ended at once, as /bin/false does", _OTHER_SHELL)
    what, remedy = found or ("its login shell, or a ForceCommand, ended without running anything", f"{_OTHER_SHELL}; or {_FORCED}")
    told = f" (exit status {status}" + (f"; it said {heard!r})" if heard else ")")
    return AuthenticationError(f"{peer}: {user} can't run commands there: {what}{told}", remedy=remedy.format(user=user))


def _sudo_error(said: bytes, user: str, peer: str) -> AuthenticationError:
    text = output_text(said)
    for words, (what, remedy) in _SUDO.items():
        if words in text:
            return AuthenticationError(f"{peer}: {what.format(user=user)}", remedy=remedy.format(user=user))
    return AuthenticationError(f"{peer}: sudo ran nothing for {user}: it said {shown(text)!r}", remedy="try it there: sudo -k true")


def _heard(output: bytes | bytearray, said: bytes | bytearray) -> str:
    return shown(output_text(bytes(output) + b" " + bytes(said)))
