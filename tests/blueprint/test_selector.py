"""Selectors: a small language, parsed and never executed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.blueprint.schema.selector import All, Any, Not, Selector, SelectorError, Test, parse_selector, subscriber_facts

FACTS = subscriber_facts("web-1", "debian-12", {"site": "helsinki", "role": "web"})

names = st.sampled_from(["name", "platform", "site", "role", "rack"])
texts = st.text(alphabet=st.characters(exclude_characters='"', exclude_categories=["Cs"]), max_size=6)
tests = st.builds(Test, names, st.lists(texts, min_size=1, max_size=3, unique=True).map(tuple), st.booleans())
selectors = st.recursive(
    tests,
    lambda inner: (
        st.builds(Not, inner)
        | st.builds(All, st.lists(inner, min_size=2, max_size=3).map(tuple))
        | st.builds(Any, st.lists(inner, min_size=2, max_size=3).map(tuple))
    ),
    max_leaves=6,
)
facts = st.builds(
    subscriber_facts, texts, st.sampled_from(["", "linux", "debian-12"]), st.dictionaries(st.sampled_from(["site", "role"]), texts)
)


@given(selectors, facts)
def test_a_selector_that_was_written_is_read_back_with_the_same_meaning(selector: Selector, facts: dict[str, frozenset[str]]) -> None:
    again = parse_selector(str(selector))
    assert again.matches(facts) is selector.matches(facts)
    assert str(parse_selector(str(again))) == str(again)
    assert again.names() == selector.names()


@pytest.mark.slow
@given(selectors, facts)
def test_not_turns_a_selector_round(selector: Selector, facts: dict[str, frozenset[str]]) -> None:
    assert parse_selector(f"not ({selector})").matches(facts) is not selector.matches(facts)


@given(st.text(max_size=40))
def test_any_text_is_a_selector_or_refused_with_a_remedy(text: str) -> None:
    refusal: SelectorError | None = None
    try:
        parse_selector(text)
    except SelectorError as e:
        refusal = e
    assert refusal is None or (refusal.what and refusal.remedy)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ('site == "helsinki"', True),
        ("site == 'helsinki'", True),
        ('site != "helsinki"', False),
        ('site == "helsinki" and role != "db"', True),
        ('site in ("turku", "helsinki")', True),
        ('site in ["turku"]', False),
        ('site not in ("turku", "tampere")', True),
        ('not site == "turku"', True),
        ('role == "db" or site == "helsinki" and role == "web"', True),
        ('(role == "db" or site == "helsinki") and role == "db"', False),
        ('name == "web-1"', True),
        ('rack == ""', True),
        ('rack != "12"', True),
    ],
)
def test_selectors_mean_what_they_say(text: str, meant: bool) -> None:
    assert parse_selector(text).matches(FACTS) is meant


@pytest.mark.parametrize(
    ("platform", "meant"), [("debian-12", True), ("debian", True), ("linux", True), ("debian-1", False), ("windows", False)]
)
def test_a_family_means_its_versions(platform: str, meant: bool) -> None:
    assert parse_selector(f'platform == "{platform}"').matches(FACTS) is meant
    assert parse_selector(f'platform != "{platform}"').matches(FACTS) is not meant


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "the selector is empty"),
        ("site", "expected ==, != or in at character 5, found the end"),
        ('site == "a" role == "b"', "unexpected 'role' at character 13"),
        ('"helsinki" == site', "expected name, platform or a tag at character 1, found '\"helsinki\"'"),
        ('site == "a" and', "expected name, platform or a tag at character 16, found the end"),
        ('site in "a"', "expected '(' at character 9, found '\"a\"'"),
        ('site in ("a"', "expected ',' or the closing bracket at character 13, found the end"),
        ('site == "a', "the text that begins at character 9 has no closing quote"),
        ("site.upper() == 1", "'.' at character 5 is not allowed"),
        ("(" * 40 + 'a == "b"' + ")" * 40, "nested more than 30 deep"),
        ('a == "' + "x" * 2000 + '"', "longer than 2000 characters"),
    ],
)
def test_what_is_no_selector_is_refused_where_it_goes_wrong(text: str, what: str) -> None:
    with pytest.raises(SelectorError) as refusal:
        parse_selector(text)
    assert refusal.value.what == what
