"""A dry run's question to a real agent: what actions would meet, with nothing changed there and nothing believed beyond its limits."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sluice.errors import NotFoundError, ProtocolError, TamperedError, UnknownDistributorError
from sluice.formats.canonical import canonical_bytes
from sluice.formats.protocol import MESSAGE_MAX
from sluice.formats.rehearsals import (
    CHANGES_BYTES,
    CHANGES_MAX,
    COUNT_MAX,
    PIDS_MAX,
    PROBLEM_MAX,
    REMOVALS_MAX,
    STOPS_MAX,
    Question,
    Removals,
    changes_from_json,
    changes_to_json,
    outline_bytes,
    rehearsals_from_json,
    rehearsals_to_json,
    removals_from_json,
    removals_to_json,
)
from sluice.formats.zstd import compress_frame
from sluice.model.action import ActionRehearsal, Script, ScriptType, StartProcess, StopProcess
from sluice.model.change import Change, ChangeKind, Changes, Stop
from sluice.model.recipe import RenderedRecipe
from sluice.sender.rehearsing import rehearse_extraction, rehearse_removals
from sluice.subscriber.held.directory import DistributionDirectory
from tests.agents.workbench import PROJECT, Workbench
from tests.subscriber.programs import Programs
from tests.subscriber.revisions import make, tree_of


@pytest.fixture
def bench(tmp_path: Path) -> Workbench:
    return Workbench(tmp_path)


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[Programs]:
    made = Programs(tmp_path / "programs")
    yield made
    made.end()


@pytest.mark.slow
def test_each_action_is_answered_in_order_and_nothing_changes(bench: Workbench, programs: Programs) -> None:
    script = programs.script()
    pid = programs.start_script(script)
    missing, plain = programs.directory / "missing", programs.directory / "plain"
    plain.write_text("#!/usr/bin/perl\n")
    before = tree_of(bench.work)
    conversation = bench.connect()
    recipe = RenderedRecipe(
        ("/srv/comes",),
        (StartProcess(str(script)), StopProcess(programs.name), StopProcess(f"{programs.name}-x"), StartProcess(str(script))),
        (
            StartProcess("/srv/comes/run"),
            StartProcess(str(missing)),
            Script(ScriptType.SHELL, "none", run="exit 1"),
            Script(ScriptType.SHELL, "none", path=str(plain)),
        ),
    )
    start, stop, none, again, comes, gone, runs, other = conversation.rehearse("zone", recipe)
    conversation.close()
    assert (start.pids, start.count) == ((pid,), 1)
    assert f"it runs already, with PID {pid}" in start.problem
    assert stop == ActionRehearsal((pid,), 1, "")
    assert none == comes == runs == ActionRehearsal((), 0, "")
    assert again == ActionRehearsal((pid,), 1, "")
    assert "is no file on this Subscriber" in gone.problem
    assert "#! line for perl" in other.problem
    assert tree_of(bench.work) == before


def test_it_takes_no_lock_and_makes_nothing(bench: Workbench) -> None:
    held = DistributionDirectory(bench.held)
    with held.lock():
        conversation = bench.connect()
        assert conversation.rehearse("zone", RenderedRecipe(("/srv/a",), (StopProcess("none-of-that-name"),))) == [
            ActionRehearsal((), 0, "")
        ]
        conversation.close()
    conversation = bench.connect()
    conversation.rehearse("another", RenderedRecipe(("/srv/a",), (StopProcess("none-of-that-name"),)))
    conversation.close()
    assert not (bench.held.parent / "another").exists()


def test_it_is_answered_to_a_trusted_distributor_and_about_names_alone(bench: Workbench) -> None:
    (bench.work / "distributors/hq/trust/root.json").unlink()
    conversation = bench.connect()
    with pytest.raises(UnknownDistributorError):
        conversation.rehearse("zone", RenderedRecipe(()))
    with pytest.raises((TamperedError, NotFoundError)):
        conversation.rehearse("../zone", RenderedRecipe(()))
    conversation.close()


def test_an_answer_for_other_than_was_asked_is_refused(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    conversation = bench.connect()
    monkeypatch.setattr("sluice.sender.conversation.rehearsals_from_json", lambda _: [])
    with pytest.raises(ProtocolError, match="answered for 0 of 1 actions"):
        conversation.rehearse("zone", RenderedRecipe((), (StopProcess("none-of-that-name"),)))
    conversation.close()


def test_what_is_said_is_bounded_and_harmless() -> None:
    told = rehearsals_to_json([ActionRehearsal(tuple(range(1, 300)), 299, "\x1b[2Jgone\n" + "x" * 1000 + os.fsdecode(b"\xff"))])
    assert len(told[0]["pids"]) == PIDS_MAX
    assert len(told[0]["problem"]) == PROBLEM_MAX
    hostile = {"pids": [1, 2], "count": 2, "problem": "\x1b]0;owned\x07"}
    assert rehearsals_from_json([hostile]) == [ActionRehearsal((1, 2), 2, "?]0;owned?")]
    for wrong in (
        {"pids": ["1"]},
        {"pids": [0]},
        {"pids": [True]},
        {"pids": list(range(1, 102))},
        {"count": 1},
        {"problem": "x" * 501},
        {"more": 1},
    ):
        with pytest.raises(TamperedError):
            rehearsals_from_json([hostile | wrong])


def test_what_an_extraction_would_take_away_is_told_of_a_revision_that_isnt_there(bench: Workbench, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "opt/zone"
    (source / "sub").mkdir(parents=True)
    for name in ("a", "b", "sub/c"):
        (source / name).write_text(name)
    conversation = bench.connect()
    first = make("1.1", source, synchronize="yes")
    bench.send(conversation, first)
    assert bench.extract(conversation, bench.order(first, target)).failure is None
    (target / "foreign\x1b[2J").write_text("mine")
    (source / "b").unlink()
    (source / "sub/c").unlink()
    (source / "sub").rmdir()
    before = tree_of(bench.work), tree_of(target)

    found = rehearse_removals(conversation, make("1.2", source, synchronize="yes").manifest, (str(target),))
    assert found == Removals((f"{target}/b", f"{target}/sub", f"{target}/sub/c"), 3)
    mirrored = rehearse_removals(conversation, make("1.2", source, synchronize="mirror").manifest, (str(target),))
    assert mirrored.count == 4
    assert f"{target}/foreign?[2J" in mirrored.paths
    assert rehearse_removals(conversation, make("1.2", source).manifest, (str(target),)) == Removals((), 0)
    refused = rehearse_removals(conversation, make("1.2", source, synchronize="mirror").manifest, ("/",))
    assert "can't be mirrored" in refused.problem
    conversation.close()
    assert (tree_of(bench.work), tree_of(target)) == before


def test_an_outline_that_is_none_is_refused_and_the_conversation_goes_on(bench: Workbench) -> None:
    conversation = bench.connect()
    manifest = make("1.1", PROJECT / "deploy", synchronize="yes").manifest
    whole = outline_bytes(manifest)
    assert len(compress_frame(whole)) < 40 * len(manifest.destinations[0].entries)
    for wrong in (b"", whole[:-2], b"{}\n" + whole, b"\0" * 100):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("sluice.sender.rehearsing.outline_bytes", lambda _, wrong=wrong: wrong)
            with pytest.raises(TamperedError):
                rehearse_removals(conversation, manifest, ("/srv/a",))
    assert rehearse_removals(conversation, manifest, ("/srv/a",)).count == 0
    conversation.close()


def test_what_is_said_of_removals_is_bounded_and_harmless() -> None:
    told = removals_to_json(Removals(tuple(f"/{n}" for n in range(REMOVALS_MAX + 5)), REMOVALS_MAX + 5))
    assert (len(told["paths"]), told["count"]) == (REMOVALS_MAX, REMOVALS_MAX + 5)
    assert removals_to_json(Removals((), 5 * COUNT_MAX))["count"] == COUNT_MAX + 1
    hostile = {"paths": ["/\x1b]0;owned"], "count": 1, "problem": ""}
    assert removals_from_json(hostile) == Removals(("/?]0;owned",), 1)
    for wrong in ({"paths": [1]}, {"paths": ["/a"] * (REMOVALS_MAX + 1)}, {"count": 0}, {"problem": "x" * 501}, {"more": 1}):
        with pytest.raises(TamperedError):
            removals_from_json(hostile | wrong)


def question_about(source: Path, target: Path, revision: str = "1.2", **options: Any) -> Question:
    return Question(make(revision, source, **options).manifest, (str(target),))


def test_what_an_extraction_would_change_is_told_and_nothing_changes(bench: Workbench, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "opt/zone"
    source.mkdir()
    for name in ("a", "b", "c"):
        (source / name).write_text(name)
    conversation = bench.connect()
    first = make("1.1", source, synchronize="yes")
    bench.send(conversation, first)
    assert bench.extract(conversation, bench.order(first, target)).failure is None
    (source / "a").write_text("changed")
    (source / "b").chmod(0o600)
    (source / "c").unlink()
    (source / "foreign\x1b[2J").write_text("ours")
    (target / "foreign\x1b[2J").write_text("theirs")
    (source / "new").write_text("new")
    before = tree_of(bench.work), tree_of(target)

    found = rehearse_extraction(conversation, question_about(source, target, synchronize="yes"))

    told = {(each.kind, each.path) for each in found.paths}
    assert {
        (ChangeKind.CHANGED, f"{target}/a"),
        (ChangeKind.ADJUSTED, f"{target}/b"),
        (ChangeKind.REMOVED, f"{target}/c"),
        (ChangeKind.REPLACED, f"{target}/foreign?[2J"),
        (ChangeKind.NEW, f"{target}/new"),
    } <= told
    assert found.stops == ()
    assert (tree_of(bench.work), tree_of(target)) == before
    conversation.close()


def test_an_unsigned_question_is_no_oracle_about_the_contents_of_files(bench: Workbench, tmp_path: Path) -> None:
    secret, guess = tmp_path / "etc", tmp_path / "guess"
    for top in (secret, guess):
        top.mkdir()
        (top / "shadow").write_text("root:secret")
    os.utime(guess / "shadow", ns=(1, 1))
    conversation = bench.connect()

    right = rehearse_extraction(conversation, question_about(guess, secret))
    (guess / "shadow").write_text("root:guesss")
    os.utime(guess / "shadow", ns=(1, 1))
    wrong = rehearse_extraction(conversation, question_about(guess, secret))

    assert [each.kind for each in right.paths if each.path.endswith("shadow")] == [ChangeKind.REPLACED]
    assert right == wrong
    conversation.close()


def test_what_is_said_of_changes_is_bounded_and_harmless() -> None:
    many = tuple(Change(ChangeKind.NEW, f"/{n}", "x" * 1000) for n in range(CHANGES_MAX + 5))
    told = changes_to_json(Changes((Stop("m" * 1000, "r"),) * 150, 150, many, {ChangeKind.NEW: len(many), ChangeKind.TIME: 0}))
    assert (len(told["paths"]), len(told["stops"]), told["counts"]) == (CHANGES_MAX, STOPS_MAX, {"new": len(many)})
    assert len(told["stops"][0][0]) == PROBLEM_MAX
    assert changes_from_json(told).counts == {ChangeKind.NEW: len(many)}
    long = tuple(Change(ChangeKind.NEW, "/" + "y" * 8000) for _ in range(CHANGES_MAX))
    assert sum(len(row[1]) for row in changes_to_json(Changes(paths=long))["paths"]) <= CHANGES_BYTES
    drop = "\U0001f4a7"  # four bytes
    wide = Changes((Stop(drop * 500, drop * 500),) * 100, 100, (Change(ChangeKind.NEW, "/" + drop * 2093),) * CHANGES_MAX)
    assert len(canonical_bytes(changes_to_json(wide))) < MESSAGE_MAX
    plain = Changes((Stop("m", "r", "RemovalsError"),), 1)
    assert changes_from_json(changes_to_json(plain, codes=True)) == plain
    assert changes_to_json(plain)["stops"] == [["m", "r"]]  # as senders from before read it
    hostile = {"stops": [["\x1b]0;owned", "r"]], "stop_count": 1, "paths": [["new", "/\x07", ""]], "counts": {"new": 1}}
    assert changes_from_json(hostile) == Changes((Stop("?]0;owned", "r"),), 1, (Change(ChangeKind.NEW, "/?"),), {ChangeKind.NEW: 1})
    newer = hostile | {"paths": [["of a later agent", "/a", ""]]}
    assert changes_from_json(newer).paths == ()
    for wrong in (
        {"stops": [["only one"]]},
        {"stops": [["one", "of", "four", "texts"]]},
        {"stop_count": 0},
        {"paths": [["new", "/a"]]},
        {"paths": [["new", 1, ""]]},
        {"paths": [["new", "/a", ""]] * (CHANGES_MAX + 1)},
        {"counts": {"new": -1}},
        {"more": 1},
    ):
        with pytest.raises(TamperedError):
            changes_from_json(hostile | wrong)
