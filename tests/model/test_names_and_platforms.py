"""Names (A9) and platforms (B20)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.model.names import NAME_MAX, name_is_valid, suggested_name
from sluice.model.platforms import FAMILY_OF, is_case_sensitive, lineage, platform_matches
from sluice.model.site import Address


@given(st.text(max_size=100))
def test_a_suggested_name_is_valid(text: str) -> None:
    assert name_is_valid(suggested_name(text))


@given(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}[A-Za-z0-9]", fullmatch=True))
def test_a_valid_name_is_its_own_suggestion(name: str) -> None:
    assert name_is_valid(name)
    assert suggested_name(name) == name


@pytest.mark.parametrize("name", ["", ".", "a.b", "-a", "_a", "a b", "a/b", "ä", "a\n", "a" * (NAME_MAX + 1)])
def test_what_would_not_be_safe_everywhere_is_no_name(name: str) -> None:
    assert not name_is_valid(name)


def test_the_period_becomes_a_dash() -> None:
    assert suggested_name("a.b") == "a-b"


@pytest.mark.parametrize(
    ("platform", "line"),
    [
        ("debian-12", ("debian-12", "debian", "linux")),
        ("linux", ("linux",)),
        ("windows-2022", ("windows-2022", "windows")),
        ("ubuntu-24.04", ("ubuntu-24.04", "ubuntu", "linux")),
        ("beos", ()),
        ("", ()),
        ("Debian-12", ()),
    ],
)
def test_a_platform_is_its_version_its_product_and_its_family(platform: str, line: tuple[str, ...]) -> None:
    assert lineage(platform) == line


def test_a_family_implies_its_versions_and_not_the_other_way_round() -> None:
    assert platform_matches("debian-12", ["linux"])
    assert platform_matches("debian-12", ["windows", "debian"])
    assert not platform_matches("debian", ["debian-12"])
    assert not platform_matches("windows-2022", ["linux"])


@given(st.sampled_from([*FAMILY_OF, "", "beos"]))
def test_no_restriction_means_every_host(platform: str) -> None:
    assert platform_matches(platform, [])


def test_an_unknown_host_matches_no_restriction() -> None:
    assert not platform_matches("", ["linux"])


def test_windows_and_macos_do_not_tell_case_apart() -> None:
    assert is_case_sensitive("debian-12")
    assert not is_case_sensitive("windows")
    assert not is_case_sensitive("macos-14")
    assert not is_case_sensitive("")


@pytest.mark.parametrize("text", ["ssh://sluice@host:22", "ssh://sluice@[2001:db8::7]:22", "local:/srv"])
def test_an_address_reads_as_it_was_written(text: str) -> None:
    made = {
        "ssh://sluice@host:22": Address("ssh", "host", 22, "sluice"),
        "ssh://sluice@[2001:db8::7]:22": Address("ssh", "2001:db8::7", 22, "sluice"),
        "local:/srv": Address("local", path="/srv"),
    }[text]
    assert str(made) == text
