"""A site's id: made by `sluice init`, read with the site, the same in each copy, refused if it isn't one."""

import shutil
from pathlib import Path

import pytest

from sluice.blueprint import load_site
from sluice.blueprint.read.files import blueprint_files
from sluice.blueprint.start import init_site
from sluice.errors import SiteError


def test_a_new_site_has_an_id_of_its_own_which_its_copies_keep(tmp_path: Path) -> None:
    for name in ("one", "two"):
        init_site(tmp_path / name)
    shutil.copytree(tmp_path / "one", tmp_path / "copy")
    one, two, copy = (load_site(tmp_path / name).id for name in ("one", "two", "copy"))
    assert len(one) == 32
    assert one == copy != two


def test_a_site_without_the_file_has_none(tmp_path: Path) -> None:
    init_site(tmp_path / "site")
    (tmp_path / "site/site-id").unlink()
    assert load_site(tmp_path / "site").id == ""


@pytest.mark.parametrize("content", [b"", b"hq\n", b"A" * 32, b"0" * 33, b"0" * 32 + b"\n\n", b"\xff" * 32, b"0" * 31 + b"+", b"0" * 4096])
def test_anything_else_is_an_error_of_the_site_at_its_file(tmp_path: Path, content: bytes) -> None:
    init_site(tmp_path / "site")
    (tmp_path / "site/site-id").write_bytes(content)
    with pytest.raises(SiteError, match=r"site-id:1: is no site id of 16 or 32 hex digits: put back"):
        load_site(tmp_path / "site")


def test_a_directory_of_that_name_is_one_too(tmp_path: Path) -> None:
    init_site(tmp_path / "site")
    (tmp_path / "site/site-id").unlink()
    (tmp_path / "site/site-id").mkdir()
    with pytest.raises(SiteError, match="is no site id"):
        load_site(tmp_path / "site")


@pytest.mark.parametrize("above", [False, True], ids=["the site is the link", "the link is above it"])
def test_a_site_behind_a_link_is_read_whole_although_the_link_is_switched_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, above: bool
) -> None:
    """A document that moved to another file is in both releases; half of each would lack it."""
    for release in ("one", "two"):
        init_site(tmp_path / release / "site")
    (tmp_path / "two/site/channels.yaml").rename(tmp_path / "two/site/zz-channels.yaml")
    link = tmp_path / "live"
    target = "{}" if above else "{}/site"
    link.symlink_to(target.format("one"))
    switched = []

    def listed(directory: Path) -> list[Path]:
        found = blueprint_files(directory)
        if not switched:
            switched.append(directory)
            (tmp_path / "next").symlink_to(target.format("two"))
            (tmp_path / "next").rename(link)
        return found

    monkeypatch.setattr("sluice.blueprint.schema.parse.blueprint_files", listed)
    directory = link / "site" if above else link
    site = load_site(directory)
    assert switched
    assert site.channels.keys() == load_site(tmp_path / "one/site").channels.keys()
    assert site.directory == str(directory), "the link stays in it"
    assert site.id == load_site(tmp_path / "two/site").id
