"""Templates: what they may hold, what they make, and that no template costs more than its bounds."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2 import StrictUndefined, TemplateError
from jinja2.sandbox import SandboxedEnvironment

from sluice.blueprint.render.template import (
    LENGTH_MAX,
    UndefinedVariableError,
    ValueTemplateError,
    check,
    render,
    undefined_variables,
)

VARIABLES = {"DEST": "/opt", "NAME": "web-1", "EMPTY": ""}


@pytest.mark.parametrize(
    ("template", "made"),
    [
        ("/plain", "/plain"),
        ("{{ DEST }}/a", "/opt/a"),
        ("{{ DEST ~ '/' ~ NAME }}", "/opt/web-1"),
        ("{{ NAME | upper }}", "WEB-1"),
        ("{{ ' a b ' | trim | quote }}", "'a b'"),
        ("{{ NAME | replace('-', '_') }}", "web_1"),
        ("{{ PORT | default('80') }}", "80"),
        ("{{ 'x' if NAME == 'web-1' else 'y' }}", "x"),
        ("{{ 'x' if EMPTY else 'y' }}", "y"),
        ("{{ '{{' }}", "{{"),
        ("${#list} {%s} %}", "${#list} {%s} %}"),
        ("two\nlines\n", "two\nlines\n"),
    ],
)
def test_templates_make_what_they_say(template: str, made: str) -> None:
    assert render(template, VARIABLES, what="it") == made


@pytest.mark.parametrize(
    ("filtered", "told"),
    [
        ("upper(1)", "the filter upper takes no arguments, and has 1: write upper"),
        ("upper(DEST, 2)", "the filter upper takes no arguments, and has 2: write upper"),
        ("replace('a')", 'the filter replace takes 2 arguments, and has 1: write replace("old", "new")'),
        ("replace", 'the filter replace takes 2 arguments, and has 0: write replace("old", "new")'),
        ("default(1, 2, 3)", 'the filter default takes at most 2 arguments, and has 3: write default("x")'),
    ],
)
def test_a_filter_with_more_or_fewer_arguments_than_it_takes_is_refused_whatever_the_variables_are(filtered: str, told: str) -> None:
    with pytest.raises(ValueTemplateError) as refused:
        check(f"{{{{ DEST | {filtered} }}}}")
    assert f"{refused.value.what}: {refused.value.remedy}" == told


def test_values_are_not_templates_themselves() -> None:
    assert render("{{ X }}", {"X": "{{ DEST }}"}, what="it") == "{{ DEST }}"


@pytest.mark.parametrize(
    "template",
    [
        "{{ range(3) }}",
        "{{ DEST.upper() }}",
        "{{ DEST.__class__ }}",
        "{{ DEST[0] }}",
        "{{ 'a' * 9 }}",
        "{{ 9 ** 9 }}",
        "{{ 9 // 3 }}",
        "{{ -9 }}",
        "{{ [1] }}",
        "{{ {'a': 1} }}",
        "{{ ('a', 'b') }}",
        "{{ DEST | join(',') }}",
        "{{ " + "9" * 5000 + " }}",
        "{{ 0x" + "f" * 5000 + " }}",
        "{{ DEST | format }}",
        "{{ DEST is string }}",
        "{{ DEST | default(*NAME) }}",
        "{{ DEST | map('upper') }}",
        "{{",
        "{{ }}",
        "{{ DEST",
        "{{ 'a' ~ }}",
    ],
)
def test_what_could_repeat_call_or_look_inside_is_refused(template: str) -> None:
    with pytest.raises(ValueTemplateError) as refusal:
        check(template)
    assert refusal.value.remedy


def test_an_undefined_variable_is_named_with_its_place() -> None:
    with pytest.raises(UndefinedVariableError, match="the destination uses PORT, which is not defined"):
        render("{{ PORT }}", VARIABLES, what="the destination")


def test_undefined_variables_are_found_without_rendering() -> None:
    template = "{{ B }} {{ A if C else DEST }} {{ D | default('x') }} {{ D | default(E) }}"
    assert undefined_variables(template, VARIABLES) == ["A", "B", "C", "E"]


@settings(deadline=None)
@given(st.text(alphabet="{}%#'\"|~ ()AB,.x1", max_size=60))
def test_any_template_renders_within_its_bounds_or_is_refused(template: str) -> None:
    made = ""
    with suppress(ValueTemplateError):
        made = render(template, {"A": "a" * 4096, "B": "b"}, what="it")
    assert len(made) <= LENGTH_MAX


@pytest.mark.slow
@pytest.mark.parametrize(
    "template",
    [
        "{{ A" + " | replace('a', 'aaaaaaaaaa')" * 20 + " }}",
        "{{ A | replace('', 'aaaaaaaaaa') | replace('', 'aaaaaaaaaa') | replace('', 'aaaaaaaaaa') }}",
        "{{ 'a'" + " | replace('a', 'aaaaaaaaaa')" * 20 + " }}",
        "{{ " + " ~ ".join(["A"] * 900) + " }}",
        "{{ A }}" * 900,
        "{{ A }}" * 9000,
        "{{ " + "(" * 20000 + "A" + ")" * 20000 + " }}",
        "{{ " + "not " * 20000 + "A }}",
        "{{ A " + "if A else (A " * 500 + ")" * 500 + " }}",
        "x" * (LENGTH_MAX + 1),
    ],
    ids=range(10),
)
@pytest.mark.timeout(60)  # what isn't bounded takes hours, or all memory
def test_a_bomb_is_refused_without_endless_work(template: str) -> None:
    with pytest.raises(ValueTemplateError):
        render(template, {"A": "a" * 4096}, what="it")


@pytest.mark.parametrize(
    "template",
    [
        "{{ A }}",
        "x{{A}}y{{  B }}{{A}}",
        "{{ A }}}",
        "{{ A }} {% B %} {# A #}\n",
        "{{ A }}\r\n{{ B }}\r",
        "{{\nA\n}}",
        "{{- A -}} x",
        "{{ 'a' }}{{ A }}",
        "{{ A }}{{ '{{' }}",
        "{{ A | upper }}{{ B }}",
        "{{ true }}{{ A }}",
        "{ {{ A }} }",
        "a\x00b{{ A }}",
        "{{{ A }}",
        "{{{{ A }}}}",
        "{{ A }} }} {{ B",
        "{{ A B }}",
        "{{ not }}",
        "{{ 1A }}",
        "{{ }}",
    ],
)
def test_a_template_is_filled_in_as_jinja_would(template: str) -> None:
    """Jinja parses it, and what it parsed is evaluated without its compiler."""
    assert _made(template) == _made_by_jinja(template)


_LEAVES = st.sampled_from(["A", "B", "C", "(U|default(A))", "'a'", "''", "'{{'", "'-'", "1", "2.5", "true", "none"])
_COMPARISONS = st.sampled_from(["==", "!=", "<", "<=", ">", ">=", "in", "not in"])


def _larger(part: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.builds("({} ~ {})".format, part, part),
        st.builds("({} if {} else {})".format, part, part, part),
        st.builds("({} if {})".format, part, part),
        st.builds("({} {} {} {} {})".format, part, _COMPARISONS, part, _COMPARISONS, part),
        st.builds("({} {} {})".format, part, st.sampled_from(["and", "or"]), part),
        st.builds("(not {})".format, part),
        st.builds("({}|default({}))".format, part, part),
        st.builds("({}|default({}, {}))".format, part, part, part),
        st.builds("({}|{})".format, part, st.sampled_from(["lower", "upper", "trim"])),
        st.builds("({}|replace({}, {}))".format, part, _LEAVES, _LEAVES),
    )


@settings(deadline=None)
@given(st.recursive(_LEAVES, _larger, max_leaves=12))
def test_an_expression_is_worth_what_jinja_makes_of_it(expression: str) -> None:
    template = "x{{ " + expression + " }}y"
    assert _made(template) == _made_by_jinja(template)


_VARIABLES = {"A": "/opt/{{ B }}", "B": "é", "C": ""}


def _made(template: str) -> str | None:
    try:
        return render(template, _VARIABLES, what="it")
    except ValueTemplateError:
        return None


def _made_by_jinja(template: str) -> str | None:
    plain = SandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True)
    plain.block_start_string, plain.comment_start_string = "\x00%", "\x00#"
    try:
        return plain.from_string(template).render(_VARIABLES) if "\x00" not in template else None
    except (TemplateError, TypeError):
        return None


def test_a_template_of_more_names_than_parts_are_allowed_is_refused() -> None:
    with pytest.raises(ValueTemplateError, match="more than 1000 parts"):
        render("{{ A }}" * 1001, {"A": ""}, what="it")
