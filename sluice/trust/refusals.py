"""The seam at which python-tuf's exceptions become ours, each refusal under its own name (docs/formats.md section 5)."""

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

SAID_MAX = 500
"""Most characters taken from what python-tuf says: it quotes what was received."""


class Translation:
    """Inside it, what python-tuf raises about one Distributor's metadata comes out as a TrustError.

    Args:
        received: Files as received, by name: what is wrong with them tells one refusal from another.
        root: The trusted root, whose keys tell a stranger's signature from a damaged one.
    """

    def __init__(self, distributor: str, received: Mapping[str, bytes], root: bytes) -> None:
        self._who = f"metadata of Distributor {distributor}"
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
            raise self._ours(error) from error

    def _ours(self, error: Exception) -> TrustError:
        said = f"{error!s:.{SAID_MAX}}"
        if isinstance(error, ExpiredMetadataError):
            return ExpiredError(f"{self._who} is expired: {said}", remedy=f"run `sluice refresh {self._distributor}`, then send again")
        if isinstance(error, DownloadHTTPError):
            return TruncatedError(f"{self._who} is incomplete: {said}", remedy="send it again")
        if isinstance(error, UnsignedMetadataError) and self._strangers():
            return UnknownDistributorError(
                f"{self._who} is signed by keys that its trust root here doesn't name",
                remedy=f"if it is the right Distributor, run `sluice trust push {self._distributor}`",
            )
        if isinstance(error, BadVersionNumberError):
            if "must be >=" in said:
                return ReplayedError(f"{self._who} is older than what was accepted before: {said}", remedy="send the newest")
            return TamperedError(f"{self._who} mixes versions: {said}", remedy="send it again")
        if isinstance(error, DeserializationError):
            for name, data in self._received.items():
                if is_cut(data):
                    return TruncatedError(f"{self._who}: {name} ends too early", remedy="send it again")
        return TamperedError(f"{self._who} can't be believed: {said}", remedy="send it again")

    def _strangers(self) -> bool:
        """Whether some received top-level file has no signature by a key of the trusted root."""
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
    """Whether the bytes are the beginning of JSON rather than something else."""
    try:
        json.loads(data)
    except json.JSONDecodeError as error:
        return not data.strip() or error.pos >= len(error.doc.rstrip()) or "Unterminated" in error.msg
    except (ValueError, RecursionError):
        return False
    return False
