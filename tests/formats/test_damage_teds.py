"""Damaged ``.ted`` files whose digests fit all the same, as a stolen key could sign them: refused, or the very bytes that were meant.

Without the key every one of these is refused by a block's digest or a signature (tests/attacks); here no digest saves the reader but
that of the finished manifest. Everything is tried in a process of its own with little memory: a library that falls over ends that one.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from sluice.errors import SluiceError
from sluice.formats.ted.file import open_ted, verify_payload
from tests.conftest import IN_CI, some
from tests.formats.contained import MIB, Say, contained
from tests.formats.damage import BINARY, damaged
from tests.formats.deltas import Delta, rebuilt, sample
from tests.formats.hostile_deltas import Case, bombs, figures, frames, indexes, patches, recipes

SEED = 1000 if IN_CI else random.SystemRandom().randrange(10**9)
MEMORY = 512 * MIB
"""What an agent may take for a delta of the largest groups."""

SAID_MAX = 4096
"""Characters of an error."""
RECIPES = some(6_000)
PAYLOADS = some(500)
"""Of each frame."""
INDEXES = some(6_000)
FILES = 150


def judged(cases: Iterator[Case], delta: Delta, say: Say) -> Counter[str]:
    """What became of each: an error's name, or ``same``, when every content is what it has to be."""
    outcomes: Counter[str] = Counter()
    for name, index, payload in cases:
        say(name)
        try:
            found = rebuilt(delta, index, payload)
        except SluiceError as error:
            outcomes[error.code if len(str(error)) < SAID_MAX else f"{name} says too much"] += 1
        else:
            assert all(delta.contents[digest] == data for digest, data in found.items()), name
            outcomes["same"] += 1
    return outcomes


def tried(cases: Callable[[Delta], Iterator[Case]]) -> Counter[str]:
    """The same in its own process."""
    delta = sample()
    outcomes = contained(lambda say: judged(cases(delta), delta, say), memory=MEMORY)
    assert set(outcomes) <= {"StoreCorruptError", "TamperedError", "same"}, (SEED, outcomes)
    return outcomes


def test_what_nobody_changed_is_rebuilt() -> None:
    delta = sample()
    assert judged(iter([("as it is", *delta.signed())]), delta, lambda _: None) == {"same": 1}


def test_a_damaged_recipe_is_refused() -> None:
    outcomes = tried(lambda delta: recipes(delta, SEED, RECIPES))
    assert outcomes["same"] <= RECIPES // 50, outcomes
    assert outcomes.total() >= RECIPES - 100


def test_a_damaged_frame_is_refused() -> None:
    outcomes = tried(lambda delta: frames(delta, SEED, PAYLOADS))
    assert outcomes["same"] <= outcomes.total() // 10, outcomes


def test_a_damaged_patch_is_refused_and_the_library_that_reads_it_stands() -> None:
    outcomes = tried(lambda delta: patches(delta, SEED, 3 * PAYLOADS))
    assert outcomes["same"] <= outcomes.total() // 10, outcomes


def test_a_damaged_index_is_refused() -> None:
    outcomes = tried(lambda delta: indexes(delta, SEED, INDEXES))
    # A block's digest isn't compared here: only receivers do that.
    assert outcomes["StoreCorruptError"] > INDEXES // 2, outcomes


def test_a_frame_that_lies_about_itself_is_refused() -> None:
    outcomes = tried(figures)
    assert outcomes["same"] == outcomes.total() - outcomes["StoreCorruptError"] - outcomes["TamperedError"]
    assert outcomes["StoreCorruptError"] > 250, outcomes


def test_a_bomb_takes_no_more_than_the_signed_figures_allow() -> None:
    outcomes = tried(bombs)
    assert not outcomes["same"], outcomes


def test_the_limit_of_memory_is_one() -> None:
    """The control: what takes more than an agent may is found out."""
    with pytest.raises(AssertionError, match=r"(?s)at 'greedy'.*MemoryError"):
        contained(lambda say: (say("greedy"), len(bytearray(2 * MEMORY)))[1], memory=MEMORY)


def test_a_damaged_file_is_refused_or_every_block_of_it_is_right(tmp_path: Path) -> None:
    """A ``.ted`` at rest: what its own trailer and blocks show, no signature asked."""
    delta = sample()
    whole, index = delta.ted()
    path = tmp_path / "a.ted"

    def work(say: Say) -> Counter[str]:
        outcomes: Counter[str] = Counter()
        for name, data in damaged(whole, BINARY, SEED, FILES):
            say(name)
            path.write_bytes(data)
            try:
                verify_payload(path)
            except SluiceError as error:
                outcomes[error.code] += 1
            else:
                assert open_ted(path)[1] != index, name
                outcomes["another index"] += 1
        return outcomes

    outcomes = contained(work, memory=MEMORY)
    assert outcomes["StoreCorruptError"] >= FILES * 95 // 100, outcomes
    assert set(outcomes) <= {"StoreCorruptError", "another index"}


def test_noise_is_no_index_and_no_recipe() -> None:
    chance = Random(SEED)

    def noise(delta: Delta) -> Iterator[Case]:
        _, payload = delta.signed()
        for number in range(500):
            yield f"index {number}", chance.randbytes(chance.randrange(200)), payload
            yield f"recipe {number}", *replace(delta, recipe=chance.randbytes(1 + chance.randrange(300))).signed()

    outcomes = tried(noise)
    assert set(outcomes) == {"StoreCorruptError"}
