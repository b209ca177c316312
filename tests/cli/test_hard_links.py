"""Hard links from the sources to the host, over deltas, with a real agent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sluice.errors import AgentVersionError
from sluice.model.feature import Feature
from sluice.model.state import State
from tests.cli.real_site import RealSite, forked_site
from tests.subscriber.revisions import tree_of

pytestmark = pytest.mark.slow
D = """\
---
kind: Distribution
name: d
distributor: hq
type: file
channels: [web]
extract: immediately
verify: true
files:
  - {source: src, destination: "{{ LOCAL_DIRECTORY }}/tree", synchronize: true}
"""


@pytest.fixture
def real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RealSite:
    """a and sub/b are one file of a megabyte; c is small."""
    site = forked_site(tmp_path, monkeypatch, c="c")
    (site.directory / "src/sub").mkdir()
    (site.directory / "src/a").write_bytes(os.urandom(1024 * 1024))
    os.link(site.directory / "src/a", site.directory / "src/sub/b")
    site.write(D)
    return site


def check(site: RealSite, *groups: set[str]) -> None:
    assert tree_of(site.host / "tree") == tree_of(site.directory / "src")
    for names in groups:
        assert len({(site.host / "tree" / name).stat().st_ino for name in names}) == 1
        assert {(site.host / "tree" / name).stat().st_nlink for name in names} == {len(names)}


def test_they_are_kept_over_deltas_and_take_the_space_of_one(real: RealSite) -> None:
    assert real.distribute("d").state is State.INSTALLED
    check(real, {"a", "sub/b"}, {"c"})
    used = sum({each.stat().st_ino: each.stat().st_size for each in (real.host / "tree").rglob("*") if each.is_file()}.values())
    assert used == 1024 * 1024 + 1

    os.link(real.directory / "src/a", real.directory / "src/d")
    done = real.distribute("d")
    assert (done.state, str(done.base)) == (State.INSTALLED, "1.1")
    assert done.bytes < 10_000
    check(real, {"a", "sub/b", "d"}, {"c"})

    (real.directory / "src/a").unlink()  # the first of the group
    (real.directory / "src/a").write_text("alone")
    done = real.distribute("d")
    assert (done.state, str(done.base)) == (State.INSTALLED, "1.2")
    check(real, {"sub/b", "d"}, {"a"}, {"c"})

    (real.directory / "src/c").unlink()
    (real.directory / "src/sub").rename(real.directory / "src/moved")
    os.link(real.directory / "src/a", real.directory / "src/c")
    assert real.distribute("d").state is State.INSTALLED
    check(real, {"moved/b", "d"}, {"a", "c"})


def test_an_older_agent_is_sent_nothing_that_has_links_and_everything_else(real: RealSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.features.Feature", [each for each in Feature if each != "hard links"])
    with pytest.raises(AgentVersionError, match="can't do what d needs: hard links"):
        real.distribute("d")
    assert not (real.host / "tree").exists()
    (real.directory / "src/sub/b").unlink()
    assert real.distribute("d").state is State.INSTALLED
