"""Which files of a site are read: none is left out without a word, and odd texts are read or refused at their line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sluice.blueprint import load_site
from sluice.blueprint.check.advice import advice
from sluice.blueprint.start import in_the_way
from sluice.errors import SiteError
from tests.blueprint.conftest import NOW

HOST = "kind: Subscriber\nname: {0}\naddress: local:/{0}\nworking_directory: /{0}/w\n"
NOBODY = 65534


@pytest.mark.parametrize("name", ["a.yaml", "a.yml", "a.YAML", "a.YML", "a.Yaml", "below/a.yMl"])
def test_a_file_is_read_whatever_the_case_of_its_ending(tmp_path: Path, name: str) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / name).write_text(HOST.format("a"))
    site = load_site(tmp_path)
    assert list(site.subscribers) == ["a"]
    assert advice(site, NOW) == []


@pytest.mark.parametrize(
    "name", ["b.yaml~", "b.yml.txt", "b.yaml.bak", "b.YAML.orig", "#b.yaml#", "b.yaml.1", "b.yaml.j2", "b.yam", "b.ymal"]
)
def test_a_near_miss_is_named_and_not_read(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.yaml").write_text(HOST.format("a"))
    (tmp_path / name).write_text(HOST.format("b"))
    site = load_site(tmp_path)
    assert list(site.subscribers) == ["a"]
    (found,) = advice(site, NOW)
    told = "is not read: its name ends in neither .yaml nor .yml: end its name in .yaml, or move it out of the site"
    assert str(found) == f"{tmp_path / name}: advice: {told}"


@pytest.mark.parametrize("name", ["README.md", ".b.yaml.swp", "files/b.yaml~", ".git/b.yaml~", "key.pem", "yaml", "notes.txt"])
def test_what_no_author_meant_as_a_blueprint_is_not_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.yaml").write_text(HOST.format("a"))
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("x")
    assert advice(load_site(tmp_path), NOW) == []


def test_a_link_to_a_directory_is_named_and_a_link_to_a_file_is_read(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "b.yaml").write_text(HOST.format("b"))
    site = tmp_path / "site"
    site.mkdir()
    (site / "a.yaml").symlink_to(elsewhere / "b.yaml")
    (site / "more").symlink_to(elsewhere)
    (site / "round").symlink_to(site)
    loaded = load_site(site)
    assert list(loaded.subscribers) == ["b"]
    assert [(each.file, each.message) for each in advice(loaded, NOW)] == [
        (str(site / name), "is not read: it is a link to a directory") for name in ("more", "round")
    ]


def test_a_directory_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "a.yaml").write_text(HOST.format("a"))
    (tmp_path / "closed").mkdir(mode=0)
    account = os.geteuid()
    if account == 0:
        for parent in (tmp_path, *tmp_path.parents):
            if not parent.stat().st_mode & 0o001:
                parent.chmod(parent.stat().st_mode | 0o011)
        os.seteuid(NOBODY)
    try:
        with pytest.raises(SiteError, match=r"/closed: cannot be read \(Permission denied\): give this account the right to read it"):
            load_site(tmp_path)
    finally:
        os.seteuid(account)


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (("\ufeff" + HOST.format("a")).encode(), ""),
        (HOST.format("a").replace("\n", "\r\n").encode(), ""),
        (("---\n---\n# nothing\n---\n" + HOST.format("a") + "---\n...\n").encode(), ""),
        (HOST.format("a").encode("utf-16"), ":1: is not UTF-8 text"),
        (HOST.format("a").encode("utf-16-le"), ":1: is not valid YAML"),
        (HOST.format("a").encode("latin-1").replace(b"w\n", b"\xe9\n"), ":4: is not UTF-8 text"),
        ((HOST.format("a") + "tags:\n\tsite: a\n").encode(), ":6: is indented by a tab"),
        ((HOST.format("a") + "name: b\n").encode(), ":5: name: duplicate key, first on line 2"),
        (("a: &a [x]\n" + "".join(f"b{n}: [*a,*a,*a]\n" for n in range(9))).encode(), ":1: &a is an anchor"),
        ((HOST.format("a") + "<<: {active: false}\n").encode(), ":5: << is a merge key"),
        ((HOST.format("a") + "active: !!python/object:a.B {}\n").encode(), ":5: "),
        (b"", "contains no documents"),
    ],
)
def test_an_odd_text_is_read_or_refused_at_its_line(tmp_path: Path, data: bytes, found: str) -> None:
    (tmp_path / "a.yaml").write_bytes(data)
    if not data:
        (tmp_path / "b.yaml").write_text(HOST.format("a"))
        found = ""
    if found:
        with pytest.raises(SiteError) as refusal:
            load_site(tmp_path)
        assert str(refusal.value.errors[0]).startswith(f"{tmp_path}/a.yaml{found}")
    else:
        assert list(load_site(tmp_path).subscribers) == ["a"]


def test_init_does_not_write_beside_a_blueprint_in_capitals(tmp_path: Path) -> None:
    (tmp_path / "SITE.YAML").write_text(HOST.format("a"))
    assert in_the_way(tmp_path) == "SITE.YAML"
