"""What bench.deltas counts: differences of two trees, the file list of per-file methods, rsync's own figures, means and limits."""

import json
import math
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from backports import zstd

from bench.deltas import merged
from bench.deltas_chart import svg
from bench.deltas_files import measure
from bench.deltas_table import LIMITS, geometric_mean, lines
from bench.deltas_trees import compare, differences, file_list, sent_files
from bench.processes import NotMeasuredError

PROJECT = Path(__file__).parents[2]
THEN, LATER = 1_700_000_000, 1_700_000_060

pytestmark = pytest.mark.timeout(360)


def write(path: Path, data: bytes, at: int = THEN) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.utime(path, (at, at))


@pytest.fixture
def trees(tmp_path: Path) -> tuple[Path, Path]:
    old, new = tmp_path / "old", tmp_path / "new"
    for tree in (old, new):
        write(tree / "same", b"as it was")
        write(tree / "touched", b"as it was", THEN if tree is old else LATER)
    write(old / "changed", b"one line\n" * 500)
    write(new / "changed", b"one line\n" * 500 + b"and another\n", LATER)
    write(old / "gone", b"x")
    write(new / "added", b"new " * 100, LATER)
    for tree in (old, new):
        (tree / "link").symlink_to("same" if tree is old else "changed")
        os.utime(tree / "link", (THEN, THEN), follow_symlinks=False)
        os.utime(tree, (THEN, THEN))
    return old, new


def test_every_path_that_differs_is_named_once_by_how_it_differs(trees: tuple[Path, Path]) -> None:
    changes = compare(*trees)
    assert changes.added == ("added",)
    assert changes.removed == ("gone",)
    assert changes.changed == ("changed",)
    assert changes.touched == ("link", "touched")
    assert list(sent_files(changes)) == [("added", True), ("changed", False)]
    assert changes.changed_bytes == 500 * 9


def test_other_bytes_of_the_same_size_and_time_are_a_change(trees: tuple[Path, Path]) -> None:
    old, new = trees
    write(new / "same", b"as it is!")
    assert "same" in compare(old, new).changed


def test_the_list_names_what_a_receiver_needs_of_every_entry_that_differs_and_of_no_other(trees: tuple[Path, Path]) -> None:
    (trees[1] / "added").chmod(0o640)
    data = zstd.decompress(file_list(compare(*trees), {"added": 21, "changed": 33})).decode()
    kinds, paths, modes, times, sizes, targets = data.split("\0")
    assert paths.split("\n") == ["added", "changed", "gone", "link", "touched"]
    assert kinds == "+f=f-ftltf"
    assert modes.split("\n") == ["640", "", "", ""]
    assert times.split("\n") == [str(LATER * 10**9), str(60 * 10**9), "0", str(60 * 10**9)]
    assert sizes.split("\n") == ["21", "33"]
    assert targets == "changed"


def test_two_trees_alike_but_for_directories_times_are_the_same(trees: tuple[Path, Path]) -> None:
    old, new = trees
    os.utime(new, (LATER, LATER))
    assert differences(old, new) == ["added", "changed", "gone", "link", "touched"]
    assert differences(new, new) == []


@pytest.mark.parametrize("name", ["zstd --patch-from -9", "zstd --patch-from -19"])
def test_a_method_makes_a_patch_of_each_changed_file_and_compresses_new_ones(trees: tuple[Path, Path], name: str) -> None:
    old, new = trees
    made = measure(name, compare(old, new), old, new, seconds=20)
    whole = len(zstd.compress((new / "added").read_bytes(), 19))
    assert whole < made["patches"] < whole + 80
    assert 0 < made["list"] < 300
    assert made["cpu"] < 20


@pytest.mark.slow
def test_a_method_that_takes_too_long_has_no_figure_but_a_reason_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr(tempfile, "tempdir", None)
    chance = random.Random(4)
    for tree in ("old", "new"):
        write(tmp_path / tree / "noise", chance.randbytes(12_000_000))
    changes = compare(tmp_path / "old", tmp_path / "new")
    with pytest.raises(NotMeasuredError, match=r"^more than (1 s of CPU|4 s)$"):  # the latter if the machine gave it less than a quarter
        measure("zstd --patch-from -19", changes, tmp_path / "old", tmp_path / "new", seconds=1)
    assert list(temporary.iterdir()) == []


