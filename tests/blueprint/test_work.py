"""What validation does for each Subscriber is bounded, whatever a blueprint repeats (D15)."""

from __future__ import annotations

from pathlib import Path

import pytest

from sluice.blueprint import load_site
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
