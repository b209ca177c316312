"""Names that can be distributed, and those that can't (B4, B5)."""

from __future__ import annotations

import pytest

from sluice.errors import CaseCollisionError, NameImpossibleError
from sluice.rules.names_on_disk import check_collisions, check_path_length, distributed_name, shown_path

WINDOWS = [
    "aux",
    "AUX.c",
    "nul",
    "com1",
    "COM1.txt",
    "lpt9",
    "con .txt",
    "com¹",
    "conin$",
    "a:b",
    "a?",
    'a"',
    "a*",
    "a|b",
    "<a",
    "x ",
    "x.",
    "a\nb",
    "\x1f",
    "a\\b",
    "dev-disk\\x2duuid.mount",
]
EVERYWHERE = ["caf\udce9", "x" * 256, "é" * 128]


@pytest.mark.parametrize("name", [*WINDOWS, *EVERYWHERE])
def test_an_impossible_name_is_refused_with_its_path(name: str) -> None:
    with pytest.raises(NameImpossibleError, match=r"^/srv/d/") as caught:
        distributed_name(name, where="/srv/d", case_sensitive_only=False)
    assert "rename it" in caught.value.remedy
    assert caught.value.message.isprintable()
    caught.value.message.encode()


@pytest.mark.parametrize("name", EVERYWHERE)
def test_what_no_manifest_holds_is_refused_for_linux_too(name: str) -> None:
    with pytest.raises(NameImpossibleError):
        distributed_name(name, where="/srv", case_sensitive_only=True)


@pytest.mark.parametrize("name", WINDOWS)
def test_what_only_windows_lacks_passes_where_platforms_tell_case_apart(name: str) -> None:
    assert distributed_name(name, where="/srv", case_sensitive_only=True) == name


@pytest.mark.parametrize(
    "name", ["a", ".hidden", "console", "com10", "auxiliary.c", "x.y.z", "日本語", "é" * 127, "x" * 255, "a b", "GMT+0"]
)
def test_a_possible_name_stays(name: str) -> None:
    assert distributed_name(name, where="/srv", case_sensitive_only=False) == name


def test_other_normal_forms_become_nfc() -> None:
    assert distributed_name("cafe\u0301", where="/srv", case_sensitive_only=False) == "caf\u00e9"


def test_paths_that_differ_only_by_case_are_all_listed() -> None:
    paths = [(path, f"/srv/{path}") for path in ("a/x", "README", "A/x", "Readme", "ÄÖ", "äö", "b")]
    with pytest.raises(CaseCollisionError) as caught:
        check_collisions(paths, case_sensitive_only=False)
    for pair in ("'/srv/a/x' and '/srv/A/x'", "'/srv/README' and '/srv/Readme'", "'/srv/ÄÖ' and '/srv/äö'"):
        assert pair in caught.value.message
    check_collisions(paths, case_sensitive_only=True)


@pytest.mark.parametrize(
    ("path", "text"),
    [("/srv/ä b", "/srv/ä b"), ("/srv/a\tb\n", r"/srv/a\tb\n"), ("/srv/\x1b[31m", r"/srv/\x1b[31m"), ("caf\udce9", r"caf\xe9")],
)
def test_a_path_in_a_message_moves_no_cursor(path: str, text: str) -> None:
    assert shown_path(path) == text


def test_the_way_out_is_said_as_it_is_written() -> None:
    with pytest.raises(NameImpossibleError) as caught:
        distributed_name("aux", where="/srv", case_sensitive_only=False)
    assert "`platforms: [linux]`" in caught.value.remedy


def test_an_endless_list_of_collisions_is_cut() -> None:
    paths = [(name, name) for number in range(100) for name in (f"f{number}", f"F{number}")]
    with pytest.raises(CaseCollisionError, match="and 80 more pairs"):
        check_collisions(paths, case_sensitive_only=False)


def test_two_names_with_one_normal_form_are_refused_everywhere() -> None:
    with pytest.raises(NameImpossibleError, match="once normalised"):
        check_collisions([("é", "/srv/e\u0301"), ("é", "/srv/é")], case_sensitive_only=True)


def test_a_path_longer_than_a_manifest_holds_is_refused() -> None:
    check_path_length("x/" * 2047 + "ab", where="/srv")
    with pytest.raises(NameImpossibleError, match="4096"):
        check_path_length("é/" * 1367, where="/srv")
