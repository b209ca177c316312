"""Manifests: what is written is what is read; one manifest has one byte string; anything else is refused."""

from __future__ import annotations

import base64
import random
import tracemalloc
from dataclasses import replace
from typing import Any

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from sluice.errors import StoreCorruptError
from sluice.formats.manifest import document as module
from sluice.formats.manifest.delta import apply_manifest_delta, manifest_delta
from sluice.formats.manifest.document import has_backslash, has_hard_links, manifest_bytes, parse_header, parse_manifest, read_back_digest
from sluice.model.manifest import Destination, Entry, EntryKind, Manifest
from sluice.model.removals import RemovalLimit
from sluice.model.revision import RevisionNumber
from tests.formats.trees import Tree, trees

A, B = blake3(b"a").hexdigest(), blake3(b"bb").hexdigest()


def sample() -> Manifest:
    entries = (
        Entry(EntryKind.DIRECTORY, "", 0o755, 1_700_000_000_000_000_000),
        Entry(EntryKind.FILE, "a", 0o644, 1_700_000_000_000_000_001, 1, A),
        Entry(EntryKind.DIRECTORY, "d", 0o755, 5),
        Entry(EntryKind.FILE, "d-e", 0o4755, -7, 1, A),
        Entry(EntryKind.FILE, "d/é\n", 0o644, 9, 2, B),
        Entry(EntryKind.SYMLINK, "l", 0o777, 0, target="d\\x"),
    )
    file = Destination("{{ DEST }}/one", False, (Entry(EntryKind.FILE, "", 0o600, 3, 2, B),))
    return Manifest("zone", RevisionNumber(1, 2), "file", (Destination("{{ DEST }}/zone", True, entries), file))


@given(trees())
def test_what_is_written_is_what_is_read(tree: Tree) -> None:
    data = manifest_bytes(tree.manifest)
    assert parse_manifest(data) == tree.manifest
    assert manifest_bytes(parse_manifest(data)) == data


def test_the_lines_are_those_of_the_format() -> None:
    lines = manifest_bytes(sample()).decode().split("\n")
    assert lines[1] == '["d","",493,1700000000000000000]'
    assert lines[2] == f'["f","a",420,1700000000000000001,1,"{A}"]'
    assert lines[5] == f'["f","d/é\\n",420,9,2,"{B}"]'
    assert lines[6] == '["l","l","d\\\\x",511]'
    assert lines[-1] == ""


def second() -> Manifest:
    """The sample, with what only version 2 can say."""
    [directory, file] = sample().destinations
    entries = list(directory.entries)
    entries[1] = replace(entries[1], owner="root:www-data", xattrs=(("security.capability", b"\x01\xff"), ("user.é\n", b"")))
    entries[5] = replace(entries[5], owner="0:0")
    return replace(sample(), destinations=(replace(directory, entries=tuple(entries), synchronize="mirror"), file))


def test_owner_attributes_and_synchronize_make_version_2() -> None:
    lines = manifest_bytes(second()).decode().split("\n")
    assert '"version":2' in lines[0]
    assert '"destinations":[{"directory":true,"entries":6,"synchronize":"mirror","template":"{{ DEST }}/zone"},' in lines[0]
    assert (
        lines[2] == f'["f","a",420,1700000000000000001,1,"{A}",{{"o":"root:www-data","x":{{"security.capability":"Af8=","user.é\\n":""}}}}]'
    )
    assert lines[3] == '["d","d",493,5]'
    assert lines[6] == '["l","l","d\\\\x",511,{"o":"0:0"}]'
    assert parse_manifest(manifest_bytes(second())) == second()


@pytest.mark.parametrize("change", ["synchronize", "owner", "xattrs"])
def test_each_of_them_alone_makes_version_2(change: str) -> None:
    [directory, file] = sample().destinations
    first = replace(directory.entries[0], **{"owner": {"owner": "a:b"}, "xattrs": {"xattrs": (("user.a", b"b"),)}}.get(change, {}))
    directory = replace(directory, entries=(first, *directory.entries[1:]), synchronize="yes" if change == "synchronize" else "no")
    data = manifest_bytes(replace(sample(), destinations=(directory, file)))
    assert b'"version":2' in data
    assert parse_manifest(data).destinations == (directory, file)


