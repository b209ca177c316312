"""The objects of a site (requirements A): Distributor, Subscriber, Channel, Distribution, and the Site that holds them.

Frozen data, complete: defaults are applied and their origin is kept in ``origins`` (A15), selectors are resolved into names.
``sluice.blueprint`` reads the documents and validates them; nothing here reads files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from pathlib import PurePosixPath
from typing import TypeVar

from sluice.errors import NotFoundError
from sluice.model.action import Action
from sluice.model.address import DIRECT
from sluice.model.address import Address as Address
from sluice.model.address import Ssh as Ssh
from sluice.model.locked import FAILS_AT_ONCE, Locked
from sluice.model.removals import USUAL, RemovalLimit
from sluice.model.schedule import IMMEDIATELY, NEVER, Schedule


class Priority(StrEnum):
    """Send priority (D10). High goes before medium, medium before low, never mixed."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"

    @property
    def rank(self) -> int:
        """0 for high, 1 medium, 2 low: sorts in sending order."""
        return ("high", "medium", "low").index(self.value)


class Copy(StrEnum):
    """Which files an extraction copies (B6): those that differ on the Subscriber, or all."""

    DIFFERING = "differing"
    ALL = "all"


class Effort(StrEnum):
    """How much CPU a delta may cost: the more, the smaller it is."""

    FAST = "fast"
    DEFAULT = "default"
    MAX = "max"


class Synchronize(StrEnum):
    """Which paths an extraction removes from a destination directory (C9)."""

    NO = "no"
    YES = "yes"
    """Paths that an earlier revision placed and this one lacks."""
    MIRROR = "mirror"
    """Every path that this revision lacks, including foreign ones."""


class DirectoryMode(StrEnum):
    """Whose mode, owner, attributes and time directories have that stood before anything was placed there (B2)."""

    KEEP = "keep"
    """Their own."""
    SET = "set"
    """The source's, like directories that were placed."""


class ShownPhases(StrEnum):
    """Which phases of an extraction are task runs in Prefect (J6); a failed one always is."""

    AUTO = "auto"
    """All up to 100 Subscribers in a run, beyond that the long ones."""
    ALWAYS = "always"
    LONG = "long"
    """Those that last over 3 s."""
    NEVER = "never"


class DistributionType(StrEnum):
    """The types of Distribution that this version builds (B1)."""

    FILE = "file"


@dataclass(frozen=True, slots=True)
class Origin:
    """The origin of an effective setting: a document of the site, or ``built-in``."""

    source: str
    """``file:line`` of the document, ``defaults file:line``, or ``built-in``."""


@dataclass(frozen=True, slots=True)
class RetryRule:
    """When a failed send is retried (D7). TED: every 2 minutes for 30 minutes, then at the Channel's next start."""

    every: timedelta = timedelta(minutes=2)
    for_: timedelta = timedelta(minutes=30)


@dataclass(frozen=True, slots=True)
class Mail:
    """The SMTP server for a Distributor's mail (C7)."""

    host: str
    port: int
    sender: str
    """The address in ``From``."""


@dataclass(frozen=True, slots=True)
class Notify:
    """Mail for each revision after which at most ``when_left`` remain until the maximum (C7)."""

    to: tuple[str, ...]
    when_left: int


@dataclass(frozen=True, slots=True)
class Distributor:
    """The server that owns, builds and sends Distributions (TED Distributor)."""

    name: str
    working_directory: PurePosixPath
    description: str = ""
    refresh: Schedule = NEVER
    max_concurrent: int | None = None
    retry: RetryRule = RetryRule()
    connection_timeout: timedelta = timedelta(seconds=300)
    min_free: int = 0
    """Bytes that must stay free on the working directory's file system."""
    mail: Mail | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    """Properties that ``where`` of a Defaults document can select a Distributor by."""
    origins: Mapping[str, Origin] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Subscriber:
    """A server that receives and extracts (TED Subscriber)."""

    name: str
    address: Address
    working_directory: PurePosixPath
    description: str = ""
    active: bool = True
    host_key: str = ""
    """``type base64`` as in known_hosts; pinned."""
    host_keys: str = ""
    """Path of a known_hosts file, absolute or below the site; either this or ``host_key`` for ssh."""
    identity: str = ""
    """Path of the private key with which the sender logs in, absolute or below the site."""
    ssh: Ssh = DIRECT
    platform: str = ""
    connection_timeout: timedelta | None = None
    min_free: int = 0
    """Bytes that must stay free there, in the working directory and at every destination."""
    extract: Schedule = IMMEDIATELY
    variables: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    origins: Mapping[str, Origin] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Subscription:
    """One Subscriber's membership in a Channel (A5, A7)."""

    subscriber: str
    active: bool = True


