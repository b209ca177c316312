"""What validation does for each Subscriber is bounded, whatever a blueprint repeats (D15)."""

from __future__ import annotations

from pathlib import Path

import pytest

from sluice.blueprint import load_site
from sluice.blueprint.schema.bounds import EXPRESSION_WORK_MAX, SHARE, counted, expect, may_evaluate
from sluice.errors import SiteError

SITE = """
{{kind: Distributor, name: hq, working_directory: /v/hq}}
---
{{kind: Channel, name: all, subscribers: [s]}}
---
{{kind: Subscriber, name: s, address: 'local:/s', working_directory: /w, variables: {{D: '{directory}'{variables}}}}}
---
{{kind: Distribution, name: d, distributor: hq, type: file, channels: [all], files: [{files}], post_actions: [{actions}]}}
"""
PLAIN = "{source: /s, destination: /d}"
TOO_MUCH = "takes too much work, with all other {{ }} of that Subscriber: use fewer of them, or fewer filters"
TOO_MUCH_FOR_ALL = "takes too much work, with the filters and comparisons of all Subscribers"
TOO_LARGE = "has an expression of more than 4096 characters: shorten it"


def script(run: str) -> str:
    return f"{{script: {{type: shell, run: '{run}', undo: none}}}}"


def errors(directory: Path, *, long: int = 64, variables: str = "", files: str = PLAIN, actions: str = "") -> list[str]:
    given = f", {variables}" if variables else ""
    text = SITE.format(directory="/a" * (long // 2), variables=given, files=files, actions=actions)
    (directory / "a.yaml").write_text(text)
    try:
        load_site(directory)
    except SiteError as refused:
        return [error.message + ": " + error.remedy for error in refused.errors]
    return []


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"variables": ", ".join(f"V{n}: '{{{{ {f'V{n - 1}' if n else 'D'} }}}}' " for n in range(120)), "long": 256}, TOO_MUCH),
        (
            {"variables": "V0: '{{ D }}{{ D }}', " + ", ".join(f"V{n}: '{{{{ V{n - 1} }}}}{{{{ V{n - 1} }}}}'" for n in range(1, 9))},
            TOO_MUCH,
        ),
        ({"actions": script("{{ " + "~".join(["D"] * 900) + " }}"), "long": 4096}, TOO_LARGE),
        ({"actions": script('{{ D | replace("a", "' + "b" * 100 + '") }}'), "long": 200}, TOO_LARGE),
        ({"actions": ", ".join(script("{{ D" + "|upper|lower" * 10 + " }}") for _ in range(3)), "long": 4000}, TOO_MUCH),
        ({"actions": ", ".join(script("{{ D" + "|upper|lower" * 5 + " }}") for _ in range(100)), "long": 400}, TOO_MUCH),
        ({"actions": ", ".join([script('{{ D == "x" or D in D in D in D in D }}')] * 20), "long": 4000}, TOO_MUCH),
        ({"files": ", ".join(f"{{source: /s, destination: '{{{{ D }}}}/{n}'}}" for n in range(50)), "long": 3900}, TOO_MUCH),
        ({"files": ", ".join(f"{{source: /s, destination: '{{{{ D }}}}/{n}', synchronize: mirror}}" for n in range(300))}, TOO_MUCH),
    ],
    ids=["kept", "doubled", "joined", "replaced", "filtered", "filtered-often", "compared", "deep", "mirrored"],
)
def test_what_would_take_too_much_is_refused_once(tmp_path: Path, given: dict[str, object], problem: str) -> None:
    found = errors(tmp_path, **given)  # type: ignore[arg-type]
    assert len(found) == 1
    assert found[0].endswith(problem)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("/b", None),
        ("b", "not an absolute path"),
        ("/../b", "contains .."),
        ("/b\\x07", "control"),
        ("/d/1", "the destination of files[0] too"),
        ("/w", "working directory"),
        ("/b/.c", None),
        ("/b\\n/c", "control"),
    ],
)
def test_many_destinations_of_one_subscriber_are_judged_as_each_alone(tmp_path: Path, value: str, problem: str | None) -> None:
    many = ", ".join(f"{{source: /s, destination: '/d/{n}{{{{ NAME | lower }}}}'}}" for n in range(3))
    for files in (many.replace(" | lower", ""), many):  # at once, and each by itself
        every = f"{{source: /s, destination: '{{{{ V }}}}'}}, {files}".replace("1{{ NAME }}", "1").replace("1{{ NAME | lower }}", "1")
        found = errors(tmp_path, variables=f'V: "{value}"', files=every)
        assert [problem in each if problem else each for each in found] == ([True] if problem else [])