def test_version_2_where_version_1_would_do_is_refused() -> None:
    data = manifest_bytes(sample()).replace(b'"version":1', b'"version":2').replace(b'"entries":6,', b'"entries":6,"synchronize":"no",')
    data = data.replace(b'"entries":1,', b'"entries":1,"synchronize":"no",')
    with pytest.raises(StoreCorruptError, match="version 2"):
        parse_manifest(data)


def third() -> Manifest:
    """The sample, with what only version 3 can say."""
    [directory, file] = second().destinations
    directory = replace(directory, exclude=("*.tmp", "!keep.tmp"), max_removals=RemovalLimit(20, 0))
    return replace(sample(), destinations=(directory, file))


def test_excludes_and_a_limit_of_removals_make_version_3() -> None:
    line = manifest_bytes(third()).decode().split("\n")[0]
    assert '"version":3' in line
    assert '"exclude":["*.tmp","!keep.tmp"],"max_removals":{"files":0,"percent":20},"synchronize":"mirror"' in line
    assert '{"directory":false,"entries":1,"synchronize":"no","template":"{{ DEST }}/one"}' in line  # no key that says nothing
    assert parse_manifest(manifest_bytes(third())) == third()


@pytest.mark.parametrize("change", [{"exclude": ("a",)}, {"max_removals": RemovalLimit(0, 10)}, {"max_removals": RemovalLimit(50, 11)}])
def test_each_of_them_alone_makes_version_3(change: dict[str, Any]) -> None:
    [directory, file] = second().destinations
    manifest = replace(sample(), destinations=(replace(directory, **change), file))
    assert b'"version":3' in manifest_bytes(manifest)
    assert parse_manifest(manifest_bytes(manifest)) == manifest


def test_version_3_is_refused_if_version_2_would_do() -> None:
    with pytest.raises(StoreCorruptError, match="version 3"):
        parse_manifest(manifest_bytes(second()).replace(b'"version":2', b'"version":3'))


def test_version_2_has_no_key_of_version_3() -> None:
    with pytest.raises(StoreCorruptError, match="exclude"):
        parse_manifest(manifest_bytes(third()).replace(b'"version":3', b'"version":2'))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ('["*.tmp","!keep.tmp"]', "[]"),
        ('["*.tmp","!keep.tmp"]', "[1]"),
        ('["*.tmp","!keep.tmp"]', '["[a"]'),
        ('["*.tmp","!keep.tmp"]', '["a\\u0000"]'),
        ('["*.tmp","!keep.tmp"]', "[" + ",".join(['"a"'] * 1001) + "]"),
        ('{"files":0,"percent":20}', "null"),
        ('{"files":0,"percent":20}', '{"files":0,"percent":101}'),
        ('{"files":0,"percent":20}', '{"files":-1,"percent":20}'),
        ('{"files":0,"percent":20}', '{"percent":20}'),
        ('{"files":0,"percent":20}', '{"files":10,"percent":50}'),
    ],
)
def test_a_limit_or_an_exclude_that_breaks_a_rule_is_refused(key: str, value: str) -> None:
    text = manifest_bytes(third()).decode()
    assert key in text
    with pytest.raises(StoreCorruptError):
        parse_manifest(text.replace(key, value).encode())


@pytest.mark.parametrize("path", ["d-e\\x2d", "\\", "d/\\..\\b", "d/a\\\\b\n"])
def test_a_path_with_a_backslash_makes_version_3(path: str) -> None:
    [directory, file] = sample().destinations
    entry = Entry(EntryKind.FILE, path, 0o644, 1, 1, A)
    entries = tuple(sorted((*directory.entries, entry), key=lambda each: each.path))
    manifest = replace(sample(), destinations=(replace(directory, entries=entries), file))
    data = manifest_bytes(manifest)
    assert b'"version":3' in data
    assert parse_manifest(data) == manifest
    assert has_backslash(data)
    outlined = apply_manifest_delta(sample(), manifest_delta(sample(), replace(manifest, revision=RevisionNumber(1, 3))))
    assert [each.path for each in outlined.destinations[0].entries] == [each.path for each in entries]