@dataclass(frozen=True, slots=True)
class Channel:
    """Joins Distributions with Subscribers and has the Send schedule (TED Channel)."""

    name: str
    description: str = ""
    active: bool = True
    send: Schedule = NEVER
    subscriptions: tuple[Subscription, ...] = ()
    """Selectors resolved, in name order."""
    origins: Mapping[str, Origin] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FileSource:
    """One ``files:`` entry of a File Distribution (B2): a file or directory of the Distributor and its destination."""

    source: PurePosixPath
    destination: str
    """A template over the Subscriber's variables."""
    exclude: tuple[str, ...] = ()
    """Globs against the path below ``source``."""
    mode: str = "keep"
    """``keep``, or the octal mode of every file."""
    synchronize: Synchronize = Synchronize.NO
    owner: str = ""
    """Empty: the account that extracts; ``keep``: the source's; else ``user:group`` of every entry. Needs an agent that runs as root."""
    xattrs: str | Mapping[str, str] = ""
    """Empty: none; ``keep``: the source's; else those of every file."""
    max_removals: RemovalLimit = USUAL
    directory_mode: DirectoryMode = DirectoryMode.KEEP


@dataclass(frozen=True, slots=True)
class Distribution:
    """A named set of files, owned by one Distributor, listed in any number of Channels (A1 to A3)."""

    name: str
    distributor: str
    type: DistributionType
    description: str = ""
    renamed_from: str = ""
    """Its name before, under the same Distributor: whatever that placed on a Subscriber is its own."""
    channels: tuple[str, ...] = ()
    active: bool = True
    priority: Priority = Priority.MEDIUM
    build: Schedule = NEVER
    send_immediately: bool = False
    extract_immediately: bool = False
    max_revisions: int | None = 10
    """None is unlimited."""
    notify: Notify | None = None
    effort: Effort = Effort.DEFAULT
    platforms: tuple[str, ...] = ()
    verify: bool = False
    copy: Copy = Copy.DIFFERING
    rollback: bool = True
    locked: Locked = FAILS_AT_ONCE
    phases: ShownPhases = ShownPhases.AUTO
    case_sensitive_only: bool = False
    """Whether ``platforms`` names only case-sensitive ones, so that B4's check doesn't apply."""
    files: tuple[FileSource, ...] = ()
    pre_actions: tuple[Action, ...] = ()
    post_actions: tuple[Action, ...] = ()
    origins: Mapping[str, Origin] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Site:
    """A whole validated site, by name."""

    directory: str
    distributors: Mapping[str, Distributor]
    subscribers: Mapping[str, Subscriber]
    channels: Mapping[str, Channel]
    distributions: Mapping[str, Distribution]
    id: str = ""
    """What its file ``site-id`` says; empty without one."""

    def distributor(self, name: str) -> Distributor:
        """Return it by its name; NotFoundError lists the names that exist."""
        return _get(self.distributors, name, "Distributor")

    def subscriber(self, name: str) -> Subscriber:
        """Return it by its name; NotFoundError lists the names that exist."""
        return _get(self.subscribers, name, "Subscriber")

    def channel(self, name: str) -> Channel:
        """Return it by its name; NotFoundError lists the names that exist."""
        return _get(self.channels, name, "Channel")

    def distribution(self, name: str) -> Distribution:
        """Return it by its name; NotFoundError lists the names that exist."""
        return _get(self.distributions, name, "Distribution")

    def distributions_of_channel(self, channel: str) -> tuple[Distribution, ...]:
        """Return every Distribution listed in a Channel, in name order."""
        return tuple(d for _, d in sorted(self.distributions.items()) if channel in d.channels)

    def distributions_of_distributor(self, distributor: str) -> tuple[Distribution, ...]:
        """Return every Distribution that a Distributor owns, in name order."""
        return tuple(d for _, d in sorted(self.distributions.items()) if d.distributor == distributor)

    def subscribers_of_distribution(self, distribution: str) -> tuple[str, ...]:
        """Return the names of all Subscribers that its Channels join with it, active or not, in name order."""
        channels = self.distribution(distribution).channels
        return tuple(sorted({s.subscriber for c in channels for s in self.channel(c).subscriptions}))


_T = TypeVar("_T")


def _get(found: Mapping[str, _T], name: str, kind: str) -> _T:
    try:
        return found[name]
    except KeyError:
        known = ", ".join(sorted(found)) or "none"
        raise NotFoundError(f"no {kind} is named {name!r}", remedy=f"the site has: {known}") from None
