"""The seam at which python-tuf's exceptions become ours: each refusal has a class of its own (docs/formats.md section 5)."""

from __future__ import annotations

import json
from collections.abc import Mapping

from tuf.api.exceptions import (
    BadVersionNumberError,
    DownloadError,
    DownloadHTTPError,
    ExpiredMetadataError,
    RepositoryError,
    UnsignedMetadataError,
)
from tuf.api.serialization import DeserializationError

from sluice.errors import ExpiredError, ReplayedError, TamperedError, TruncatedError, TrustError, UnknownDistributorError
from sluice.trust.roles import ROOT, SNAPSHOT, TARGETS, TIMESTAMP, split_metadata_file

QUOTED_MAX = 500
"""Most characters of python-tuf's messages that are quoted: they quote received bytes."""
_AGAIN = "repeat `sluice send`"


class Translation:
    """A context that raises a TrustError in place of python-tuf's exceptions about one Distributor's metadata.

    Args:
        received: Files as received, by name: their defects tell one refusal from another.
        root: The trusted root, whose keys tell an unknown key's signature from a damaged one.
    """

    def __init__(self, distributor: str, received: Mapping[str, bytes], root: bytes) -> None:
        self._subject = f"metadata of Distributor {distributor}"
        self._distributor = distributor
        self._received = received
        try:
            self._known_keys = set(json.loads(root)["signed"]["keys"])
        except (ValueError, KeyError, TypeError):
            self._known_keys = set()

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, RepositoryError | DownloadError | DeserializationError | ValueError | KeyError | TypeError):
            raise self._translated(error) from error

    def _translated(self, error: Exception) -> TrustError:
        text = f"{error!s:.{QUOTED_MAX}}"
        if isinstance(error, ExpiredMetadataError):
            return ExpiredError(
                f"{self._subject} is expired: {text}", remedy=f"run `sluice refresh {self._distributor}`, then repeat `sluice send`"
            )
        if isinstance(error, DownloadHTTPError):
            return TruncatedError(f"{self._subject} is incomplete: {text}", remedy=_AGAIN)
        if isinstance(error, UnsignedMetadataError) and self._has_unknown_signer():
            return UnknownDistributorError(
                f"{self._subject} is signed by keys that its trust root here doesn't name",
                remedy=f"if it is the right Distributor, run `sluice trust push {self._distributor}`",
            )
        if isinstance(error, BadVersionNumberError):
            if "must be >=" in text:
                return ReplayedError(f"{self._subject} is older than the accepted one: {text}", remedy=_AGAIN)
            return TamperedError(f"{self._subject} mixes versions: {text}", remedy=_AGAIN)
        if isinstance(error, DeserializationError):
            for name, data in self._received.items():
                if is_cut(data):
                    return TruncatedError(f"{self._subject}: {name} ends too early", remedy=_AGAIN)
        return TamperedError(f"{self._subject} can't be believed: {text}", remedy=_AGAIN)

    def _has_unknown_signer(self) -> bool:
        """Whether a received top-level file has no signature by a key of the trusted root."""
        for name, data in self._received.items():
            parts = split_metadata_file(name)
            if parts is not None and parts[0] in (ROOT, TIMESTAMP, SNAPSHOT, TARGETS):
                try:
                    signers = {signature["keyid"] for signature in json.loads(data)["signatures"]}
                except (ValueError, KeyError, TypeError, RecursionError):
                    continue
                if not signers & self._known_keys:
                    return True
        return False


def is_cut(data: bytes) -> bool:
    """Whether the bytes are JSON that was cut off, rather than something else."""
    try:
        json.loads(data)
    except json.JSONDecodeError as error:
        return not data.strip() or error.pos >= len(error.doc.rstrip()) or "Unterminated" in error.msg
    except (ValueError, RecursionError):
        return False
    return False
