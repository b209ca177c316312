"""Choose the transport by an address: the Transport port over all of them."""

from __future__ import annotations

from pathlib import Path

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
        self._site = site_directory

    def connect(self, subscriber: Subscriber, *, timeout: float) -> Stream:
        """See the port."""
        return self._transport(subscriber).connect(subscriber, timeout=timeout)

    def login(self, subscriber: Subscriber, *, timeout: float) -> SshLogin | LocalLogin:
        """Log in to run commands as the address's account: for bootstrap."""
        return self._transport(subscriber).login(subscriber, timeout=timeout)

    def _transport(self, subscriber: Subscriber) -> SshTransport | LocalTransport:
        scheme = subscriber.address.scheme
        if scheme == "local":
            return LocalTransport()
        if scheme == "ssh":
            from infra.transports.ssh import SshTransport

            return SshTransport(self._site)
        raise TransportError(f"Subscriber {subscriber.name}: no transport reaches {scheme}: addresses yet", remedy="use ssh: or local:")
