"""The hello of an agent, read as a hostile text (docs/formats.md section 7): every list and word is bounded, and fit to be shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sluice.errors import NotFoundError, ProtocolError
from sluice.formats.canonical import Fields
from sluice.model.belief import HeldState, Identity
from sluice.model.feature import named
from sluice.model.names import name_is_valid
from sluice.model.revision import RevisionNumber
from sluice.rules.wording import printable
from sluice.trust.roles import role_is_known

LIST_MAX = 10_000
"""Most Distributions, roles, features or codecs of a hello."""
WORD_MAX = 64
"""Most characters of a word in a hello."""
VERSION_MAX = 2**63 - 1
"""Highest version of metadata that an agent may claim: the ledger keeps it."""


@dataclass(frozen=True, slots=True)
class AgentHello:
    """An agent's claims about itself: good for choosing what to send, never for believing that something arrived."""

    agent: str
    """Its version."""
    subscriber: str
    platform: str
    python: str
    codecs: frozenset[str]
    memory: int
    """Bytes."""
    free: int
    """Bytes on the working directory's file system."""
    features: frozenset[str]
    trust: Mapping[str, int] | None
    """Held metadata versions by role; None: it doesn't know this Distributor."""
    distributions: Mapping[str, HeldState]
    sequence: int
    """The highest of an order that it accepted for any Distribution; 0 is none."""
    identity: Identity | None = None
    """None: an older agent, which doesn't say."""

    def of(self, distribution: str) -> HeldState:
        """Return its claim about one Distribution."""
        return self.distributions.get(distribution, HeldState())


def hello_of(fields: Fields) -> AgentHello:
    """Parse a hello, its type taken. Raises ProtocolError, TrustError."""
    distributions = _distributions(fields.any("distributions"))
    above = max((state.sequence for state in distributions.values()), default=0)
    hello = AgentHello(
        agent=word_of(fields, "agent"),
        subscriber=_name(fields.text("subscriber")),
        platform=word_of(fields, "platform"),
        python=word_of(fields, "python"),
        codecs=_words(fields, "codecs"),
        memory=fields.number("memory"),
        free=fields.number("free"),
        features=_features(fields),
        trust=versions_of(fields.any("trust")) if fields.optional("trust") else None,
        distributions=distributions,
        sequence=fields.number("sequence") if fields.optional("sequence") else above,  # sent if it was asked about some alone
        identity=_identity(fields.any("identity")) if fields.optional("identity") else None,
    )
    fields.done()
    return hello


def _identity(value: Any) -> Identity:
    with Fields(value, what="the agent's identity") as fields:
        key, host, instance = (word_of(fields, name) for name in ("key", "host", "instance"))
        return Identity(key, printable(fields.text("directory")), host, instance)


def versions_of(value: Any) -> Mapping[str, int]:
    """Check metadata versions by role. Raises ProtocolError."""
    if not isinstance(value, dict) or len(value) > LIST_MAX:
        raise ProtocolError(f"the agent's trust is no object of at most {LIST_MAX}")
    for role, version in value.items():
        if not role_is_known(role) or type(version) is not int or not 0 <= version <= VERSION_MAX:
            raise ProtocolError(f"the agent's trust has {role!r:.80}: {version!r:.20}")
    return value


def word_of(fields: Fields, key: str) -> str:
    """Take a text that may be shown as it is: it ends up in terminals and logs. Raises ProtocolError, TamperedError."""
    word = fields.text(key, limit=WORD_MAX)
    if not word.isprintable():
        raise ProtocolError(f"the agent's {key} is {word!r}, which isn't printable")
    return word


def _distributions(value: Any) -> Mapping[str, HeldState]:
    if not isinstance(value, dict) or len(value) > LIST_MAX:
        raise ProtocolError(f"the agent's distributions are no object of at most {LIST_MAX}")
    found = {}
    for name, each in value.items():
        fields = Fields(each, what=f"the agent's {_name(name)}")
        found[name] = HeldState(_revision(fields, "held"), _revision(fields, "extracted"), fields.number("sequence"))
        fields.done()
    return found


def _revision(fields: Fields, key: str) -> RevisionNumber | None:
    if not fields.optional(key):
        return None
    try:
        return RevisionNumber.parse(fields.text(key))
    except NotFoundError as error:
        raise ProtocolError(f"the agent's {key}: {error.message}") from error


def _words(fields: Fields, key: str) -> frozenset[str]:
    words = fields.items(key, limit=LIST_MAX)
    if not all(isinstance(word, str) and len(word) <= WORD_MAX and word.isprintable() for word in words):
        raise ProtocolError(f"the agent's {key} are no words")
    return frozenset(words)


def _features(fields: Fields) -> frozenset[str]:
    """Take them as counted; an older agent lists them."""
    if not fields.optional("first"):
        return _words(fields, "features")
    return named(fields.number("first"), _words(fields, "lacking") if fields.optional("lacking") else ())


def _name(name: str) -> str:
    if not name_is_valid(name):
        raise ProtocolError(f"the agent names {name!r:.80}, which is no name")
    return name