@pytest.mark.parametrize(
    "given",
    [
        {"files": ", ".join(f"{{source: /s, destination: /d/{'x' * 200}/{n}}}" for n in range(1000))},
        {"files": ", ".join(f"{{source: /s, destination: '{{{{ D }}}}/{n}'}}" for n in range(500))},
        {"actions": ", ".join(script("{{ D | quote }}" * 9) for _ in range(99))},
        {"variables": ", ".join(f"V{n}: '{{{{ {f'V{n - 1}' if n else 'NAME'} }}}}'" for n in range(120))},
    ],
    ids=["plain", "destinations", "scripts", "variables"],
)
def test_large_sites_are_far_from_it(tmp_path: Path, given: dict[str, object]) -> None:
    assert errors(tmp_path, **given) == []  # type: ignore[arg-type]


def errors_for_many(directory: Path, hosts: int, lines: str) -> list[str]:
    text = "{kind: Distributor, name: hq, working_directory: /v/hq}\n---\n{kind: Defaults, subscriber: {tags: {site: a}}}\n"
    text += "---\n{kind: Channel, name: all, subscribers: [{where: 'site == \"a\"'}]}\n"
    for n in range(hosts):
        text += f"---\n{{kind: Subscriber, name: s{n}, address: 'local:/{n}', working_directory: /{n}/w, variables: {{D: /{n}}}}}\n"
    text += f"---\n{{kind: Distribution, name: d, distributor: hq, type: file, channels: [all], {lines}}}\n"
    assert len(text) < SHARE
    (directory / "a.yaml").write_text(text)
    try:
        load_site(directory)
    except SiteError as refused:
        return [error.message for error in refused.errors]
    return []


@pytest.mark.parametrize(
    ("hosts", "lines", "problem"),
    [
        (
            250,
            f"files: [{PLAIN}], post_actions: [{{script: {{type: shell, run: '{'{{ D | upper }}' * 250}', undo: none}}}}]",
            TOO_MUCH_FOR_ALL,
        ),
        (
            250,
            "files: ["
            + ", ".join(f"{{source: /s, destination: '{{{{ D | lower }}}}/{n}', synchronize: mirror}}" for n in range(130))
            + "]",
            TOO_MUCH_FOR_ALL,
        ),
        (250, f"files: [{PLAIN}], post_actions: [" + ", ".join([script("{{ D | quote }}" * 9)] * 15) + "]", None),
        (250, "files: [" + ", ".join(f"{{source: /s, destination: '{{{{ D | lower }}}}/{n}'}}" for n in range(130)) + "]", None),
    ],
    ids=["scripts", "mirrored", "few scripts", "destinations"],
)
def test_filters_are_bounded_for_all_subscribers_together(tmp_path: Path, hosts: int, lines: str, problem: str | None) -> None:
    """Also if it is the check of mirrors that takes too much: what isn't looked at isn't accepted."""
    found = errors_for_many(tmp_path, hosts, lines)
    assert [problem in each if problem else each for each in found] == ([True] if problem else [])


def test_a_larger_site_may_have_more_of_them() -> None:
    for size in (SHARE, SHARE + 1, 10 * SHARE):
        with counted():
            expect(size)
            assert may_evaluate(EXPRESSION_WORK_MAX * -(-size // SHARE))
            assert not may_evaluate(1)


def test_a_site_with_errors_isnt_searched_for_all_variables_that_all_subscribers_lack(tmp_path: Path) -> None:
    files = ", ".join(f"{{source: /s, destination: '{{{{ V{n} }}}}/{n}'}}" for n in range(300))
    found = errors_for_many(tmp_path, 250, f"files: [{files}]")
    assert 1 < len(found) < 300
    assert all("which s0, s1, s10 and 247 more do not define" in each for each in found)
