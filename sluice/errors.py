"""The tree of Sluice's errors.

::

    SluiceError                          exit 1
    ├── BlueprintError                   exit 3   file, line, path, suggestion; SiteError carries all of a site at once
    │   └── SiteError                    exit 3
    ├── TrustError                       exit 4   never retryable
    │   ├── UnknownDistributorError               no trust root is installed for it, or keys that the root doesn't name signed
    │   ├── ReplayedError                         older than the high-water mark
    │   ├── ExpiredError                          signed, but its lifetime is over
    │   ├── TamperedError                         a signature or a digest doesn't match
    │   └── TruncatedError                        fewer bytes than were signed
    ├── StoreError                       exit 5
    │   ├── StoreLockedError                      another process holds the lock; retryable
    │   ├── StoreCorruptError                     content at rest no longer has its digest
    │   │   └── StoreMendedError                  found while sending and repaired: the Channel's next start sends (E4)
    │   └── NoSpaceError                          retryable
    ├── SourceError                      exit 6   a source can't be read, or can't be distributed
    │   ├── SourceMissingError
    │   ├── SourceChangedError                    changed while it was read; retryable
    │   ├── RemovalsError                         a source is empty, or has lost more than ``max_removals``: somebody must allow it
    │   ├── CaseCollisionError                    B4
    │   └── NameImpossibleError                   B5
    ├── TransportError                   exit 7   ``retryable`` as the class says
    │   ├── UnreachableError                      retryable
    │   ├── ConnectionLostError                   retryable
    │   ├── TransportTimeoutError                 retryable
    │   ├── HostKeyError                          not retryable: an administrator must look
    │   ├── AuthenticationError                   not retryable
    │   ├── AgentMissingError                     not retryable: ``sluice subscriber bootstrap``
    │   ├── AgentVersionError                     not retryable
    │   └── ProtocolError                         not retryable: bytes that aren't a frame, or a frame out of turn
    ├── ExtractError                     exit 8
    │   ├── DestinationError                      a destination can't be used
    │   ├── LockedTargetError                     F2; retryable
    │   ├── BaseDiffersError                      the tree that the delta builds on was changed; whole contents are needed
    │   ├── OutOfOrderError                       B3
    │   ├── ActionFailedError                     a pre or post action failed or overran its limit
    │   ├── ReadBackError                         extracted files don't read back as signed
    │   └── UndoFailedError                       the previous files couldn't be restored; names them
    ├── RolloutError                     exit 9
    ├── LedgerError                      exit 10
    │   └── LeaseLostError                        another run took the claim over; retryable
    ├── OrchestratorError                exit 11  Prefect can't be reached, or refuses a request
    ├── MailError                        exit 12  a mail couldn't be handed to its server; retryable
    │   └── NoMailServerError                     no such host, or it refuses the connection: not retryable within a run
    ├── NotConfirmedError                exit 14  it would destroy something, and nobody agreed to it; nothing was changed
    ├── PlanDiffersError                 exit 15  it would change something that the reviewed plan doesn't say; nothing was changed
    └── NotFoundError                    exit 2   no such Distribution, Subscriber, Channel, revision
        └── SupersededError                       the revision was deleted with its baseline: the Channel's next start sends the newest

Rules: the class states ``exit_code`` and ``retryable``, and inherits what it doesn't state; an instance has ``message`` (object and place)
and ``remedy`` (a command or an act), both safe to log. ``code`` (the class's name) travels over the agent protocol; ``error_from_code``
makes the error again. An unmet prerequisite, "not applicable", postponed and inactive are outcomes, not errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar


class SluiceError(Exception):
    """Any error that Sluice reports. ``message`` names object and place; ``remedy`` says what to do."""

    exit_code: ClassVar[int] = 1
    retryable: ClassVar[bool] = False

    def __init_subclass__(cls, *, exit_code: int | None = None, retryable: bool | None = None) -> None:
        cls.exit_code = cls.exit_code if exit_code is None else exit_code
        cls.retryable = cls.retryable if retryable is None else retryable

    def __init__(self, message: str, *, remedy: str = "") -> None:
        self.message = escaped(message, keep="\n")
        self.remedy = escaped(remedy, keep="\n")
        self.is_reported = False  # whether a peer reported it: it concerns the peer's own objects, and is a claim
        super().__init__(self.message)

    @property
    def code(self) -> str:
        """The class's name, which stands for the error in JSON and on the wire."""
        return type(self).__name__

    def __str__(self) -> str:
        return f"{self.message}: {self.remedy}" if self.remedy else self.message


def escaped(text: str, *, keep: str = "") -> str:
    """Escape what no log, ledger or terminal accepts: control characters, and lone surrogates, of names on disk that aren't UTF-8."""
    return text if text.isprintable() else "".join(c if c.isprintable() or c in keep else ascii(c)[1:-1] for c in text)


