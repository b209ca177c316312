"""The Transport port: ways to the agents on Subscribers. Adapters: ``infra/transports/``."""

from __future__ import annotations

from typing import Protocol

from sluice.model.site import Subscriber


class Stream(Protocol):
    """The bytes of a conversation with one agent, in both directions."""

    def write(self, data: bytes | memoryview) -> None:
        """Write everything. Raises ConnectionLostError or TransportTimeoutError."""

    def read(self, size: int) -> bytes:
        """Return one to ``size`` bytes; ``b""`` at the end. Raises ConnectionLostError or TransportTimeoutError."""

    def readable(self) -> bool:
        """Whether a read would return at once; never blocks."""

    def close(self) -> None:
        """End the conversation; may be called twice."""


class Transport(Protocol):
    """A way to Subscribers: SSH or local."""

    def connect(self, subscriber: Subscriber, *, timeout: float) -> Stream:
        """Start ``sluice-agent serve`` on the Subscriber and open a stream to its stdin and stdout.

        Args:
            timeout: Seconds without progress after which any call on the stream raises TransportTimeoutError.
        Raises:
            UnreachableError, HostKeyError, AuthenticationError, AgentMissingError, TransportTimeoutError.
            BlueprintError: The client configuration that the Subscriber's document names can't be honoured.
        """
