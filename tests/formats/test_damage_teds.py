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

from sluice.delta.model import GROUP_MAX, PATCH_MAX, Frame, FrameKind
from sluice.errors import SluiceError
from sluice.formats.ted import index_bytes, open_ted, parse_index, verify_payload
from sluice.formats.zstd import compress_frame, decompress_wide
from tests.conftest import IN_CI
from tests.formats.contained import MIB, Say, contained
from tests.formats.damage import BINARY, NUMBERS, TEXT, damaged
from tests.formats.deltas import Delta, rebuilt, sample

SEED = 1000 if IN_CI else random.SystemRandom().randrange(10**9)
MEMORY = 512 * MIB
"""What an agent may take for a delta of the largest groups."""

SAID_MAX = 4096
"""Characters of an error."""
RECIPES = 6_000
PAYLOADS = 800
"""Of each frame."""
INDEXES = 6_000
FILES = 400

Case = tuple[str, bytes, bytes]
"""Name, index and payload."""


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


def recipes(delta: Delta) -> Iterator[Case]:
    """The recipe's plaintext is damaged and compressed again."""
    for name, data in damaged(delta.recipe, BINARY, SEED, RECIPES):
        if data:
            yield name, *replace(delta, recipe=data).signed()


def test_a_damaged_recipe_is_refused() -> None:
    outcomes = tried(recipes)
    assert outcomes["same"] <= RECIPES // 50, outcomes
    assert outcomes.total() >= RECIPES - 100


def frames(delta: Delta) -> Iterator[Case]:
    """A frame's payload is damaged, with its length as the index says."""
    for number, data in enumerate(delta.data):
        if data:
            for name, other in damaged(data, BINARY, SEED, PAYLOADS):
                if other:
                    yield f"frame {number}, {name}", *delta.with_frame(number, other).signed()


def test_a_damaged_frame_is_refused() -> None:
    outcomes = tried(frames)
    assert outcomes["same"] <= outcomes.total() // 10, outcomes


def patches(delta: Delta) -> Iterator[Case]:
    """What HDiffPatch itself reads is damaged, and compressed again as it was."""
    for number, frame in enumerate(delta.frames):
        if frame.kind is FrameKind.HDIFF and frame.codec == "zstd":
            patch = b"".join(decompress_wide(delta.data[number], frame.patch, what="a patch"))
            for name, other in damaged(patch, BINARY, SEED, 3 * PAYLOADS):
                if other:
                    changed = delta.with_frame(number, compress_frame(other))
                    of_its_size = changed.frames[number]._replace(patch=len(other))
                    figures = (*changed.frames[:number], of_its_size, *changed.frames[number + 1 :])
                    yield f"patch {number}, {name}", *replace(changed, frames=figures).signed()


def test_a_damaged_patch_is_refused_and_the_library_that_reads_it_stands() -> None:
    outcomes = tried(patches)
    assert outcomes["same"] <= outcomes.total() // 10, outcomes


def indexes(delta: Delta) -> Iterator[Case]:
    """The index is damaged, and signed so."""
    index, payload = delta.signed()
    for name, data in damaged(index, TEXT, SEED, INDEXES):
        yield name, data, payload


def test_a_damaged_index_is_refused() -> None:
    outcomes = tried(indexes)
    # A block's digest isn't compared here: only receivers do that.
    assert outcomes["StoreCorruptError"] > INDEXES // 2, outcomes


HOSTILE = (0, 1, 2, 2**31, 2**32 - 1, 2**63 - 1, GROUP_MAX, GROUP_MAX + 1, PATCH_MAX, PATCH_MAX + 1)
"""Figures, each in the place of every figure of every frame."""


def figures(delta: Delta) -> Iterator[Case]:
    """Frames that say something else of themselves."""
    index, payload = delta.signed()
    true = parse_index(index)
    for number, frame in enumerate(true.frames):
        for field in ("length", "plain", "reference", "patch"):
            for figure in (*HOSTILE, getattr(frame, field) + 1, getattr(frame, field) - 1):
                if figure != getattr(frame, field):
                    other = frame._replace(**{field: figure})
                    changed = (*true.frames[:number], other, *true.frames[number + 1 :])
                    plain = sum(each.plain for each in changed)
                    yield f"{field} of frame {number} is {figure}", index_bytes(replace(true, frames=changed, plain=plain)), payload
        for kind in FrameKind:
            for codec in ("", "zstd", "lzma"):
                other = Frame(frame.length, frame.plain, kind, frame.reference or 1, frame.patch or 1, codec)
                if other != frame:
                    changed = (*true.frames[:number], other, *true.frames[number + 1 :])
                    yield f"frame {number} is {kind} {codec}", index_bytes(replace(true, frames=changed)), payload


def test_a_frame_that_lies_about_itself_is_refused() -> None:
    outcomes = tried(figures)
    assert outcomes["same"] == outcomes.total() - outcomes["StoreCorruptError"] - outcomes["TamperedError"]
    assert outcomes["StoreCorruptError"] > 250, outcomes


def bombs(delta: Delta) -> Iterator[Case]:
    """Little that becomes as much as the figures allow, and what wants more memory than that."""
    wide = compress_frame(bytes(GROUP_MAX))
    yield "a group of zeros", *with_group(delta, Frame(len(wide), GROUP_MAX, FrameKind.PREFIX, delta.frames[2].reference), wide)
    yield "more than a group", *with_group(delta, Frame(len(wide), 4096, FrameKind.PREFIX, delta.frames[2].reference), wide)
    patch = compress_frame(bytes(PATCH_MAX))
    for plain in (GROUP_MAX, 4096):
        lying = Frame(len(patch), plain, FrameKind.HDIFF, delta.frames[2].reference, min(PATCH_MAX, plain + plain // 8), "zstd")
        yield f"a patch of zeros for {plain}", *with_group(delta, lying, patch)
    for number in NUMBERS:
        head = b"HDIFF13&\0" + number * 11
        yield (
            f"a head of {number!r}",
            *with_group(delta, Frame(0, 4096, FrameKind.HDIFF, delta.frames[2].reference, len(head), "zstd"), compress_frame(head)),
        )


def with_group(delta: Delta, frame: Frame, data: bytes) -> tuple[bytes, bytes]:
    """Another frame in the place of the third."""
    figures = (*delta.frames[:2], frame._replace(length=len(data)), *delta.frames[3:])
    return replace(delta, frames=figures, data=(*delta.data[:2], data, *delta.data[3:])).signed()


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
