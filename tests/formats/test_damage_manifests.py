"""Damaged manifests and manifest deltas: refused in words, or another manifest in its one form, which isn't the signed one."""

from __future__ import annotations

import random
from collections import Counter
from contextlib import suppress
from dataclasses import replace

import pytest

from sluice.errors import SluiceError, StoreCorruptError
from sluice.formats.manifest.delta import apply_manifest_delta, filled, manifest_delta
from sluice.formats.manifest.document import manifest_bytes, parse_manifest
from sluice.model.action import Script, ScriptType
from sluice.model.manifest import PLACEHOLDER, Manifest
from tests.conftest import IN_CI, some
from tests.formats.contained import MIB, Say, contained
from tests.formats.damage import BINARY, TEXT, damaged
from tests.formats.deltas import sample

SEED = 1000 if IN_CI else random.SystemRandom().randrange(10**9)
MANIFESTS = some(6_000)
DELTAS = some(12_000)
SAID_MAX = 4096
"""Characters of an error."""
MEMORY = 256 * MIB


def first() -> Manifest:
    """With everything a manifest may say."""
    manifest = sample().new
    [destination] = manifest.destinations
    entries = tuple(
        replace(entry, owner="root:www-data", xattrs=(("user.a", b"b"), ("user.c", b""))) if entry.path == "3.txt" else entry
        for entry in destination.entries
    )
    script = Script(ScriptType.SHELL, "none", run="true")
    whole = replace(destination, entries=entries, synchronize="mirror")
    return replace(manifest, destinations=(whole,), pre_actions=(script,), max_revisions=None)


def parsed(manifest: Manifest, say: Say) -> Counter[str]:
    """What became of each: an error's name, or ``lawful``."""
    outcomes: Counter[str] = Counter()
    for name, data in damaged(manifest_bytes(manifest), TEXT, SEED, MANIFESTS):
        say(name)
        try:
            found = parse_manifest(data)
        except SluiceError as error:
            outcomes[error.code if len(str(error)) < SAID_MAX else f"{name} says too much"] += 1
        else:
            assert manifest_bytes(found) == data, name
            outcomes["lawful"] += 1
    return outcomes


def test_a_damaged_manifest_is_refused_or_says_something_else_in_its_one_form() -> None:
    for manifest in (sample().new, first()):
        outcomes = contained(lambda say: parsed(manifest, say), memory=MEMORY)  # noqa: B023 - it runs here and now
        assert set(outcomes) <= {"StoreCorruptError", "lawful"}, SEED
        assert outcomes["StoreCorruptError"] > MANIFESTS // 2, outcomes


def outlined(base: Manifest, new: Manifest, say: Say) -> Counter[str]:
    """Each is applied; what isn't refused is filled in, and only the right one has the signed bytes."""
    outcomes: Counter[str] = Counter()
    held = {digest for digest, _ in base.contents()}
    digests = [digest for digest, _ in new.contents() if digest not in held]
    signed = manifest_bytes(new)
    for name, data in damaged(manifest_delta(base, new), BINARY, SEED, DELTAS):
        say(name)
        try:
            found = apply_manifest_delta(base, data)
            unknown = [digest for digest, _ in found.contents() if digest.startswith(PLACEHOLDER)]
            assert unknown == [f"{PLACEHOLDER}{n}" for n in range(len(unknown))], name
            written = manifest_bytes(filled(found, (digests + ["f" * 63 + f"{n % 16:x}" for n in range(len(unknown))])[: len(unknown)]))
            outcomes["same" if written == signed else "another"] += 1
        except SluiceError as error:
            outcomes[error.code if len(str(error)) < SAID_MAX else f"{name} says too much"] += 1
    return outcomes


@pytest.mark.slow
def test_a_damaged_manifest_delta_is_refused_or_leads_to_another_manifest_than_was_signed() -> None:
    delta = sample()
    more = first()
    for base, new in ((delta.base, delta.new), (delta.base, more), (delta.new, replace(more, revision=delta.new.revision))):
        outcomes = contained(lambda say: outlined(base, new, say), memory=MEMORY)  # noqa: B023 - it runs here and now
        assert set(outcomes) <= {"StoreCorruptError", "another", "same"}, (SEED, outcomes)
        assert outcomes["StoreCorruptError"] > DELTAS // 4, outcomes
        assert outcomes["same"] <= DELTAS // 50, outcomes


def test_a_delta_of_another_base_is_refused_or_names_what_that_one_has() -> None:
    delta = sample()
    true = manifest_delta(delta.base, delta.new)
    [destination] = delta.base.destinations
    for gone in range(1, len(destination.entries)):
        entries = destination.entries[:gone] + destination.entries[gone + 1 :]
        other = replace(delta.base, destinations=(replace(destination, entries=entries),))
        with suppress(StoreCorruptError):
            held = {digest for digest, _ in other.contents()}
            named = {digest for digest, _ in apply_manifest_delta(other, true).contents()}
            assert {digest for digest in named if not digest.startswith(PLACEHOLDER)} <= held
