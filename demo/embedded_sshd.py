"""Serve SSH on machines without OpenSSH's server, for the demo only: one user, one key, commands as child processes.

``python -m demo.embedded_sshd PORT HOST_KEY AUTHORIZED_KEYS HOME`` serves loopback until it is terminated; commands end with their
connection. Leaves out: terminals, forwarding, SFTP, other users.
"""

from __future__ import annotations

import base64
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import paramiko
from paramiko.common import AUTH_FAILED, AUTH_SUCCESSFUL, OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED, OPEN_SUCCEEDED

_PIECE = 32_000
_running: set[subprocess.Popen[bytes]] = set()


class _Connection(paramiko.ServerInterface):
    """Decides what a connection may request."""

    def __init__(self, authorized: paramiko.PKey, home: Path) -> None:
        self._authorized, self._home = authorized, home

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        return AUTH_SUCCESSFUL if key == self._authorized else AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return OPEN_SUCCEEDED if kind == "session" else OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        threading.Thread(target=_run, args=(channel, command.decode(), self._home), daemon=True).start()
        return True


def _run(channel: paramiko.Channel, command: str, home: Path) -> None:
    environment = {"HOME": str(home), "PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8"}
    process = subprocess.Popen(
        ["/bin/sh", "-c", command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=home,
        env=environment,
        bufsize=0,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    _running.add(process)
    feeder = threading.Thread(target=_feed, args=(channel, process), daemon=True)
    errors = threading.Thread(target=_pump, args=(process.stderr.fileno(), channel.sendall_stderr), daemon=True)
    feeder.start()
    errors.start()
    _pump(process.stdout.fileno(), channel.sendall)
    errors.join()
    status = process.wait()
    _running.discard(process)
    with suppress(OSError, EOFError, paramiko.SSHException):
        # As OpenSSH's shell reports it: a signal is 128 and its number.
        channel.send_exit_status(status if status >= 0 else 128 - status)
        channel.close()


def _feed(channel: paramiko.Channel, process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    with suppress(OSError, paramiko.SSHException):
        while data := channel.recv(_PIECE):
            process.stdin.write(data)
    with suppress(OSError):
        process.stdin.close()


def _pump(descriptor: int, send: Callable[[bytes], object]) -> None:
    with suppress(OSError, EOFError, paramiko.SSHException):
        while data := os.read(descriptor, _PIECE):
            send(data)


def _serve(sock: socket.socket, host_key: paramiko.PKey, authorized: paramiko.PKey, home: Path) -> None:
    transport = paramiko.Transport(sock)
    transport.add_server_key(host_key)
    with suppress(EOFError, paramiko.SSHException, OSError):
        transport.start_server(server=_Connection(authorized, home))
        return
    transport.close()


def _end(*_: object) -> None:
    for process in list(_running):
        process.kill()
    os._exit(0)


def main(port: int, host_key: Path, authorized_keys: Path, home: Path) -> None:
    """Serve until terminated."""
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGINT, _end)
    kind, encoded = authorized_keys.read_text().split()[:2]
    authorized = paramiko.PKey.from_type_string(kind, base64.b64decode(encoded))
    own = paramiko.PKey.from_path(host_key)
    with socket.create_server(("127.0.0.1", port)) as listening:
        while True:
            sock, _ = listening.accept()
            threading.Thread(target=_serve, args=(sock, own, authorized, home), daemon=True).start()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4]))
