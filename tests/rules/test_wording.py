"""Words of messages: counts, and texts that other machines wrote."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.rules.wording import SEE_WHY, counted, output_text, pairs_done, printable, share, without_see_why


def test_a_noun_goes_with_its_number() -> None:
    assert [counted(number, "Subscriber") for number in (0, 1, 2)] == ["0 Subscribers", "1 Subscriber", "2 Subscribers"]


@given(st.text())
def test_a_printable_text_has_the_same_length_and_no_control_characters(text: str) -> None:
    made = printable(text)
    assert made.isprintable()
    assert len(made) == len(text)
    assert all(after in (before, "?") for before, after in zip(text, made, strict=True))


def test_characters_to_keep_stay() -> None:
    assert printable("a\n\x1b[2J\tb", keep="\n") == "a\n?[2J?b"
    assert printable("a\x00b", replacement="") == "ab"


def test_the_output_of_a_program_is_one_line_whatever_its_bytes_are() -> None:
    assert output_text(b"  no\nsuch \xff\x1b[0m program\n") == "no such \ufffd [0m program"


@pytest.mark.parametrize(
    ("done", "pairs", "text"),
    [
        (2, [("a", "d"), ("b", "d"), ("c", "d")], "2 of 3 Subscribers done"),
        (1, [("a", "d")], "1 of 1 Subscriber done"),
        (4, [("a", "d"), ("a", "e"), ("b", "d"), ("b", "e")], "4 of 4 done: 2 Distributions on 2 Subscribers"),
        (1, [("a", "d"), ("a", "e")], "1 of 2 Distributions done on a"),
        (0, [("a", "d"), ("a", "e"), ("b", "e")], "0 of 3 done: 2 Distributions on 2 Subscribers"),
    ],
)
def test_what_is_done_is_counted_as_what_it_is(done: int, pairs: list[tuple[str, str]], text: str) -> None:
    assert pairs_done(done, pairs) == text


def test_a_share_is_as_exact_as_it_is_small() -> None:
    assert [share(part) for part in (1.0, 0.143, 0.0999, 0.0125, 0.00001, 0.0)] == ["100%", "14%", "9.99%", "1.25%", "< 0.01%", "< 0.01%"]


def test_why_does_not_send_to_why() -> None:
    assert without_see_why(f"failed: ended with exit code 1: {SEE_WHY}.") == "failed: ended with exit code 1."
    assert without_see_why(f"failed: exit code 1: {SEE_WHY}; retry 1 of 3") == "failed: exit code 1; retry 1 of 3"
    assert without_see_why("nothing of it") == "nothing of it"