def test_backslashes_elsewhere_than_in_paths_need_no_version_3() -> None:
    data = manifest_bytes(sample())  # it has a link whose text has one
    assert b"\\\\" in data
    assert b'"version":1' in data
    assert not has_backslash(data)


BIG = base64.b64encode(bytes(64 * 1024)).decode()
BAD_EXTRAS = {
    "no owner": '{"o":""}',
    "nothing": "{}",
    "null": '{"o":null}',
    "no group": '{"o":"root"}',
    "three": '{"o":"a:b:c"}',
    "a slash": '{"o":"a/b:c"}',
    "a line": '{"o":"a\\nb:c"}',
    "a long name": f'{{"o":"{"a" * 65}:b"}}',
    "a number": '{"o":0}',
    "no attributes": '{"x":{}}',
    "another name space": '{"x":{"trusted.a":"YQ=="}}',
    "no name": '{"x":{"user.":"YQ=="}}',
    "another attribute of security": '{"x":{"security.selinux":"YQ=="}}',
    "a long attribute's name": f'{{"x":{{"user.{"a" * 251}":"YQ=="}}}}',
    "NUL in a name": '{"x":{"user.a\\u0000":"YQ=="}}',
    "no base64": '{"x":{"user.a":"YQ="}}',
    "loose base64": '{"x":{"user.a":"YR=="}}',
    "a list": '{"x":["user.a"]}',
    "no text": '{"x":{"user.a":1}}',
    "a value that is too long": f'{{"x":{{"user.a":"{base64.b64encode(bytes(64 * 1024 + 1)).decode()}"}}}}',
    "too many": '{"x":{' + ",".join(f'"user.{n:02}":"{BIG}"' for n in range(17)) + "}}",
    "unsorted": '{"x":{"user.b":"YQ==","user.a":"YQ=="}}',
    "unsorted keys": '{"x":{"user.b":"YQ=="},"o":"a:b"}',
    "twice": '{"x":{"user.b":"YQ==","user.b":"YQ=="}}',
    "another key": '{"o":"a:b","z":1}',
    "spaces": '{"o": "a:b"}',
}


@pytest.mark.parametrize("text", BAD_EXTRAS.values(), ids=BAD_EXTRAS)
def test_an_owner_or_attribute_that_breaks_a_rule_is_refused(text: str) -> None:
    line = '{"o":"root:www-data","x":{"security.capability":"Af8=","user.é\\n":""}}'
    data = manifest_bytes(second()).decode()
    assert line in data
    with pytest.raises(StoreCorruptError):
        parse_manifest(data.replace(line, text.replace("\\\\", "\\")).encode())


def test_a_link_has_no_extended_attributes() -> None:
    data = manifest_bytes(second()).decode().replace('511,{"o":"0:0"}', '511,{"o":"0:0","x":{"user.a":""}}')
    with pytest.raises(StoreCorruptError, match="links"):
        parse_manifest(data.encode())


def test_an_unknown_way_to_synchronize_is_refused() -> None:
    with pytest.raises(StoreCorruptError, match="sometimes"):
        parse_manifest(manifest_bytes(second()).replace(b'"mirror"', b'"sometimes"'))


def test_a_header_is_read_alone() -> None:
    header, counts = parse_header(manifest_bytes(sample()).partition(b"\n")[0])
    assert counts == (6, 1)
    assert header == replace(sample(), destinations=tuple(replace(d, entries=()) for d in sample().destinations))


@given(trees(), st.data())
def test_a_damaged_manifest_is_refused_or_says_something_else_of_its_own(tree: Tree, data: st.DataObject) -> None:
    raw = manifest_bytes(tree.manifest)
    at = data.draw(st.integers(0, len(raw) - 1))
    flipped = raw[at] ^ data.draw(st.integers(1, 255))
    damaged = raw[:at] + bytes([flipped]) + raw[at + 1 :]
    try:
        found = parse_manifest(damaged)
    except StoreCorruptError:
        return
    assert found != tree.manifest
    assert manifest_bytes(found) == damaged


