"""Questions of dry runs about a manifest, which needn't be held by the Subscriber. Nothing there changes."""

from __future__ import annotations

from collections.abc import Sequence

from sluice.formats.rehearsals import (
    Question,
    Removals,
    changes_from_json,
    extraction_request,
    outline_bytes,
    rehearse_request,
    removals_from_json,
)
from sluice.model.change import Changes
from sluice.model.manifest import Manifest
from sluice.model.recipe import RenderedRecipe
from sluice.sender.conversation import Conversation


def rehearse_extraction(conversation: Conversation, question: Question) -> Changes:
    """Ask what an extraction would change there now, and what would stop it; only of an agent with the feature ``dry run``."""
    request, plain = extraction_request(question)
    return changes_from_json(conversation.rehearse_manifest(request, "manifest", plain, "changes"))


def rehearse_removals(conversation: Conversation, manifest: Manifest, destinations: Sequence[str]) -> Removals:
    """Ask an older agent which paths an extraction would remove there now; only of one with the feature ``synchronize``."""
    request = rehearse_request(manifest.distribution, RenderedRecipe(tuple(destinations)))
    return removals_from_json(conversation.rehearse_manifest(request, "outline", outline_bytes(manifest), "removals"))
