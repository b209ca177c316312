"""Traps of YAML: each is told at its line, with the line as it should be; typed as shown, it is no error any more."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sluice.blueprint import load_site
from sluice.errors import BlueprintError, SiteError
from sluice.model.site import Site

HERE = Path(__file__).parent
DISTRIBUTION = """\
kind: Distribution
name: d
distributor: hq
type: file
channels: [patterns]
priority: high
files:
  - source: /srv/a
    destination: /opt/a
    exclude: ["*.bak"]
    mode: keep
post_actions:
  - start_process: {path: /bin/true, arguments: [a], undo: none}
  - script: {type: shell, run: echo a, undo: none}
"""
SUBSCRIBER = """\
kind: Subscriber
name: s
description: a host
address: local:/srv/s
working_directory: /srv/s/sluice
tags: {role: web}
variables:
  DEST: /opt
  PORT: "80"
"""

TRAPS = [
    # the good line, the line as it is typed, the words that are told, the line as it is shown
    ("    destination: /opt/a", "    destination: {{ DEST }}", "begins with {{", 'destination: "{{ DEST }}"'),
    ("    destination: /opt/a", "    destination: {{ DEST }}/a", "begins with {{", 'destination: "{{ DEST }}/a"'),
    ("    destination: /opt/a", "    destination: {{ DEST }}/a  # there", "begins with {{", 'destination: "{{ DEST }}/a"  # there'),
    ("    destination: /opt/a", '    destination: {{ DEST ~ "/a" }}', "begins with {{", "destination: '{{ DEST ~ \"/a\" }}'"),
    ("  - script: {type: shell, run: echo a, undo: none}", "  - script: {type: shell, run: {{ DEST }}/x, undo: none}", "has {{", None),
    (
        "  - script: {type: shell, run: echo a, undo: none}",
        "  - script: {type: shell, run: {{ DEST }}, undo: none}",
        "begins with {{",
        None,
    ),
    (
        "  - start_process: {path: /bin/true, arguments: [a], undo: none}",
        "  - start_process: {path: /bin/{{ DEST }}, undo: none}",
        "{{",
        None,
    ),
    (
        "  - start_process: {path: /bin/true, arguments: [a], undo: none}",
        "  - start_process: {path: /b, arguments: [{{ DEST }}, b]}",
        "{{",
        None,
    ),
    ("description: a host", "description: @office", "begins with @", 'description: "@office"'),
    ("description: a host", "description: `uname`", "begins with `", 'description: "`uname`"'),
    ("description: a host", "description: 100 %: all", '": " in its value', 'description: "100 %: all"'),
    ("description: a host", "description: %done", "begins with %", 'description: "%done"'),
    ("description: a host", "description: *all", "begins with *", 'description: "*all"'),
    ("description: a host", "description: &all", "begins with &", 'description: "&all"'),
    ("description: a host", "description: !all", "begins with !", 'description: "!all"'),
    ("description: a host", "description: > 5 GB", "begins with >", 'description: "> 5 GB"'),
    ("description: a host", "description: | a", "begins with |", 'description: "| a"'),
    ("description: a host", "description: note: the old one", '": " in its value', 'description: "note: the old one"'),
    ("description: a host", "description: 'it's old'", "within single quotes", 'description: "it\'s old"'),
    ("description: a host", 'description: "old" one', "after its closing quote", "description: '\"old\" one'"),
    ("description: a host", 'description: "old', 'a " without its second one', 'description: "old"'),
    ("description: a host", "description: 'old", "a ' without its second one", "description: 'old'"),
    ("description: a host", 'description: "C:\\old"', "a backslash within double quotes", "description: 'C:\\old'"),
    ("description: a host", "description: “old”", "typographic quotes", '"old"'),
    ("description: a host", "description: \u2018old: one\u2019", "typographic quotes", "description: 'old: one'"),
    ("description: a host", "description:\u00a0a host", "an invisible character (U+00A0)", "description: a host"),
    ("description: a host", "\u200bdescription: a host", "an invisible character (U+200B)", "description:"),
    ("description: a host", "description:a host", "no space after its colon", "description: a host"),
    ("description: a host", "description = a host", "= in the place of a colon", "description: a host"),
    ('    exclude: ["*.bak"]', "    exclude: [*.bak]", "keeps for itself", 'exclude: ["*.bak"]'),
    ('    exclude: ["*.bak"]', "    exclude: [*.bak, !a]", "keeps for itself", 'exclude: ["*.bak", "!a"]'),
    ('    exclude: ["*.bak"]', '    exclude: ["*.bak"', "has no ] for its [", 'exclude: ["*.bak"]'),
    ("tags: {role: web}", "tags: {role: web", "has no } for its {", "tags: {role: web}"),
    ("tags: {role: web}", "tags: {role: {{ X }}}", "{{", 'role: "{{ X }}"'),
    ("tags: {role: web}", "tags: {role: no}", "no without quotes is false", '"no"'),
    ("tags: {role: web}", "tags: {role: 1.10}", "1.10 is a number", '"1.10"'),
    ("  DEST: /opt", "\tDEST: /opt", "indented by a tab", None),
    ("  DEST: /opt", "   DEST: /opt", "indented by", None),
    ('  PORT: "80"', "  PORT: 22:00", "22:00 without quotes is the number 1320", '"22:00"'),
    ('  PORT: "80"', "  PORT: 0644", "0644 without quotes is the number 420", '"0644"'),
    ('  PORT: "80"', "  PORT: yes", "yes without quotes is true", '"yes"'),
    ("    mode: keep", "    mode: 0644", "0644 without quotes is the number 420", '"0644"'),
    ("    mode: keep", "    mode: 644", "644 is a number", '"644"'),
    ("    mode: keep", "    mode: 0o644", "'0o644' is not a valid mode", '"0644"'),
    ("channels: [patterns]", "channels: patterns", "is text, not a list", "channels: [patterns]"),
    ("channels: [patterns]", "channels:\n  -patterns", "has no space after its -", "- patterns"),
    ("  - source: /srv/a", "  -source: /srv/a", "no space after its -", "- source"),
    ("  - source: /srv/a", "    source: /srv/a", "is a mapping, not a list", "- source"),
    ("channels: [patterns]", "channels: (patterns)", "is text, not a list", "channels: [patterns]"),
    ("channels: [patterns]", "channels\n  - patterns", "has no colon", "channels:"),
    ("priority: high", "priority; high", "; in the place of a colon", "priority: high"),
    ("    destination: /opt/a", "   destination: /opt/a", "indented by 3 spaces, the line to which it belongs by 4", None),
    ("    destination: /opt/a", "     destination: /opt/a", "indented by 5 spaces, the line to which it belongs by 4", None),
    ("    destination: /opt/a", '    destination: "{{ DEST }}"/a', "after its closing quote", 'destination: "{{ DEST }}/a"'),
    ("priority: high", "priority: high\n>>>>>>> theirs", "a mark of a conflict", None),
    ("priority: high", "priority: high\npriority: low", "duplicate key", None),
    ("priority: high", "priority: High", "'High' is not one of its values", "did you mean high?"),
    ("priority: high", "priority: high\n{% if a %}", "is a line for a template engine", None),
    ("priority: high", "priority: high\n{{- end }}", "is a line for a template engine", None),
    ("channels: [patterns]", "channels:\n- patterns\n-both", "has no space after its -", "- both"),
    ("channels: [patterns]", "channels:\n- patterns\n\u2013 both", "has \u2013 in the place of -", "- both"),
    ("channels: [patterns]", "channels:\n- patterns\n• both", "has • in the place of -", "- both"),
    ("channels: [patterns]", "channels:\n- patterns\n - both", "is two entries of a list", "indent both alike"),
    ("    destination: /opt/a", "  destination: /opt/a", "indented by 2 spaces, the line to which it belongs by 4", None),
    ("tags: {role: web}", 'tags: {role = "web"}', "has = in the place of a colon", 'role: "web"'),
    ("tags: {role: web}", "tags: {role=web, rack: '1'}", "has = in the place of a colon", "role: web"),
    ("  DEST: /opt", "  DEST = /opt:", "= in the place of a colon", "DEST: /opt"),
    ("description: a host", "become: sudo", "unknown key of a Subscriber", "write it below ssh:"),
    ("address: local:/srv/s", "address: local: /srv/s", "has a space after local", "address: local:/srv/s"),
    ("address: local:/srv/s", "address: root@web1", "is not an address", "ssh://root@web1"),
    ("address: local:/srv/s", "address: ssh web1:2222", "is not an address", "ssh://user@web1:2222"),
    ("working_directory: /srv/s/sluice", 'working_directory: " /srv/s"', "begins or ends with a space", None),
    ("description: a host", "description: [old] host", "goes on after its closing bracket", 'description: "[old] host"'),
    ("description: a host", "description: {a}{b}", "goes on after its closing bracket", 'description: "{a}{b}"'),
    ('    exclude: ["*.bak"]', "    exclude:\n      - [abc].o", "goes on after its closing bracket", '- "[abc].o"'),
    ('    exclude: ["*.bak"]', "    exclude: |\n      *.bak\n      *.tmp", "is text, not a list", 'exclude: ["*.bak", "*.tmp"]'),
    ("priority: high", 'priority: high\nrollback: "no"', "because of its quotes", "write false"),
    ("priority: high", 'priority: high\nmax_revisions: "10"', "because of its quotes", "write 10"),
    ("priority: high", "priority: high\nbuild: 0 2 * * *", "is not a schedule", 'write {cron: "0 2 * * *"}'),
    ("tags: {role: web}", "tags: [web]", "is a list, not a mapping", "such as tags: {role: web}"),
    ("tags: {role: web}", "tags: [role=web, rack=1]", "is a list, not a mapping", 'write tags: {role: web, rack: "1"}'),
    ("tags: {role: web}", "tags:\n  - role: web\n  - rack: two", "is a list, not a mapping", "write tags: {role: web, rack: two}"),
    ("tags: {role: web}", "tags: [{name: role, value: web}]", "is a list, not a mapping", "write tags: {role: web}"),
    ("tags: {role: web}", "tags: role=web", "is text, not a mapping", "write tags: {role: web}"),
    (
        "  - script: {type: shell, run: echo a, undo: none}",
        "  - script:\n      type: shell\n      run: |\n      echo 'a: b'\n      exit 0\n      undo: none",
        "is the text of run:, and isn't indented more than that",
        "indent the text by more spaces than run:",
    ),
    ("  - script: {type: shell, run: echo a, undo: none}", "  - script: echo a", "is text, not a mapping", "script: {type: shell"),
    ("  - script: {type: shell, run: echo a, undo: none}", "  - script: {run: a, undo: none}", "type: missing", "type: shell"),
]


def found_in(text: str, tmp_path: Path) -> list[BlueprintError]:
    """The errors of a document beside good ones."""
    (tmp_path / "bad.yaml").write_text(text, encoding="utf-8")
    shutil.copy(HERE / "around.yaml", tmp_path)
    try:
        site: Site = load_site(tmp_path)
    except SiteError as error:
        return list(error.errors)
    assert site.subscribers
    return []


@pytest.mark.parametrize(("good", "typed", "what", "shown"), TRAPS, ids=[typed.strip() for _, typed, _, _ in TRAPS])
def test_a_trap_is_one_error_that_shows_how_to_write_it(good: str, typed: str, what: str, shown: str | None, tmp_path: Path) -> None:
    document = DISTRIBUTION if f"{good}\n" in DISTRIBUTION else SUBSCRIBER
    assert found_in(document, tmp_path) == []
    text = document.replace(good, typed)
    errors = found_in(text, tmp_path)
    assert [what in str(error) for error in errors] == [True], [str(error) for error in errors]
    assert errors[0].remedy
    if shown is None:
        return
    assert shown in str(errors[0])
    if ":" in shown and not shown.endswith(":") and shown.split(":")[0] == good.strip().split(":")[0]:  # the line as a whole
        indent = good[: len(good) - len(good.lstrip())]
        assert found_in(document.replace(good, indent + shown), tmp_path) == []