@given(trees(), st.data())
def test_a_cut_manifest_is_refused(tree: Tree, data: st.DataObject) -> None:
    raw = manifest_bytes(tree.manifest)
    with pytest.raises(StoreCorruptError):
        parse_manifest(raw[: data.draw(st.integers(0, len(raw) - 1))])


def _line(number: int, text: str) -> bytes:
    lines = manifest_bytes(sample()).decode().split("\n")
    lines[number] = text
    return "\n".join(lines).encode()


BAD_ENTRIES = {
    "parent part": f'["f","d/../x",420,9,2,"{B}"]',
    "dot part": f'["f","d/.",420,9,2,"{B}"]',
    "dots": f'["f","d/..",420,9,2,"{B}"]',
    "empty part": f'["f","d//x",420,9,2,"{B}"]',
    "trailing slash": f'["f","d/",420,9,2,"{B}"]',
    "absolute": f'["f","/d",420,9,2,"{B}"]',
    "no parent": f'["f","e/x",420,9,2,"{B}"]',
    "below a file": f'["f","d-e/x",420,9,2,"{B}"]',
    "duplicate": f'["f","d-e",420,9,2,"{B}"]',
    "unsorted": f'["f","b",420,9,2,"{B}"]',
    "NUL": f'["f","d/\\u0000",420,9,2,"{B}"]',
    "backslash": f'["f","d/a\\\\b",420,9,2,"{B}"]',
    "lone surrogate": f'["f","d/\\ud800",420,9,2,"{B}"]',
    "needless escape": f'["f","d/\\u0041",420,9,2,"{B}"]',
    "escaped slash": f'["f","d\\/x",420,9,2,"{B}"]',
    "upper-case escape": f'["f","d/\\u000B",420,9,2,"{B}"]',
    "raw control": f'["f","d/\x01",420,9,2,"{B}"]',
    "not NFC": f'["f","d/e\u0301",420,9,2,"{B}"]',
    "long part": f'["f","d/{"x" * 256}",420,9,2,"{B}"]',
    "long part in bytes": f'["f","d/{"é" * 128}",420,9,2,"{B}"]',
    "long path": f'["f","d/{"x" * 4100}",420,9,2,"{B}"]',
    "mode": f'["f","d/x",4096,9,2,"{B}"]',
    "negative mode": f'["f","d/x",-1,9,2,"{B}"]',
    "leading zero": f'["f","d/x",0420,9,2,"{B}"]',
    "minus zero": f'["f","d/x",420,-0,2,"{B}"]',
    "float": f'["f","d/x",420,9.0,2,"{B}"]',
    "exponent": f'["f","d/x",420,9e1,2,"{B}"]',
    "NaN": f'["f","d/x",420,NaN,2,"{B}"]',
    "true": f'["f","d/x",true,9,2,"{B}"]',
    "huge time": f'["f","d/x",420,9223372036854775808,2,"{B}"]',
    "endless number": f'["f","d/x",420,{"9" * 5000},2,"{B}"]',
    "huge size": f'["f","d/x",420,9,9223372036854775808,"{"0" * 64}"]',
    "negative size": f'["f","d/x",420,9,-2,"{B}"]',
    "two sizes": f'["f","d/x",420,9,3,"{B}"]',
    "upper-case digest": f'["f","d/x",420,9,2,"{B.upper()}"]',
    "short digest": f'["f","d/x",420,9,2,"{B[1:]}"]',
    "long digest": f'["f","d/x",420,9,2,"{B}0"]',
    "no digest": '["f","d/x",420,9,2]',
    "extra field": f'["f","d/x",420,9,2,"{B}",1]',
    "space": f'["f", "d/x",420,9,2,"{B}"]',
    "trailing space": f'["f","d/x",420,9,2,"{B}"] ',
    "carriage return": f'["f","d/x",420,9,2,"{B}"]\r',
    "two entries in a line": f'["f","d/x",420,9,2,"{B}"],["d","d/y",493,1]',
    "unknown kind": '["x","d/x",420]',
    "device": '["b","d/x",420,1]',
    "object": '{"f":1}',
    "empty line": "",
    "not JSON": "]",
    "empty link": '["l","d/x","",511]',
    "link with NUL": '["l","d/x","a\\u0000b",511]',
    "long link": f'["l","d/x","{"x" * 4097}",511]',
    "directory with a size": '["d","d/x",493,1,1]',
    "arabic digits": f'["f","d/x",٤٢٠,9,2,"{B}"]',
}