class BlueprintError(SluiceError, exit_code=3):
    """One error in one blueprint document; ``line`` is 0 if it concerns a file or directory as a whole."""

    def __init__(self, message: str, *, file: str, line: int, path: str = "", remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.file, self.line, self.path = file, line, path
        self.is_consequence = False  # whether another error explains it

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return ": ".join(part for part in (place, self.path, self.message, self.remedy) if part)


class SiteError(SluiceError, exit_code=3):
    """All errors of a site, in order of file and line."""

    def __init__(self, errors: Sequence[BlueprintError]) -> None:
        super().__init__("\n".join(str(e) for e in errors))
        self.errors = tuple(errors)


class TrustError(SluiceError, exit_code=4):
    """The required key didn't sign it, or its bytes aren't the signed ones. A retry can't help."""


class UnknownDistributorError(TrustError):
    """No trust root of this Distributor is installed, or keys that the root doesn't name signed."""


class ReplayedError(TrustError):
    """Older than a version or sequence that was accepted before."""


class ExpiredError(TrustError):
    """Signed, but its lifetime is over."""


class TamperedError(TrustError):
    """A signature or digest doesn't match its bytes."""


class TruncatedError(TrustError):
    """Fewer bytes arrived than were signed."""


class StoreError(SluiceError, exit_code=5):
    """The store of revisions can't serve a request."""


class StoreLockedError(StoreError, retryable=True):
    """Another process builds or receives this Distribution now."""


class StoreCorruptError(StoreError):
    """Content at rest no longer has its digest."""


class StoreMendedError(StoreCorruptError):
    """A file to be sent was damaged at the Distributor. It was set aside and made again: the Channel's next start sends it (E4)."""


class NoSpaceError(StoreError, retryable=True):
    """The file system has less free space than the step needs."""


class SourceError(SluiceError, exit_code=6):
    """A source can't be read or can't be distributed."""


class SourceMissingError(SourceError):
    """A source path doesn't exist or can't be read."""


class SourceChangedError(SourceError, retryable=True):
    """A file changed while it was read."""


class RemovalsError(SourceError):
    """A source became empty, or so much would be removed, everywhere or on one host, that somebody must allow it first."""


class CaseCollisionError(SourceError):
    """Paths that differ only by case (B4)."""


class NameImpossibleError(SourceError):
    """A name that some Subscriber platform can't hold (B5)."""


class TransportError(SluiceError, exit_code=7):
    """The connection to a Subscriber's agent failed."""


class UnreachableError(TransportError, retryable=True):
    """Nothing answers at the address."""


class ConnectionLostError(TransportError, retryable=True):
    """The connection broke during a conversation; bytes that arrived are kept."""


class TransportTimeoutError(TransportError, retryable=True):
    """No progress within ``connection_timeout``."""


class HostKeyError(TransportError):
    """The host presents a key that isn't the pinned one."""


class AuthenticationError(TransportError):
    """The host refuses the sender's identity."""


class AgentMissingError(TransportError):
    """No agent answers on the host."""


class AgentVersionError(TransportError):
    """The agent is too old or too new for the request (F10)."""


class ProtocolError(TransportError):
    """Bytes aren't a frame, or a frame came out of turn."""


class ExtractError(SluiceError, exit_code=8):
    """An extraction on a Subscriber failed."""


class DestinationError(ExtractError):
    """A destination can't be used: a link in the way, no directory, no right."""


class LockedTargetError(ExtractError, retryable=True):
    """A target is locked or immutable (F2)."""


class BaseDiffersError(ExtractError):
    """The extracted tree that a delta builds on was changed; whole contents are needed."""


class OutOfOrderError(ExtractError):
    """A revision may not be extracted before or after the extracted one (B3)."""


class ActionFailedError(ExtractError):
    """A pre or post action failed or exceeded its time limit."""


class ReadBackError(ExtractError):
    """Extracted files don't read back as signed (X2)."""


class UndoFailedError(ExtractError):
    """The previous files couldn't be restored; the message names them."""


class RolloutError(SluiceError, exit_code=9):
    """A group distribution can't serve a request."""


class LedgerError(SluiceError, exit_code=10):
    """The ledger can't be read or written."""


class LeaseLostError(LedgerError, retryable=True):
    """Another run took over a ticket of the send queue after its lease ran out."""


class OrchestratorError(SluiceError, exit_code=11):
    """Prefect can't be reached, or refuses a request."""


class MailError(SluiceError, exit_code=12, retryable=True):
    """A mail couldn't be handed to its server (C7)."""


class NoMailServerError(MailError, retryable=False):
    """The mail server's host is unknown or refuses the connection: waiting within a run changes nothing, the next build tries again."""


class NotConfirmedError(SluiceError, exit_code=14):
    """Something would be destroyed, and nobody agreed to it. Nothing was changed."""


class PlanDiffersError(SluiceError, exit_code=15):
    """An apply would change something that the reviewed plan doesn't say. Nothing was changed."""


class NotFoundError(SluiceError, exit_code=2):
    """No such Distribution, Subscriber, Channel or revision."""


class SupersededError(NotFoundError):
    """A revision was deleted before it was sent, because a newer baseline exists (C3): the Channel's next start sends that."""


def _leaves(cls: type[SluiceError]) -> dict[str, type[SluiceError]]:
    return {cls.__name__: cls} | {name: leaf for sub in cls.__subclasses__() for name, leaf in _leaves(sub).items()}


def error_from_code(code: str, message: str, remedy: str = "") -> SluiceError:
    """Return the error that a peer reported by name; a plain ``SluiceError`` for an unknown name, or one that needs file and line."""
    cls = _leaves(SluiceError).get(code, SluiceError)
    error = (SluiceError if issubclass(cls, BlueprintError | SiteError) else cls)(message, remedy=remedy)
    error.is_reported = True
    return error
