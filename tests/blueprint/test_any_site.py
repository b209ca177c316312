"""Whatever stands in a file, it is a site or it is refused in words."""

from __future__ import annotations

import copy
import os
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from sluice.blueprint import load_site
from sluice.blueprint.schema.complaints import keys_of
from sluice.blueprint.schema.kinds import KINDS
from sluice.blueprint.start import site_files
from sluice.errors import SiteError
from tests.conftest import some

GOOD = [d for name, text in site_files().items() if name.endswith(".yaml") for d in yaml.safe_load_all(text)]
KEYS = sorted({key for model in KINDS.values() for key in keys_of(model)} | {"parents", "mail", "script", "run", "undo", "where", "days"})
WORDS = ["never", "immediately", "5 min", "{{ DEST }}/x", "{{ range(9) }}", "/", "..", "22:00", 'site == "office"', "office-1", "hq"]
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.dates() | st.text(max_size=8) | st.sampled_from(WORDS)
JUNK = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        found += places(inner, (*path, key))
    return found


def outcome(text: str | bytes) -> None:
    """Load one text as a site; anything but a Site or a SiteError with remedies is a failure."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, "a.yaml").write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
        try:
            load_site(Path(directory))
        except SiteError as e:
            errors = e.errors
        else:
            errors = ()
    assert all(error.remedy and error.line >= 0 and error.message for error in errors)


@pytest.mark.slow
@settings(max_examples=some(60), deadline=None)
@given(st.data())
def test_a_site_with_anything_anywhere_is_a_site_or_refused(data: st.DataObject) -> None:
    site = copy.deepcopy(GOOD)
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(places(site)))
        around: Any = site
        for step in path[:-1]:
            around = around[step]
        with suppress(KeyError, IndexError, TypeError):
            if isinstance(around, dict) and data.draw(st.booleans()):
                around[data.draw(st.sampled_from(KEYS))] = data.draw(JUNK)
            else:
                around[path[-1]] = data.draw(JUNK)
    outcome(yaml.safe_dump_all(site))


@settings(max_examples=some(100), deadline=None)
@given(st.binary(max_size=60) | st.text(alphabet="{}[]:-#&*!|>'\"%@`?, \nab1", max_size=40))
def test_any_text_is_a_site_or_refused(text: str | bytes) -> None:
    outcome(text)


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "a: " + "{b: " * 50_000,
        "? " * 100_000,
        "- " * 100_000,
        "a: &a [x]\n" + "b: *a\n" * 50_000,
        "a" * 1_000_000,
        "1" * 1_000_000,
    ],
    ids=["lists", "mappings", "keys", "items", "aliases", "word", "number"],
)
@pytest.mark.timeout(60)  # what isn't bounded takes hours
def test_a_hostile_file_is_refused_without_endless_work(text: str) -> None:
    outcome(text)


def test_a_pipe_in_the_site_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.yaml")
    with pytest.raises(SiteError, match="is not a file"):
        load_site(tmp_path)


@pytest.mark.slow
def test_loading_ten_times_the_subscribers_makes_about_ten_times_the_calls(tmp_path: Path) -> None:
    def calls(count: int) -> int:
        hosts = "---\n".join(
            f"kind: Subscriber\nname: h-{n}\naddress: local:/h/{n}\nworking_directory: /h/{n}/s\nvariables: {{DEST: /opt/{n}}}\n"
            for n in range(count)
        )
        channel = 'kind: Channel\nname: c\nsubscribers: [{where: name != "x"}]\n'
        distribution = "kind: Distribution\nname: d\ndistributor: hq\ntype: file\nchannels: [c]\n"
        files = 'files: [{source: /srv/a, destination: "{{ DEST }}/a"}]\n'
        distributor = "kind: Distributor\nname: hq\nworking_directory: /var/hq\n"
        (tmp_path / "a.yaml").write_text("---\n".join([hosts, channel, distribution + files, distributor]))
        counted = 0

        def count_call(_frame: object, event: str, _argument: object) -> None:
            nonlocal counted
            counted += event in ("call", "c_call")

        sys.setprofile(count_call)
        try:
            load_site(tmp_path)
        finally:
            sys.setprofile(None)
        return counted

    calls(10)  # what is imported and cached the first time
    assert calls(400) < 15 * calls(40)