@pytest.mark.parametrize("text", BAD_ENTRIES.values(), ids=BAD_ENTRIES)
def test_an_entry_that_breaks_a_rule_is_refused(text: str) -> None:
    with pytest.raises(StoreCorruptError):
        parse_manifest(_line(5, text))


def _with_header(old: str, new: str) -> bytes:
    data = manifest_bytes(sample()).decode()
    assert old in data
    return data.replace(old, new, 1).encode()


BAD_HEADERS = {
    "another format": ('"sluice":"manifest"', '"sluice":"order"'),
    "a later version": ('"version":1', '"version":3'),
    "a version that it isn't": ('"version":1', '"version":2'),
    "version as text": ('"version":1', '"version":"1"'),
    "unknown key": ('"verify":false', '"verify":false,"zzz":1'),
    "duplicate key": ('"verify":false', '"verify":false,"verify":false'),
    "missing key": (',"verify":false', ""),
    "unsorted keys": ('"type":"file","verify":false', '"verify":false,"type":"file"'),
    "spaces": ('"version":1', '"version": 1'),
    "a name with a period": ('"zone"', '"zo.ne"'),
    "a name that is a path": ('"zone"', '"../x"'),
    "no revision": ('"1.2"', '"1"'),
    "revision zero": ('"1.2"', '"0.2"'),
    "unknown type": ('"type":"file"', '"type":"virus"'),
    "unknown copy": ('"differing"', '"some"'),
    "max of 0": ('"max_revisions":10', '"max_revisions":0'),
    "flag as number": ('"rollback":true', '"rollback":1'),
    "more entries": ('"entries":6', '"entries":7'),
    "fewer entries": ('"entries":6', '"entries":5'),
    "endless entries": ('"entries":6', '"entries":99999999999'),
    "negative entries": ('"entries":6', '"entries":-6'),
    "file that is a directory": ('"directory":true', '"directory":false'),
    "action of unknown kind": ('"pre_actions":[]', '"pre_actions":[{"reboot":{}}]'),
    "deep nesting": ('"pre_actions":[]', '"pre_actions":' + "[" * 100_000 + "]" * 100_000),
}


@pytest.mark.parametrize(("old", "new"), BAD_HEADERS.values(), ids=BAD_HEADERS)
def test_a_header_that_breaks_a_rule_is_refused(old: str, new: str) -> None:
    with pytest.raises(StoreCorruptError):
        parse_manifest(_with_header(old, new))


def test_a_directory_begins_with_its_own_entry() -> None:
    data = manifest_bytes(sample()).decode().replace('["d","",493,1700000000000000000]\n', "").replace('"entries":6', '"entries":5')
    with pytest.raises(StoreCorruptError):
        parse_manifest(data.encode())


def test_an_oversized_manifest_is_refused_before_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MANIFEST_MAX", 100)
    with pytest.raises(StoreCorruptError, match="more than the 100"):
        parse_manifest(manifest_bytes(sample()))


def test_random_damage_costs_no_more_memory_than_the_manifest_does() -> None:
    raw = manifest_bytes(sample())
    chance = random.Random(20240229)
    refused = 0
    tracemalloc.start()
    for _ in range(600):
        damaged = bytearray(raw)
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(len(damaged))
            damaged[at : at + chance.randint(0, 3)] = chance.randbytes(chance.randint(0, 3))
        try:
            assert manifest_bytes(parse_manifest(bytes(damaged))) == damaged
        except StoreCorruptError:
            refused += 1
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert refused > 500
    assert peak < 4 * 1024 * 1024


