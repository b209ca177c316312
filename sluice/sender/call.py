"""Call a Subscriber's agent: connect, say hello, and check that it is the right one."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sluice.errors import AgentMissingError, AgentVersionError, UnknownDistributorError
from sluice.model.site import Subscriber
from sluice.ports import Transport
from sluice.rules.features import remedy_for_missing
from sluice.sender.conversation import Conversation
from sluice.sender.hello import AgentHello

CODEC = "zstd"
"""What every agent must be able to read."""


@dataclass(frozen=True, slots=True)
class Call:
    """An agent that answered. Close the conversation when done."""

    conversation: Conversation
    hello: AgentHello

    def close(self) -> None:
        """End it; may be called twice."""
        self.conversation.close()


def call_agent(subscriber: Subscriber, distributor: str, *, transport: Transport, timeout: float, about: Collection[str] = ()) -> Call:
    """Connect and greet.

    Args:
        about: Distributions that the call is about; none: all.
        timeout: Seconds without progress (D8).
    Raises:
        TransportError: It can't be reached or talks nonsense; see ``retryable``.
        AgentMissingError: It has no agent, or another Subscriber's answers at the address.
        AgentVersionError: Its agent is too old or too new (F10).
        UnknownDistributorError: No trust root of this Distributor is installed there.
    """
    who = f"Subscriber {subscriber.name} ({subscriber.address})"
    conversation = Conversation(transport.connect(subscriber, timeout=timeout), who=who)
    try:
        hello = conversation.hello(distributor, sorted(about))
        if hello.subscriber != subscriber.name:
            raise AgentMissingError(
                f"{who}: the agent there says it is {hello.subscriber}",
                remedy=f"correct address: or working_directory: of {subscriber.name}: this is another Subscriber's agent",
            )
        if CODEC not in hello.codecs:
            raise AgentVersionError(f"{who}: its agent can't read {CODEC}", remedy=f"run: sluice subscriber bootstrap {subscriber.name}")
        if hello.trust is None:
            raise UnknownDistributorError(f"{who} doesn't know Distributor {distributor}", remedy=f"run: sluice trust push {distributor}")
    except BaseException:
        conversation.close()
        raise
    return Call(conversation, hello)


def require(hello: AgentHello, needs: Collection[str], distribution: str) -> None:
    """Check, before anything is sent or ordered, that an agent has the features a Distribution needs (F10).

    Args:
        needs: See ``rules.features.needed_features``. Further features of the agent don't matter.
    Raises:
        AgentVersionError: Names the missing features.
    """
    if lacking := sorted(set(needs) - hello.features):
        raise AgentVersionError(
            f"the agent {hello.agent} of Subscriber {hello.subscriber} can't do what {distribution} needs: {', '.join(lacking)}",
            remedy=remedy_for_missing(lacking, hello.subscriber),
        )
