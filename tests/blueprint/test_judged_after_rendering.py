"""Whatever a template renders to, it is refused at its line for the Subscriber, or manifest, order and dry run hold it and read it back.

A blueprint's mistake is never an error of the store, the protocol or the agent.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sluice.blueprint import load_site
from sluice.blueprint.render.recipe import recipe
from sluice.errors import SiteError
from sluice.formats.canonical import Fields
from sluice.formats.manifest.document import manifest_bytes, parse_manifest
from sluice.formats.orders import order_bytes, parse_order
from sluice.formats.rehearsals import recipe_from_json, rehearse_request
from sluice.model.feature import Feature
from sluice.model.manifest import Entry, EntryKind, Manifest
from sluice.model.order import Order
from sluice.model.revision import RevisionNumber
from sluice.model.site import Site
from sluice.rules.destinations import destination_of
from sluice.rules.features import needed_features

SITE = """\
kind: Distributor
name: hq
working_directory: /var/lib/sluice/hq
---
kind: Subscriber
name: s
address: local:/srv/s
working_directory: /srv/s/sluice
variables: {VALUE: VARIABLE}
---
kind: Channel
name: c
subscribers: [s]
---
kind: Distribution
name: d
distributor: hq
type: file
channels: [c]
files:
  - {source: /srv/a, destination: DESTINATION}
pre_actions:
  - ACTION
"""
FIELDS = {
    "destination": "{undo: none, type: shell, run: a}",
    "run": "script: {undo: none, type: shell, run: HERE}",
    "script path": "script: {undo: none, type: shell, path: HERE}",
    "script undo": "script: {undo: HERE, type: shell, run: a}",
    "path": "start_process: {undo: none, path: HERE}",
    "argument": "start_process: {undo: none, path: /bin/a, arguments: [HERE]}",
    "start undo": "start_process: {undo: HERE, path: /bin/a}",
    "name": "stop_process: {undo: none, name: HERE}",
    "stop undo": "stop_process: {undo: HERE, name: a}",
}
TEMPLATES = {
    "alone": '"{{ VALUE }}"',
    "before": '"{{ VALUE }}/x"',
    "after": '"/opt/{{ VALUE }}"',
    "within": "\"{{ VALUE | replace('/', '') }}\"",
    "an escape": "'/{{ \"\\x00\" }}{{ VALUE }}'",
    "half a character": "'/{{ \"\\ud800\" }}{{ VALUE }}'",
    "doubled": '"/' + "{{ VALUE }}" * 70 + '"',
    "long": '"{{ VALUE }}' + "x" * 300 + '"',
}
VARIABLES = ['""', '" "', "/opt", "opt", "/", "..", "a/b", '"a\\tb"', "none", "é", "x" * 4000, '"/opt/../x"', '"//x"', "~/x", '"$HOME"']


def placed(field: str, template: str, value: str) -> str:
    """The site with one template in one field."""
    action = FIELDS[field] if field != "destination" else "script: {undo: none, type: shell, run: a}"
    text = SITE.replace("ACTION", action).replace("DESTINATION", template if field == "destination" else "/opt/a")
    return text.replace("HERE", template).replace("VARIABLE", value)


def goes_through(site: Site) -> None:
    """Write and read everything that holds values of the Distribution on its way."""
    distribution, rendered = site.distribution("d"), recipe(site, "d", "s")
    number = RevisionNumber(1, 1)
    destinations = tuple(destination_of(entry, [Entry(EntryKind.DIRECTORY, "", 0o755, 0)]) for entry in distribution.files)
    manifest = Manifest("d", number, "file", destinations, distribution.pre_actions, distribution.post_actions)
    assert parse_manifest(manifest_bytes(manifest)) == manifest
    at = datetime(2026, 1, 1, tzinfo=UTC)
    order = Order(
        distributor="hq",
        subscriber="s",
        sequence=1,
        issued=at,
        expires=at + timedelta(days=1),
        distribution="d",
        revision=number,
        destinations=rendered.destinations,
        pre_actions=rendered.pre_actions,
        post_actions=rendered.post_actions,
    )
    assert parse_order(order_bytes(order)) == order
    asked = rehearse_request("d", rendered)
    fields = Fields({key: value for key, value in asked.items() if key not in ("type", "distribution")}, what="a question")
    again = recipe_from_json(fields)
    assert (again.destinations, again.pre_actions) == (rendered.destinations, rendered.pre_actions)


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("template", TEMPLATES)
def test_a_rendered_value_is_refused_at_its_line_or_goes_all_the_way(field: str, template: str, tmp_path: Path) -> None:
    for value in VARIABLES:
        text = placed(field, TEMPLATES[template], value)
        (tmp_path / "a.yaml").write_text(text)
        try:
            site = load_site(tmp_path)
        except SiteError as error:
            errors = error.errors
        else:
            errors = ()
            goes_through(site)
        lines = text.splitlines()
        assert all(lines[e.line - 1].strip().startswith(("- ", "variables:")) and e.remedy for e in errors), errors


@pytest.mark.parametrize(
    ("field", "template", "value", "told"),
    [
        ("path", '"{{ VALUE }}/x"', "opt", "for s it is 'opt/x', not an absolute path"),
        ("script path", '"{{ VALUE }}/x"', "opt", "for s it is 'opt/x', not an absolute path"),
        ("name", '"{{ VALUE }}"', "a/b", "for s it is 'a/b', which is a path, not a name"),
        ("name", '"{{ VALUE }}"', '""', "which is not the name of a program"),
        ("run", '"{{ VALUE }}"', '""', "for s it is empty"),
        ("stop undo", '"{{ VALUE }}"', '" "', "for s it is empty"),
        ("destination", '"{{ VALUE }}/x"', "opt", "for s it is 'opt/x', not an absolute path"),
        ("argument", "'{{ \"\\x00\" }}'", "a", "has a character that isn't text"),
        ("destination", '"{{ VALUE }}/sluice/x"', "/srv/s", "in the agent's own working directory"),
    ],
)
def test_it_is_told_for_whom(field: str, template: str, value: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(placed(field, template, value))
    with pytest.raises(SiteError) as refusal:
        load_site(tmp_path)
    (error,) = refusal.value.errors
    assert told in error.message
    assert error.line == (23 if field != "destination" else 21)


@pytest.mark.parametrize(
    ("field", "template", "needed"),
    [("path", '"{{ VALUE }}/x"', True), ("path", '"/{{ VALUE }}/x"', False), ("name", "\"{{ VALUE | replace('/', '') }}\"", True)],
)
def test_only_an_agent_that_reads_templates_is_sent_them(field: str, template: str, needed: bool, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(placed(field, template, "/opt"))
    distribution = load_site(tmp_path).distribution("d")
    assert (Feature.TEMPLATES in needed_features(distribution, min_free=0)) is needed


def test_more_than_an_order_holds_is_refused(tmp_path: Path) -> None:
    long = "{{ VALUE }}" * 15
    actions = "\n".join(f'  - script: {{type: shell, run: "{long}", undo: none}}' for _ in range(100))
    text = placed("run", "a", "x" * 4000).replace("  - script: {undo: none, type: shell, run: a}", actions)
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(SiteError, match="the texts of all actions have 5859 KiB, more than 4096"):
        load_site(tmp_path)
    many = ", ".join(["a"] * 1000)
    actions = "\n".join(f"  - start_process: {{path: /bin/a{n}, arguments: [{many}]}}" for n in range(100))
    text = placed("run", "a", "x").replace("  - script: {undo: none, type: shell, run: a}", actions)
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(SiteError, match="arguments, scripts and excludes, more than 100000"):
        load_site(tmp_path)
