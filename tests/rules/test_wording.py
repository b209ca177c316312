"""Words of messages: counts, and texts that other machines wrote."""

from hypothesis import given
from hypothesis import strategies as st

from sluice.rules.wording import counted, output_text, printable


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
