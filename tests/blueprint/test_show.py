"""Effective settings, the JSON Schema, and new sites."""

from __future__ import annotations

import filecmp
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from sluice.blueprint import load_site
from sluice.blueprint.render.settings import effective_settings
from sluice.blueprint.schema.complaints import keys_of
from sluice.blueprint.schema.json_schema import schema, schema_text
from sluice.blueprint.schema.kinds import KINDS
from sluice.blueprint.schema.not_yet import KINDS as LATER_KINDS
from sluice.blueprint.schema.not_yet import TYPES
from sluice.blueprint.start import in_the_way, init_site, site_files
from sluice.errors import NotFoundError
from tests.blueprint.conftest import SiteOf
from tests.blueprint.test_bad_blueprints import BAD

ROOT = Path(__file__).parents[2]
BLUEPRINTS = ROOT / "blueprints"


def test_show_is_complete_and_says_where_each_setting_came_from(site_of: SiteOf) -> None:
    site = site_of("kind: Defaults\ndistributor: {connection_timeout: 60 s}\n")
    rows = {path: (text, origin) for path, text, origin in effective_settings(site, "distributor", "hq")}
    assert rows["max_concurrent"] == ("unlimited (64 at once in a process)", "built-in")
    assert rows["connection_timeout"][0] == "1 min"
    assert rows["connection_timeout"][1].startswith("defaults ")
    assert rows["name"][1].endswith("around.yaml:3")
    assert set(rows) == {"name", "description", "working_directory", "refresh", "max_concurrent"} | {
        "retry.every",
        "retry.for",
        "connection_timeout",
        "min_free",
        "mail",
    }


def test_show_resolves_variables_and_names_the_predefined_ones(site_of: SiteOf) -> None:
    rows = {path: (text, origin) for path, text, origin in effective_settings(site_of(), "Subscriber", "web-1")}
    assert rows["variables.DEST"][0] == "/opt"
    assert rows["variables.NAME"] == ("web-1", "built-in")
    assert rows["connection_timeout"] == ("the Distributor's (5 min)", "built-in")
    assert rows["extract"] == ("immediately", "built-in")


def test_show_covers_every_key_that_can_be_written() -> None:
    site = load_site(BLUEPRINTS)
    for kind, name in (("Distributor", "hq"), ("Subscriber", "web-1"), ("Channel", "greetings"), ("Distribution", "greeting")):
        shown = {path.replace("[", ".").split(".")[0] for path, _, _ in effective_settings(site, kind, name)}
        written = set(keys_of(KINDS[kind])) - {"kind", "tags", "pre_actions", "host_keys"}
        assert written <= shown


def test_show_of_an_unknown_kind_or_name_is_refused(site_of: SiteOf) -> None:
    site = site_of()
    with pytest.raises(NotFoundError, match="did you mean Channel"):
        effective_settings(site, "chanel", "c")
    with pytest.raises(NotFoundError, match="the site has: hq"):
        effective_settings(site, "distributor", "none")


def test_the_committed_schema_is_up_to_date() -> None:
    assert (ROOT / "docs/blueprint.schema.json").read_text() == schema_text()


@pytest.fixture(scope="module")
def validator() -> Any:
    jsonschema.Draft202012Validator.check_schema(schema())
    return jsonschema.Draft202012Validator(schema())


def documents(text: str) -> list[Any]:
    return [d for d in yaml.safe_load_all(text) if d is not None]


def test_the_schema_accepts_the_example_site(validator: Any) -> None:
    for file in BLUEPRINTS.glob("*.yaml"):
        for document in documents(file.read_text()):
            validator.validate(document)


@pytest.mark.parametrize(
    "bad",
    [
        "unknown-key",
        "name-with-a-period",
        "kind-misspelt",
        "type-of-a-later-version",
        "time-without-quotes",
        "duration-without-a-unit",
        "files-empty",
        "schedule-that-is-a-word",
        "priority-unknown",
        "second-owner-in-a-list",
        "value-missing",
        "mode-without-quotes",
    ],
)
def test_the_schema_refuses_what_it_can_see(validator: Any, bad: str) -> None:
    [file] = [f for f in BAD if f.stem == bad]
    assert any(not validator.is_valid(document) for document in documents(file.read_text()))


def test_the_schema_completes_every_key(validator: Any) -> None:
    for kind, model in KINDS.items():
        assert set(schema()["$defs"][model.__name__]["properties"]) == set(keys_of(model)), kind


def test_the_authors_reference_names_every_key_and_what_is_not_there_yet() -> None:
    text = (ROOT / "docs/blueprints.md").read_text()
    for model in KINDS.values():
        assert [key for key in keys_of(model) if f"`{key}`" not in text] == []
    assert [word for word in [*LATER_KINDS, *TYPES] if f"`{word}`" not in text] == []


def test_a_new_site_loads_and_is_the_example_site(tmp_path: Path) -> None:
    written = init_site(tmp_path / "new")
    site = load_site(tmp_path / "new")
    assert {
        type(o).__name__ for group in (site.distributors, site.subscribers, site.channels, site.distributions) for o in group.values()
    } == {
        "Distributor",
        "Subscriber",
        "Channel",
        "Distribution",
    }
    below = [str(f.relative_to(tmp_path / "new")) for f in written]
    assert below.pop(0) == "site-id"
    assert below == sorted(site_files())
    assert filecmp.cmpfiles(tmp_path / "new", BLUEPRINTS, below, shallow=False) == (below, [], [])


def test_the_sources_of_the_example_site_exist() -> None:
    for distribution in load_site(BLUEPRINTS).distributions.values():
        assert all(Path(entry.source).exists() for entry in distribution.files)


def test_a_new_site_replaces_nothing(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("kind: Channel\nname: c\n")
    assert in_the_way(tmp_path) == "mine.yaml"
