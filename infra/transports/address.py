"""Which transport an address is reached by: the Transport port over all of them."""

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
    """Picks by the address's scheme. paramiko is loaded with the first ``ssh://``."""

    def __init__(self, site_directory: Path) -> None:
        """Relative paths of identities and known_hosts files are below ``site_directory``."""
        self._site = site_directory

    def connect(self, subscriber: Subscriber, *, timeout: float) -> Stream:
        """As the port says."""
        return self._of(subscriber).connect(subscriber, timeout=timeout)

    def login(self, subscriber: Subscriber, *, timeout: float) -> SshLogin | LocalLogin:
        """To run commands as the address's account: for bootstrap."""
        return self._of(subscriber).login(subscriber, timeout=timeout)

    def _of(self, subscriber: Subscriber) -> SshTransport | LocalTransport:
        scheme = subscriber.address.scheme
        if scheme == "local":
            return LocalTransport()
        if scheme == "ssh":
            from infra.transports.ssh import SshTransport

            return SshTransport(self._site)
        raise TransportError(f"Subscriber {subscriber.name}: no transport reaches {scheme}: addresses yet", remedy="use ssh: or local:")