def test_a_method_whose_program_is_missing_has_no_figure_but_a_reason(trees: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(NotMeasuredError, match=r"^bsdiff isn't installed$"):
        measure("bsdiff", compare(*trees), *trees, seconds=5)


def results() -> dict[str, dict[str, Any]]:
    peers = {
        "bsdiff": {"bytes": 9_000, "patches": 8_000, "list": 1_000, "cpu": 2.0},
        "rsync -az --delete": {"bytes": 50_000},
        "rsync -az --delete --checksum": {"bytes": 40_000},
        "casync": {"left_out": "casync isn't installed"},
    }
    ours = {"default": {"bytes": 4_500, "delta_cpu": 3.0}, "max": {"bytes": 4_320}}
    return {"pairs": {"pair": {"about": "a pair", "peers": peers, "ours": ours}}}


def test_ratios_are_of_the_smaller_rsync_and_the_smallest_method_with_its_list() -> None:
    pair = results()["pairs"]["pair"]
    assert [limit.of(pair) for limit in LIMITS] == [4_500 / 40_000, 0.5, 0.48, 4_500 / 8_000, None, 1.5]


def test_what_is_above_its_limit_and_what_is_missing_is_said() -> None:
    table = "\n".join(lines(results()))
    assert "**1.50**, above" in table
    assert "- pair, casync: casync isn't installed" in table


def test_a_mean_is_geometric() -> None:
    assert geometric_mean([0.5, 2.0, 8.0]) == pytest.approx(2.0)
    assert geometric_mean([]) is None


def test_figures_of_an_earlier_run_stay_where_a_later_one_measured_nothing() -> None:
    later = {"pairs": {"pair": {"about": "a pair", "peers": {}, "ours": {"default": {"bytes": 4_000}}}}}
    both = merged(results(), later)["pairs"]["pair"]
    assert both["ours"] == {"default": {"bytes": 4_000}, "max": {"bytes": 4_320}}
    assert set(both["peers"]) == set(results()["pairs"]["pair"]["peers"])


def test_the_chart_shows_each_series_as_long_as_its_logarithm() -> None:
    picture = svg(results())
    bars = [
        float(each.split('width="')[1].split('"')[0]) for each in picture.splitlines() if 'x="150" y="' in each and 'height="9"' in each
    ]
    assert len(bars) == 3
    rsync, smallest, ours = bars
    per_decade = (rsync - smallest) / math.log10(40_000 / 9_000)
    assert (smallest - ours) / math.log10(9_000 / 4_500) == pytest.approx(per_decade, rel=0.01)


def test_a_made_pair_is_measured_beside_rsync_and_nothing_is_left(tmp_path: Path, real_part: Callable[[str], Path]) -> None:
    for name in ("sshd", "ssh", "rsync"):
        real_part(name)
    found = tmp_path / "results" / "found.json"
    found.parent.mkdir()
    (tmp_path / "work").mkdir()
    peers = "rsync -az --delete,zstd --patch-from -9"
    command = [sys.executable, "-m", "bench.deltas", "--pairs", "one-line", "--peers", peers, "--directory", str(tmp_path / "work")]
    ended = subprocess.run([*command, "--json", str(found)], cwd=PROJECT, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    pair = json.loads(found.read_text())["pairs"]["one-line"]
    assert pair["tree"]["changed"] == 1
    assert pair["peers"].keys() == {"rsync -az --delete", "zstd --patch-from -9"}
    assert all(peer["bytes"] > 0 for peer in pair["peers"].values())
    ours = pair["ours"]["default"]
    assert ours["bytes"] == ours["about"]["send"]["sent"] + ours["about"]["send"]["received"]
    assert 0 < ours["payload"] < ours["bytes"]
    assert sorted(path.name for path in found.parent.iterdir()) == ["found.json", "found.md", "found.svg"]
    assert list((tmp_path / "work").iterdir()) == []
