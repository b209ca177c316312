"""What costs much for little text is counted for a whole site, and a site beyond the bounds is refused at the first one too many."""

from __future__ import annotations

import os
from pathlib import Path
from zoneinfo import available_timezones

import pytest

from sluice.blueprint import load_site
from sluice.blueprint.read.reader import FILE_MAX
from sluice.blueprint.schema import bounds
from sluice.blueprint.schema.suggest import nearest
from sluice.errors import SiteError

HEAD = "{kind: Distributor, name: hq, working_directory: /v/hq}\n"
CHANNEL = "---\n{{kind: Channel, name: c{0}, send: {{{1}}}}}\n"
ZONES = [f"Etc/GMT{sign}{hour}" for sign in "+-" for hour in range(13)] + [f"America/{city}" for city in ("Lima", "Bogota", "Panama")]


def errors(directory: Path, text: str) -> list[str]:
    (directory / "a.yaml").write_text(HEAD + text)
    try:
        load_site(directory)
    except SiteError as refused:
        return [f"{error.line}: {error.path}: {error.message}" for error in refused.errors]
    return []


def rules(number: int) -> str:
    return "".join(CHANNEL.format(n, f"rrule: 'FREQ=DAILY;BYHOUR={n % 24};BYMINUTE={n // 24}'") for n in range(number))


def test_a_site_has_so_many_different_rules_and_each_as_often_as_it_likes(tmp_path: Path) -> None:
    again = "".join(CHANNEL.format(f"x{n}", "rrule: 'FREQ=DAILY;BYHOUR=1;BYMINUTE=0'") for n in range(50))
    assert errors(tmp_path, rules(bounds.RULES_MAX) + again) == []
    found = errors(tmp_path, rules(bounds.RULES_MAX + 2) + again)
    line = 2 * bounds.RULES_MAX + 3
    what = f"send.rrule: is more than the {bounds.RULES_MAX} different rules that a site of this size may have"
    assert found == [f"{line}: {what}", f"{line + 2}: {what}"]


def test_a_site_has_so_many_time_zones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "ZONES_MAX", 5)
    text = "".join(CHANNEL.format(n, f"daily: {{at: '02:00'}}, timezone: {zone}") for n, zone in enumerate([*ZONES[:5], ZONES[0]]))
    assert errors(tmp_path, text) == []
    more = CHANNEL.format("more", f"daily: {{at: '02:00'}}, timezone: {ZONES[6]}")
    assert len(errors(tmp_path, text + more)) == 1


def test_a_larger_site_has_more_in_proportion_to_its_text(tmp_path: Path) -> None:
    (tmp_path / "z.yaml").write_text("# filled\n" * (bounds.SHARE // 9 * 2))  # with a.yaml three begun shares
    assert errors(tmp_path, rules(3 * bounds.RULES_MAX)) == []
    found = errors(tmp_path, rules(3 * bounds.RULES_MAX + 1))
    line = 6 * bounds.RULES_MAX + 3
    assert found == [f"{line}: send.rrule: is more than the 60 different rules that a site of this size may have"]
    zones = sorted(zone for zone in available_timezones() if zone.startswith("America/"))[: 2 * bounds.ZONES_MAX]
    assert errors(tmp_path, "".join(CHANNEL.format(n, f"every: 1 h, timezone: {zone}") for n, zone in enumerate(zones))) == []


@pytest.mark.parametrize("size", [2 * FILE_MAX, None])
def test_what_is_not_read_as_a_blueprint_gives_no_share(tmp_path: Path, size: int | None) -> None:
    other = tmp_path / "z.yaml"
    if size is None:
        other.symlink_to("nowhere")
    else:
        other.touch()
        os.truncate(other, size)
    found = errors(tmp_path, rules(bounds.RULES_MAX + 1))
    assert len([each for each in found if f"the {bounds.RULES_MAX} different rules" in each]) == 1


def test_words_beyond_the_bound_have_no_suggestion(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "COMPARISONS_MAX", 5)
    for _ in range(2):
        with bounds.counted():
            assert nearest("web-2", ["web-1", "db"]) == nearest("web-3", ["web-1", "db"]) == "did you mean web-1?"
            assert nearest("web-4", ["web-1", "db"]) == ""
    assert nearest("web-4", ["web-1", "db"]) == "did you mean web-1?"
    assert nearest("web-1" * 50, ["web-1" * 49]) == ""
