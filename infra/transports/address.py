"""Choose the transport by an address: the Transport port over all of them."""

from __future__ import annotations

from pathlib import Path

from infra.transports.lines import Lines
from infra.transports.local import LocalLogin, LocalTransport
from sluice.errors import TransportError
from sluice.model.site import Subscriber
from sluice.ports import Stream

TYPE_CHECKING = False
if TYPE_CHECKING:
    from infra.transports.ssh import SshLogin, SshTransport


class AddressTransport:
    """Chooses by the address's scheme. paramiko is imported with the first ``ssh://``."""

    def __init__(self, site_directory: Path) -> None:
        """Take the directory for relative paths of identities and known_hosts files."""
        self._site, self._lines = site_directory, Lines()

    def connect(self, subscriber: Subscriber, *, timeout: float) -> Stream:
        """See the port."""
        return self._transport(subscriber).connect(subscriber, timeout=timeout)

    def login(self, subscriber: Subscriber, *, timeout: float) -> SshLogin | LocalLogin:
        """Log in to run commands as the address's account: for bootstrap."""
        return self._transport(subscriber).login(subscriber, timeout=timeout)

    def close(self) -> None:
        """Break off whatever waits for a host, from any thread; nothing can be opened any more."""
        self._lines.close()

    def _transport(self, subscriber: Subscriber) -> SshTransport | LocalTransport:
        scheme = subscriber.address.scheme
        if scheme == "local":
            return LocalTransport(self._lines)
        if scheme == "ssh":
            from infra.transports.ssh import SshTransport

            return SshTransport(self._site, self._lines)
        raise TransportError(f"Subscriber {subscriber.name}: no transport reaches {scheme}: addresses yet", remedy="use ssh: or local:")
