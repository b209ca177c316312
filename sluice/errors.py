"""The whole tree of Sluice's errors.

::

    SluiceError                          exit 1
    ├── BlueprintError                   exit 3   file, line, path, suggestion; SiteError carries all of a site at once
    │   └── SiteError                    exit 3
    ├── TrustError                       exit 4   never retryable
    │   ├── UnknownDistributorError               no trust root installed for it, or signed by keys the root doesn't name
    │   ├── ReplayedError                         older than the high-water mark
    │   ├── ExpiredError                          signed, but its lifetime is over
    │   ├── TamperedError                         a signature or a digest doesn't fit
    │   └── TruncatedError                        fewer bytes than were signed
    ├── StoreError                       exit 5
    │   ├── StoreLockedError                      another process holds the lock; retryable
    │   ├── StoreCorruptError                     content at rest no longer has its digest
    │   │   └── StoreMendedError                  found while sending, mended: the Channel's next start sends (E4)
    │   └── NoSpaceError                          retryable
    ├── SourceError                      exit 6   what is to be built can't be read, or can't be distributed
    │   ├── SourceMissingError
    │   ├── SourceChangedError                    changed while it was read; retryable
    │   ├── CaseCollisionError                    B4
    │   └── NameImpossibleError                   B5
    ├── TransportError                   exit 7   ``retryable`` as the class says
    │   ├── UnreachableError                      retryable
    │   ├── ConnectionLostError                   retryable
    │   ├── TransportTimeoutError                 retryable
    │   ├── HostKeyError                          not retryable: somebody must look
    │   ├── AuthenticationError                   not retryable
    │   ├── AgentMissingError                     not retryable: ``sluice subscriber bootstrap``
    │   ├── AgentVersionError                     not retryable
    │   └── ProtocolError                         not retryable: bytes that are no frame, or a frame out of turn
    ├── ExtractError                     exit 8
    │   ├── DestinationError                      a destination can't be used
    │   ├── LockedTargetError                     F2; retryable
    │   ├── BaseDiffersError                      the tree the delta builds on was changed; a whole send is needed
    │   ├── OutOfOrderError                       B3
    │   ├── ActionFailedError                     a pre or post action failed or overran its limit
    │   ├── ReadBackError                         what was extracted doesn't read back as signed
    │   └── UndoFailedError                       the prior files couldn't be restored; names them
    ├── RolloutError                     exit 9
    ├── LedgerError                      exit 10
    │   └── LeaseLostError                        somebody else took the place over; retryable
    ├── OrchestratorError                exit 11  Prefect can't be reached, or refuses
    ├── MailError                        exit 12  a mail couldn't be handed over; retryable
    │   └── NoMailServerError                     nobody listens there, or no such host: not retryable within a run
    └── NotFoundError                    exit 2   no such Distribution, Subscriber, Channel, revision
        └── SupersededError                       what was to be sent went with its baseline: the Channel's next start sends the newest

Rules: the class states ``exit_code`` and ``retryable``; an instance has ``message`` (object, place) and ``remedy`` (what to do),
both safe to log. ``code`` (the class's name) travels over the agent protocol; ``error_from_code`` brings it back.
An unmet prerequisite, "not applicable", postponed and inactive are outcomes, not errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar


class SluiceError(Exception):
    """Anything Sluice reports itself. ``message`` names object and place; ``remedy`` says what to do."""

    exit_code: ClassVar[int] = 1
    retryable: ClassVar[bool] = False

    def __init_subclass__(cls, *, exit_code: int | None = None, retryable: bool | None = None) -> None:
        """Take what a class states of itself; what it doesn't state is its base's."""
        if exit_code is not None:
            cls.exit_code = exit_code
        if retryable is not None:
            cls.retryable = retryable

    def __init__(self, message: str, *, remedy: str = "") -> None:
        self.message = _unicode(message)
        self.remedy = _unicode(remedy)
        self.is_reported = False
        """Whether a peer said it: it is about the peer's own things, and a claim."""
        super().__init__(self.message)

    @property
    def code(self) -> str:
        """The class's name: how the error is named in JSON and on the wire."""
        return type(self).__name__

    def __str__(self) -> str:
        return f"{self.message}: {self.remedy}" if self.remedy else self.message


def _unicode(text: str) -> str:
    """Names on disk that are no UTF-8 stand in messages as lone surrogates, which no log, ledger or terminal takes."""
    return text.encode("utf-8", "backslashreplace").decode()


