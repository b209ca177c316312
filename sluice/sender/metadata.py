"""Bring a Subscriber the signed metadata of one Distribution that it lacks."""

from __future__ import annotations

from collections.abc import Mapping

from sluice.errors import TrustError
from sluice.sender.call import Call
from sluice.sender.signed import SignedMetadata
from sluice.sender.ted_choice import takes_deltas


def push_metadata(call: Call, signed: SignedMetadata, distribution: str, held: Mapping[str, int]) -> Mapping[str, int]:
    """Send what it lacks; returns the versions by role that it holds then.

    Args:
        held: Versions by role that it holds now.
    Raises:
        TransportError, TrustError.
    """
    files = signed.files_for(distribution, held)
    if not files:
        return held
    like = signed.held_files(distribution, held) if takes_deltas(call.hello) else {}
    try:
        return call.conversation.push_metadata(distribution, files, like)
    except TrustError:
        if not like:
            raise
        # It may hold another file under the same version, of before our repository was restored from a backup.
        return call.conversation.push_metadata(distribution, files)