def test_read_back_is_over_every_file_in_order() -> None:
    lines = f"0 a {A}\n0 d-e {A}\n0 d/é\n {B}\n1  {B}\n"
    assert read_back_digest(sample()) == blake3(lines.encode()).hexdigest()
    assert read_back_digest(sample(), lambda number, entry: entry.digest) == read_back_digest(sample())
    other = read_back_digest(sample(), lambda number, entry: A if number == 1 else entry.digest)
    assert other != read_back_digest(sample())


def test_a_former_name_makes_a_manifest_of_version_3_and_is_never_its_own() -> None:
    renamed = replace(sample(), renamed_from="old")
    line = manifest_bytes(renamed).partition(b"\n")[0].decode()
    assert '"renamed_from":"old"' in line
    assert '"version":3' in line
    assert parse_manifest(manifest_bytes(renamed)) == renamed
    for wrong, problem in ((renamed.distribution, "its own name"), ("a.b", "isn't a valid name"), ("../x", "isn't a valid name")):
        with pytest.raises(StoreCorruptError, match=problem):
            parse_manifest(manifest_bytes(replace(renamed, renamed_from=wrong)))


def hard_links(**changes: Any) -> Manifest:
    """A directory with a, b and c as one file; ``changes`` of b."""
    first = Entry(EntryKind.FILE, "a", 0o644, 7, 1, "ab" * 32)
    b = replace(first, **{"path": "b", "link": "a"} | changes)
    entries = (Entry(EntryKind.DIRECTORY, "", 0o755, 7), first, b, replace(first, path="c", link="a"))
    return replace(sample(), destinations=(Destination("{{ DEST }}", True, entries),))


def test_hard_links_make_a_manifest_of_version_3() -> None:
    data = manifest_bytes(hard_links())
    assert b'"version":3' in data
    assert b'["f","b",420,7,1,"' + b"ab" * 32 + b'",{"h":"a"}]' in data
    assert parse_manifest(data) == hard_links()
    assert has_hard_links(data)


@pytest.mark.parametrize(
    "change",
    [
        {"link": "c"},
        {"link": "b"},
        {"link": "x"},
        {"path": "d", "link": "c"},
        {"mode": 0o600},
        {"mtime_ns": 8},
        {"size": 2, "digest": "cd" * 32},
        {"owner": "root:root"},
        {"xattrs": (("user.a", b"1"),)},
        {"kind": EntryKind.DIRECTORY, "size": 0, "digest": ""},
        {"kind": EntryKind.SYMLINK, "mtime_ns": 0, "size": 0, "digest": "", "target": "a"},
    ],
    ids=str,
)
def test_a_hard_link_to_another_file_or_a_later_one_or_of_another_kind_is_refused(change: dict[str, Any]) -> None:
    manifest = hard_links(**change)
    [destination] = manifest.destinations
    entries = tuple(sorted(destination.entries, key=lambda entry: entry.path))
    with pytest.raises(StoreCorruptError, match="is a hard link to something"):
        parse_manifest(manifest_bytes(replace(manifest, destinations=(replace(destination, entries=entries),))))


def test_a_hard_link_that_is_not_canonical_is_refused() -> None:
    data = manifest_bytes(hard_links())
    for wrong in (b'{"h":""}', b'{"h":null}', b'{"h":["a"]}', b'{"h":"a","h":"a"}', b'{"h": "a"}', b'{"o":"a:b","h":"a"}'):
        with pytest.raises(StoreCorruptError):
            parse_manifest(data.replace(b'{"h":"a"}', wrong, 1))


def test_a_text_that_looks_like_a_hard_link_is_none() -> None:
    entries = (Entry(EntryKind.DIRECTORY, "", 0o755, 7), Entry(EntryKind.FILE, '],{"h":"a', 0o644, 7, 1, "ab" * 32))
    data = manifest_bytes(replace(sample(), destinations=(Destination(',{"h":"x"}', True, entries),)))
    assert not has_hard_links(data)