class BlueprintError(SluiceError, exit_code=3):
    """One error in one blueprint document; ``line`` is 0 where it is of a file or directory as a whole."""

    def __init__(self, message: str, *, file: str, line: int, path: str = "", remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.file = file
        self.line = line
        self.path = path

    def __str__(self) -> str:
        what = f"{self.path}: {self.message}" if self.path else self.message
        place = f"{self.file}:{self.line}: {what}" if self.line else f"{self.file}: {what}"
        return f"{place}: {self.remedy}" if self.remedy else place


class SiteError(SluiceError, exit_code=3):
    """Every error of a site at once, in file and line order."""

    def __init__(self, errors: Sequence[BlueprintError]) -> None:
        super().__init__("\n".join(str(e) for e in errors))
        self.errors = tuple(errors)


class TrustError(SluiceError, exit_code=4):
    """Something wasn't signed by whom it must be, or isn't what was signed. Trying again can't help."""


class UnknownDistributorError(TrustError):
    """No trust root of this Distributor is installed, or other keys signed."""


class ReplayedError(TrustError):
    """Older than what was accepted before."""


class ExpiredError(TrustError):
    """Signed, but its lifetime is over."""


class TamperedError(TrustError):
    """A signature or digest doesn't fit its bytes."""


class TruncatedError(TrustError):
    """Fewer bytes than were signed."""


class StoreError(SluiceError, exit_code=5):
    """The store of revisions can't do what is asked."""


class StoreLockedError(StoreError, retryable=True):
    """Another process builds or receives this Distribution now."""


class StoreCorruptError(StoreError):
    """Content at rest no longer has its digest."""


class StoreMendedError(StoreCorruptError):
    """What was to be sent was damaged at the Distributor. It was set aside and made again: the Channel's next start sends it (E4)."""


class NoSpaceError(StoreError, retryable=True):
    """Less free space than the step needs."""


class SourceError(SluiceError, exit_code=6):
    """What is to be built can't be read or can't be distributed."""


class SourceMissingError(SourceError):
    """A source path doesn't exist or can't be read."""


class SourceChangedError(SourceError, retryable=True):
    """A file changed while it was read."""


class CaseCollisionError(SourceError):
    """Paths that differ only by case (B4)."""


class NameImpossibleError(SourceError):
    """A name that some Subscriber platform can't hold (B5)."""


class TransportError(SluiceError, exit_code=7):
    """The way to a Subscriber."""


class UnreachableError(TransportError, retryable=True):
    """Nothing answers at the address."""


class ConnectionLostError(TransportError, retryable=True):
    """The connection broke under way; what arrived is kept."""


class TransportTimeoutError(TransportError, retryable=True):
    """No progress within ``connection_timeout``."""


class HostKeyError(TransportError):
    """The host shows a key that isn't the pinned one."""


class AuthenticationError(TransportError):
    """The host refuses our identity."""


class AgentMissingError(TransportError):
    """No agent answers on the host."""


class AgentVersionError(TransportError):
    """The agent is too old or too new for what is asked (F10)."""


class ProtocolError(TransportError):
    """Bytes that are no frame, or a frame out of turn."""


class ExtractError(SluiceError, exit_code=8):
    """The extraction on a Subscriber."""


class DestinationError(ExtractError):
    """A destination can't be used: a link in the way, no directory, no right."""


class LockedTargetError(ExtractError, retryable=True):
    """A target is locked or immutable (F2)."""


class BaseDiffersError(ExtractError):
    """The extracted tree a delta builds on was changed; whole contents are needed."""


class OutOfOrderError(ExtractError):
    """A revision may not be extracted before or after what is there (B3)."""


class ActionFailedError(ExtractError):
    """A pre or post action failed or overran its limit."""


class ReadBackError(ExtractError):
    """What was extracted doesn't read back as signed (X2)."""


class UndoFailedError(ExtractError):
    """The prior files couldn't be restored; the message names them."""


class RolloutError(SluiceError, exit_code=9):
    """A group distribution can't do what is asked."""


class LedgerError(SluiceError, exit_code=10):
    """The ledger can't be read or written."""


class LeaseLostError(LedgerError, retryable=True):
    """A place in the send queue was taken over after its lease ran out."""


class OrchestratorError(SluiceError, exit_code=11):
    """Prefect can't be reached, or refuses what is asked."""


class MailError(SluiceError, exit_code=12, retryable=True):
    """A mail couldn't be handed to its server (C7)."""


class NoMailServerError(MailError, retryable=False):
    """The mail server's host is unknown or refuses the connection: waiting within a run changes nothing, the next build tries again."""


class NotFoundError(SluiceError, exit_code=2):
    """No such Distribution, Subscriber, Channel or revision."""


class SupersededError(NotFoundError):
    """A revision went while it was to be sent, because a newer baseline stands (C3): the Channel's next start sends that."""


def _leaves(cls: type[SluiceError]) -> dict[str, type[SluiceError]]:
    found = {cls.__name__: cls}
    for sub in cls.__subclasses__():
        found |= _leaves(sub)
    return found


def error_from_code(code: str, message: str, remedy: str = "") -> SluiceError:
    """The error a peer reported by name; an unknown name (a newer peer) becomes a plain ``SluiceError``.

    Blueprint errors need file and line and never travel.
    """
    cls = _leaves(SluiceError).get(code, SluiceError)
    if issubclass(cls, BlueprintError | SiteError):
        cls = SluiceError
    error = cls(message, remedy=remedy)
    error.is_reported = True
    return error
