"""``/`` at the end of a destination means into, for a file."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from sluice.model.manifest import Destination
from sluice.model.site import FileSource
from sluice.rules.destinations import destination_of, path_of


@pytest.mark.parametrize(
    ("template", "rendered", "as_file", "as_directory"),
    [
        ("/etc/app/", "/etc/app/", "/etc/app/a.conf", "/etc/app"),
        ("{{ DEST }}/", "/srv/x/", "/srv/x/a.conf", "/srv/x"),
        ("/", "/", "/a.conf", "/"),
        ("/etc/b.conf", "/etc/b.conf", "/etc/b.conf", "/etc/b.conf"),
    ],
)
def test_a_file_goes_into_a_destination_with_a_slash_at_its_end_and_a_directory_becomes_it(
    template: str, rendered: str, as_file: str, as_directory: str
) -> None:
    source = FileSource(PurePosixPath("/srv/a.conf"), template)
    assert path_of(rendered, destination_of(source, is_directory=False)) == as_file
    assert path_of(rendered, destination_of(source)) == as_directory


def test_a_name_that_looks_like_a_template_is_taken_as_it_is() -> None:
    source = FileSource(PurePosixPath("/srv/{{ A }}"), "/etc/{{ B }}/")
    assert path_of("/etc/b/", destination_of(source, is_directory=False)) == "/etc/b/{{ A }}"


def test_of_a_revision_from_before_the_slash_was_written_the_destination_stays() -> None:
    assert path_of("/etc/app/", Destination("/etc/app", True, ())) == "/etc/app"
