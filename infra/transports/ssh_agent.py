"""Keys of an ssh-agent, and the words for each way in which it can fail to be of help."""

from __future__ import annotations

import os
import socket
from typing import Any, cast

import paramiko
from paramiko.agent import AgentSSH

from infra.transports.ssh_connection import shown
from infra.transports.ssh_errors import FOREIGN
from infra.transports.ssh_way import Hop
from sluice.errors import AuthenticationError

AGENT_VARIABLE = "SSH_AUTH_SOCK"
_LIST, _LISTED = b"\x0b", 12
"""The question for all keys, and its answer, in the agent's protocol."""


class Agent(AgentSSH):
    """The keys of the ssh-agent that a hop names."""

    def __init__(self, hop: Hop, timeout: float) -> None:
        super().__init__()
        path = hop.agent or os.environ.get(AGENT_VARIABLE, "")
        if not path:
            raise AuthenticationError(
                f"{hop.peer}: an ssh-agent is asked for, and {AGENT_VARIABLE} isn't set in this process",
                remedy='start one and add the key (eval "$(ssh-agent)"; ssh-add KEY), name its socket by IdentityAgent in the client '
                "configuration, or name the key file as identity: a worker of systemd has no agent",
            )
        self.path, self.peer = path, hop.peer
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(timeout)
        try:
            sock.connect(path)
            self._connect(sock)
        except FOREIGN as error:
            sock.close()
            why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise AuthenticationError(
                f"{hop.peer}: no ssh-agent answers at {path}: {why}",
                remedy='start one (eval "$(ssh-agent)"), or correct SSH_AUTH_SOCK; ssh-add -l shows whether it answers',
            ) from error
        if not self.keys:
            sock.close()
            raise AuthenticationError(
                f"{hop.peer}: the ssh-agent at {path} shows no keys: it has none, or it is locked",
                remedy="add the key with ssh-add KEY, or unlock the agent with ssh-add -X",
            )

    def _connect(self, sock: socket.socket) -> None:
        """List its keys; paramiko's own stops at a comment that isn't UTF-8."""
        self._conn = sock
        kind, answer = self._send_message(_LIST)  # type: ignore[attr-defined] # its types leave it out
        if kind != _LISTED:
            raise paramiko.SSHException("it lists no keys")
        found = [(answer.get_string(), answer.get_string()) for _ in range(answer.get_int())]
        self.keys = [AgentKey(self, blob, comment.decode(errors="replace")) for blob, comment in found]

    def close(self) -> None:
        """Leave it."""
        self._close()  # type: ignore[attr-defined] # its types leave it out


class AgentKey(paramiko.agent.AgentKey):
    """A key of an ssh-agent; paramiko's own forgets that a certificate is one."""

    agent: Agent
    public_blob: Any
    """The certificate, if it is one or goes with one."""

    def __init__(self, agent: Agent, blob: bytes, comment: str) -> None:
        super().__init__(agent, blob, comment)
        self.public_blob = getattr(cast(Any, self).inner_key, "public_blob", None)

    def sign_ssh_data(self, data: Any, algorithm: str | None = None) -> Any:
        """Have the agent sign. Raises AuthenticationError: it refuses."""
        try:
            return super().sign_ssh_data(data, algorithm)
        except FOREIGN as error:
            raise AuthenticationError(
                f"{self.agent.peer}: the ssh-agent at {self.agent.path} refuses to sign with {shown(self.comment) or self.get_name()}",
                remedy="confirm it if the agent asks (ssh-add -c), unlock the agent (ssh-add -X), or add the key anew with ssh-add KEY",
            ) from error
