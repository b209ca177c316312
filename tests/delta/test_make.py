"""Deltas: what was made from old contents is the new contents, in little, whatever became of them."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluice.delta.make import default_reference, make_frames
from sluice.formats.ted.frame import FRAME_MAX, FrameKind
from sluice.formats.zstd import compress_frame
from sluice.model.site import Effort
from tests.conftest import some
from tests.delta.made import Content, applied, cost, made

KB, MB = 1024, 1024 * 1024
NOISE = random.Random(4).randbytes(12 * MB)  # compresses to nothing smaller: what a delta takes of it is what it didn't find
TEXT = b"".join(b"line %d of a file that says little: %d\n" % (n, n * n % 977) for n in range(20_000))


@st.composite
def changes(draw: st.DrawFn) -> tuple[list[bytes], list[bytes]]:
    """Old contents, and new ones made of cuts of them and of something new."""
    pieces = st.one_of(st.binary(max_size=200), st.builds(lambda b, n: b * n, st.binary(min_size=1, max_size=9), st.integers(0, 3000)))
    old = draw(st.lists(pieces, max_size=5))
    whole = b"".join(old)
    new = []
    for _ in range(draw(st.integers(0, 4))):
        parts = []
        for _ in range(draw(st.integers(0, 4))):
            begin = draw(st.integers(0, len(whole)))
            parts.append(whole[begin : begin + draw(st.integers(0, 5000))])
            parts.append(draw(st.binary(max_size=30)))
        new.append(b"".join(parts))
    return old, new


@settings(max_examples=some(40), deadline=None)
@given(change=changes(), effort=st.sampled_from(Effort), small=st.booleans(), most=st.sampled_from([None, 700, 5000]))
def test_a_delta_applied_is_the_new_contents(
    change: tuple[list[bytes], list[bytes]], effort: Effort, small: bool, most: int | None
) -> None:
    old, new = change
    delta = made(old, new, effort=effort, small=small, most=most)
    assert applied(old, delta, small=small) == b"".join(new)
    assert all(each.frame.length == len(each.data) for each in delta)
    for each in delta:
        assert each.frame.plain <= (FRAME_MAX if each.frame.kind is FrameKind.PLAIN else most or FRAME_MAX)
        assert each.frame.reference <= (most or FRAME_MAX)
        assert not small or each.frame.kind is not FrameKind.HDIFF


@pytest.mark.slow
@settings(max_examples=some(6), deadline=None)
@given(seed=st.integers(0, 2**32))
def test_lines_longer_than_a_group_are_cut_and_found_again(seed: int) -> None:
    made_up = random.Random(seed)
    cuts = sorted(made_up.randrange(MB) for _ in range(made_up.randrange(1, 6)))
    pieces = [NOISE[begin:end] for begin, end in zip([0, *cuts], [*cuts, MB], strict=True)]
    old = [b"".join(pieces[:3]), b"".join(pieces[3:])]
    made_up.shuffle(pieces)
    pieces.insert(made_up.randrange(len(pieces)), made_up.randbytes(made_up.randrange(50_000)))
    new = [b"".join(pieces[:2]), b"".join(pieces[2:])]
    delta = made(old, new, effort=Effort.FAST, most=128 * KB)
    assert applied(old, delta) == b"".join(new)
    assert max(max(each.frame.reference for each in delta), max(each.frame.plain for each in delta if each.reference)) <= 128 * KB


def test_the_same_inputs_give_the_same_bytes() -> None:
    old, new = [TEXT[:50_000], NOISE[:9000]], [TEXT[:5000] + b"x" + TEXT[6000:50_000], NOISE[5:8000]]
    assert made(old, new, effort=Effort.MAX) == made(old, new, effort=Effort.MAX)


@pytest.mark.parametrize("small", [False, True])
def test_nothing_new_is_no_frame(small: bool) -> None:
    assert made([b"gone"], [], small=small) == []
    assert made([b"gone"], [b"", b""], small=small) == []


@pytest.mark.parametrize("effort", Effort)
def test_a_change_of_200_bytes_costs_a_few_hundred(effort: Effort) -> None:
    old = [TEXT[:100_000], TEXT[200_000:300_000]]
    new = [old[0][:40_000] + NOISE[:200] + old[0][40_000:], old[1]]
    delta = made(old, new, effort=effort)
    assert 200 < cost(delta) < 300
    assert [each.reference for each in delta] == [default_reference(2)]


def test_new_contents_without_any_old_one_are_plain_frames() -> None:
    new = [bytes(5 * MB), b"", NOISE[: 3 * MB]]
    delta = made([b""], new, most=3 * MB)
    assert {each.frame.kind for each in delta} == {FrameKind.PLAIN}
    assert applied([b""], delta) == b"".join(new)


def test_small_deltas_need_zstd_alone() -> None:
    old = [NOISE[:MB]]
    delta = made(old, [NOISE[100:MB] + b"end"], small=True)
    assert {each.frame.kind for each in delta} == {FrameKind.PREFIX}
    assert cost(delta) < 200


def test_a_renamed_and_rebuilt_binary_is_a_patch() -> None:
    rebuilt = bytearray(NOISE[:MB])
    for place in range(0, MB, 512):  # addresses that all moved by the same distance
        rebuilt[place] = (rebuilt[place] + 16) % 256
    delta = made([NOISE[:MB]], [bytes(rebuilt)])
    assert {each.frame.kind for each in delta} == {FrameKind.HDIFF}
    assert applied([NOISE[:MB]], delta) == rebuilt
    assert cost(delta) < MB / 512 * 2


@pytest.mark.slow
def test_an_encoder_that_errs_costs_bytes_and_no_wrong_delta(monkeypatch: pytest.MonkeyPatch) -> None:
    """HDiffPatch makes a patch of something else, of the same length; then one that no agent takes."""
    import hdiffpatch

    old, diff = NOISE[: 2 * MB], hdiffpatch.diff
    new = b"".join(old[at : at + 999] + b"!" for at in range(0, len(old), 1000))
    right = made([old], [new])
    for err in (lambda old, new, **more: diff(old, b"?" + new[1:], **more), lambda old, new, **more: b"no patch"):
        monkeypatch.setattr(hdiffpatch, "diff", err)
        delta = made([old], [new])
        assert applied([old], delta) == new
        assert cost(right) < cost(delta) < len(new)
    assert right[0].frame.kind is FrameKind.HDIFF


@pytest.mark.slow
def test_of_a_large_content_what_moved_costs_nothing_and_is_not_read_for_frames() -> None:
    old = NOISE
    new = b"inserted" + NOISE[: 3 * MB] + NOISE[5 * MB : 9 * MB] + NOISE[3 * MB : 5 * MB] + NOISE[9 * MB :]
    delta = made([old], [new], most=4 * MB)
    assert applied([old], delta) == new
    assert cost(delta) < 2000
    assert sum(each.frame.plain for each in delta if each.frame.kind is FrameKind.COPY) > 11.5 * MB


def test_a_large_content_with_a_change_in_place_is_copied_around_it() -> None:
    new = NOISE[: 6 * MB] + b"changed" + NOISE[6 * MB + 7 :]
    contents, changed = Content(NOISE), Content(new)
    delta = list(make_frames([contents], 1, [changed], effort=Effort.DEFAULT, most=8 * MB))
    assert [each.frame.kind for each in delta] == [FrameKind.COPY, FrameKind.PREFIX, FrameKind.COPY]
    assert cost(delta) < 100
    assert delta[1].frame.plain < 10_000
    assert contents.taken < 2 * len(NOISE)
    assert changed.taken < 2 * len(new)


@pytest.mark.slow
def test_what_is_new_beside_much_that_stays_is_compressed_as_well_as_it_can_be() -> None:
    words = random.Random(5).choices([b"accepted ", b"refused ", b"from 192.0.2.7 ", b"by host %d " % 12, b"at 03:04:05\n"], k=60_000)
    appended = b"".join(words)
    delta = made([NOISE + NOISE[::-1]], [NOISE + NOISE[::-1] + appended])
    alone = len(compress_frame(appended, level=19))
    assert len(appended) > 512 * KB
    assert cost(delta) < 1.01 * alone + 200 < len(compress_frame(appended, level=12))


def test_zeros_are_read_and_cost_little() -> None:
    delta = made([bytes(8 * MB)], [bytes(5 * MB) + b"one thing" + bytes(3 * MB - 9)], most=4 * MB)
    assert cost(delta) < 200


def test_what_is_compressed_already_and_new_is_stored() -> None:
    delta = made([NOISE[: 2 * MB]], [NOISE[8 * MB : 10 * MB]])
    assert {each.frame.kind for each in delta} == {FrameKind.PLAIN}
    assert cost(delta) < 2 * MB + 1000


def test_a_new_content_that_resembles_one_which_stays_is_made_from_it() -> None:
    stays = [NOISE[n * 1000 : n * 1500 + 5000] for n in range(50)]
    new = stays[20][:3000] + b"edited" + stays[20][3000:]
    delta = made(stays, [new], gone=0)
    assert applied(stays, delta) == new
    assert cost(delta) < 100


def test_a_small_change_beside_much_that_goes_does_not_refer_to_all_of_it() -> None:
    old = [NOISE[: 5 * MB], NOISE[5 * MB : 5 * MB + 1000], NOISE[6 * MB : 10 * MB]]
    delta = made(old, [old[1][:500] + b"edit" + old[1][500:]])
    assert [each.content for made_from in delta for each in made_from.reference] == [1]
    assert cost(delta) < 60


def test_progress_says_how_much_is_made() -> None:
    told: list[int] = []
    list(make_frames([Content(NOISE)], 1, [Content(NOISE[5:])], effort=Effort.FAST, most=4 * MB, progress=told.append))
    assert told == sorted(told)
    assert told[-1] == len(NOISE) - 5
