"""``renamed_from:`` from the blueprint to the ledger, with a real agent: status and why say what is so at each step."""

from __future__ import annotations

from pathlib import Path

import pytest

from sluice.errors import AgentVersionError
from sluice.model.state import State
from tests.cli.conftest import Sluice
from tests.cli.real_site import RealSite, forked_site
from tests.subscriber.revisions import tree_of

pytestmark = pytest.mark.slow
D = """\
---
kind: Distribution
name: {name}{former}
distributor: hq
type: file
channels: [web]
extract: immediately
files:
  - {{source: src, destination: "{{{{ LOCAL_DIRECTORY }}}}/tree", synchronize: {synchronize}}}
"""


def document(name: str, former: str = "", *, synchronize: str = "true") -> str:
    return D.format(name=name, former=f"\nrenamed_from: {former}" if former else "", synchronize=synchronize)


@pytest.fixture
def real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RealSite:
    """``old`` is installed."""
    site = forked_site(tmp_path, monkeypatch, a="a", b="b")
    site.write(document("old"))
    assert site.distribute("old").state is State.INSTALLED
    return site


def rows(sluice: Sluice) -> dict[str, tuple[str, str | None]]:
    return {row["distribution"]: (row["state"], row["extracted"]) for row in sluice("status", "--json").json["rows"]}


@pytest.mark.parametrize("synchronize", ["true", "mirror"])
def test_a_mirroring_distribution_is_renamed_and_what_went_meanwhile_goes_there(real: RealSite, sluice: Sluice, synchronize: str) -> None:
    real.write(document("new", "old", synchronize=synchronize))
    (real.directory / "src/b").unlink()
    assert rows(sluice) == {"new": ("not built", None), "old": ("not joined", "1.1")}
    assert "old is new now; 1.1 stays installed until new takes it over" in sluice("why", "s1", "old").out
    assert real.distribute("new").state is State.INSTALLED
    assert tree_of(real.host / "tree") == tree_of(real.directory / "src")
    assert rows(sluice) == {"new": ("installed", "1.1")}
    assert sluice("why", "s1", "old").out == "s1 has no revision of old (latest: 1.1): old is new now.\n"
    assert not real.held("old").directory.exists()
    with real.work() as work:
        [event] = [each.event for each in work.ledger.events() if each.event.data.get("took_over")]
        assert (event.distribution, event.data["took_over"]) == ("new", "old")
        assert work.store.revisions("old")  # nothing is deleted unasked


def test_a_key_that_is_written_later_makes_a_revision_that_takes_over(real: RealSite, sluice: Sluice) -> None:
    real.write(document("new"))
    assert real.distribute("new").state is State.INSTALLED
    assert rows(sluice) == {"new": ("installed", "1.1"), "old": ("not joined", "1.1")}
    real.write(document("new", "old"))
    assert real.distribute("new").state is State.INSTALLED
    assert rows(sluice) == {"new": ("installed", "1.2")}


def test_twice_in_a_row(real: RealSite, sluice: Sluice) -> None:
    real.write(document("new", "old"))
    assert real.distribute("new").state is State.INSTALLED
    real.write(document("newest", "new"))
    (real.directory / "src/a").unlink()
    assert real.distribute("newest").state is State.INSTALLED
    assert rows(sluice) == {"newest": ("installed", "1.1")}
    assert sorted(path.name for path in (real.host / "tree").iterdir()) == ["b"]


def test_one_whose_first_extraction_fails_goes_back_to_its_old_name(real: RealSite, sluice: Sluice) -> None:
    action = "post_actions:\n  - {script: {type: shell, run: exit 1, undo: none}}\n"
    real.write(document("new", "old") + action)
    (real.directory / "src/b").unlink()
    assert real.distribute("new").error is not None
    assert (real.host / "tree/b").exists()
    real.write(document("old"))
    assert real.distribute("old").state is State.INSTALLED
    assert not (real.host / "tree/b").exists()


def test_an_older_agent_is_sent_nothing(real: RealSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.features.Feature", [each for each in _features() if each != "rename"])
    real.write(document("new", "old"))
    with pytest.raises(AgentVersionError, match="can't do what new needs: rename"):
        real.distribute("new")
    assert not real.held("new").directory.exists()


def _features() -> list[object]:
    from sluice.model.feature import Feature

    return list(Feature)
