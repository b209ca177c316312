"""A document with errors is judged as far as it goes: all errors at once, whatever finds them, and no error for what another explains."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sluice.blueprint import load_site
from sluice.errors import SiteError

HERE = Path(__file__).parent


def told(text: str, tmp_path: Path) -> list[str]:
    """The errors of a blueprint beside the good site, each as ``line: path: message``."""
    (tmp_path / "bad.yaml").write_text(text, encoding="utf-8")
    shutil.copy(HERE / "around.yaml", tmp_path)
    with pytest.raises(SiteError) as refusal:
        load_site(tmp_path)
    assert {Path(error.file).name for error in refusal.value.errors} == {"bad.yaml"}
    return [f"{e.line}: {e.path}: {e.message}".replace(": :", ":") for e in refusal.value.errors]


def test_every_phase_is_told_at_once(tmp_path: Path) -> None:
    """Syntax, schema, references, variables, selectors, templates, schedules and files of one file, which is mended once."""
    text = """\
kind: Subscriber
name: s
address: ssh://s:99999
working_directory: srv/s
description: @office
platform: debianx
tags: {role: web}
variables: {A: "{{ NOPE }}", B: 22:00}
---
kind: Channel
name: c
send: {daily: {at: 22:00}}
subscribers: [s, nobody, {where: rol == "web"}]
---
kind: Distribution
name: d
distributor: hqq
type: file
channels: [c, cc, patterns]
priority: urgent
colour: red
build: {cron: "61 * * * *"}
files:
  - {source: ~/a, destination: "opt/a", mode: 0644, exclude: [../x]}
  - {source: /srv/b, destination: "{{ NOPE }}/b", owner: 5}
  - {source: /srv/c, destination: "{{ A B }}/c"}
post_actions:
  - start_process: {path: "{{ OTHER }}/x", wait: 5, undo: none}
"""
    assert told(text, tmp_path) == [
        "1: identity: missing",
        "3: address: 'ssh://s:99999' names no user",
        "4: working_directory: 'srv/s' is not an absolute path",
        "5: begins with @, which YAML keeps for itself",
        "6: platform: 'debianx' is not a known platform",
        "8: variables.A: uses NOPE, which is not defined",
        "8: variables.B: 22:00 without quotes is the number 1320 in YAML",
        "12: send.daily.at: 22:00 without quotes is the number 1320 in YAML",
        "13: subscribers[1]: no Subscriber is named 'nobody'",
        "17: distributor: no Distributor is named 'hqq'",
        "19: channels[1]: no Channel is named 'cc'",
        "20: priority: 'urgent' is not one of its values",
        "21: colour: unknown key of a Distribution",
        "22: build.cron: '61 * * * *' isn't a cron expression (bad minute)",
        "24: files[0].destination: for s it is 'opt/a', not an absolute path",
        "24: files[0].exclude[0]: '../x' has .. in it, which leads out of the source",
        "24: files[0].mode: 0644 without quotes is the number 420 in YAML",
        "24: files[0].source: ~ is not expanded",
        "25: files[1].destination: uses NOPE, which s and web-1 do not define",
        '25: files[1].owner: 5 is a number, not keep or "user:group"',
        "26: files[2].destination: {{ }} contains no valid expression: expected token 'end of print statement', got 'B'",
        "28: post_actions[0].start_process.path: uses OTHER, which s and web-1 do not define",
        "28: post_actions[0].start_process.wait: 5 is a number, not true or false",
    ]


GOOD = """\
kind: Subscriber
name: s
address: local:/srv/s
working_directory: /srv/s/sluice
variables: {A: /opt, B: "{{ A }}/b"}
tags: {rack: one}
---
kind: Channel
name: c
subscribers: [s, {where: rack == "one"}]
---
kind: Distributor
name: e
working_directory: /srv/e
mail: {server: "localhost:25", from: a@example.org}
---
kind: Defaults
subscriber: {variables: {D: /opt}}
---
kind: Distribution
name: d
distributor: e
type: file
channels: [c]
max_revisions: 3
notify: {to: [a@example.org], when_left: 1}
files:
  - {source: /srv/a, destination: "{{ B }}{{ D }}{{ PLATFORM }}"}
  - {source: /srv/b, destination: "{{ LOCAL_DIRECTORY }}/b", synchronize: mirror}
"""


@pytest.mark.parametrize(
    ("good", "typed", "error"),
    [
        ("name: s\naddress: local:/srv/s", "name: s\naddress: rsync:/srv/s", "3: address: 'rsync:/srv/s' is not an address"),
        ("name: s\nadd", "name: s\ncolour: red\nadd", "3: colour: unknown key of a Subscriber"),
        ("tags: {rack: one}", "tags: {rack: one", "6: has no } for its {"),
        (
            "name: s\nadd",
            "name: s\ncolour: [red}\nadd",
            "3: has no ] for its [",
        ),
        (
            "name: s\nadd",
            "name: s\n}\nadd",
            "3: is not valid YAML: did not find expected key, while parsing a block mapping begun on line 1",
        ),
        ("kind: Subscriber", "kind: Subscribe", "1: kind: 'Subscribe' is not a kind of document"),
        ("kind: Channel", "kind: Chanel", "8: kind: 'Chanel' is not a kind of document"),
        ("kind: Defaults", "kind: Default", "17: kind: 'Default' is not a kind of document"),
        ("working_directory: /srv/s", "workingdirectory: /srv/s", "4: workingdirectory: unknown key of a Subscriber"),
        (
            "working_directory: /srv/s",
            "working_directory: srv s\nworking_directory: /srv/s",
            "5: working_directory: duplicate key, first on line 4",
        ),
        ("variables: {A", "variabels: {A", "5: variabels: unknown key of a Subscriber"),
        ("variables: {A: /opt", "variables: {A: 22:00", "5: variables.A: 22:00 without quotes is the number 1320 in YAML"),
        ("variables: {A: /opt", 'variables: {A: "{{ X }}"', "5: variables.A: uses X, which is not defined"),
        ("variables: {A: /opt", 'variables: {A: "{{ B }}"', "5: variables.A: uses itself: A -> B -> A"),
        ("tags: {rack: one}", "tags: {rack: 1}", "6: tags.rack: 1 is a number, not text"),
        ("tags: {rack: one}", "tag: {rack: one}", "6: tag: unknown key of a Subscriber"),
        ("mail: {", "mial: {", "15: mial: unknown key of a Distributor"),
        ("mail: {server", "mail: {srver", "15: mail.srver: unknown key of mail"),
        ("subscriber: {variables", "subscriber: {variable", "18: subscriber.variable: unknown key of subscriber"),
        ("subscriber: {variables", "subscribers: {variables", "18: subscribers: unknown key of a Defaults"),
        ("D: /opt", "D: 1", "18: subscriber.variables.D: 1 is a number, not text"),
        ("channels: [c]", "channels: [c, 5]", "24: channels[1]: 5 is a number, not a name"),
        ("distributor: e", "distributor: 5", "22: distributor: 5 is a number, not a name"),
        ("source: /srv/a, dest", "sorce: /srv/a, dest", "28: files[0].sorce: unknown key of files"),
        ("files:", "post_actions: [{script: {type: shel, run: a, undo: none}}]\nfiles:", None),
        ("files:", "post_actions: [{scrpt: {type: shell, run: a, undo: none}}]\nfiles:", None),
        ("files:", "post_actions: [{start_process: {path: 5, undo: none}}]\nfiles:", None),
        ("files:", "build: {daily: {at: 22:00}}\nfiles:", None),
        ("files:", "locked: {retries: 0, wait: 1 s}\nfiles:", None),
    ],
)
def test_one_mistake_is_one_error(good: str, typed: str, error: str | None, tmp_path: Path) -> None:
    """What others seem to lack because of it, or what it leaves behind, isn't told: it goes when the mistake is mended."""
    (tmp_path / "bad.yaml").write_text(GOOD)
    load_site(tmp_path)
    assert good in GOOD
    found = told(GOOD.replace(good, typed, 1), tmp_path)
    assert len(found) == 1, found
    if error is not None:
        assert found == [error] or found[0].startswith(error)


@pytest.mark.parametrize(
    ("text", "errors"),
    [
        (
            "kind: subscriber\nname: t\naddress: x\nworking_directory: /srv/t\n",
            ["1: kind: 'subscriber' is not a kind of document", "3: address: 'x' is not an address"],
        ),
        (
            "kind: Host\nname: t\naddress: local:/srv/t\nworking_directory: /srv/t/w\nplatform: debianx\n",
            ["1: kind: 'Host' is not a kind of document", "5: platform: 'debianx' is not a known platform"],
        ),
        ("name: c\nsubscribers: [nobody]\n", ["1: kind: missing", "2: subscribers[0]: no Subscriber is named 'nobody'"]),
        ("kind: []\nname: c\nsubscribers: [nobody]\n", ["1: kind: [] is not a kind of document", "3: subscribers[0]: no Subscriber is"]),
        (
            "kind: Distributer\nname: d\ndistributor: nosuch\ntype: file\nfiles: [{source: /a, destination: /b}]\n",
            ["1: kind: 'Distributer' is not a kind of document", "3: distributor: no Distributor is named 'nosuch'"],
        ),
        ("kind: Deployment\nname: d\nspec: {replicas: 3}\n", ["1: kind: 'Deployment' is not a kind of document"]),
        ("kind: SubscriberGroup\nname: g\nsubscribers: [nobody]\n", ["1: kind: SubscriberGroup is not supported yet"]),
        (
            "- kind: Channel\n  name: c\n  subscribers: [nobody]\n- kind: Channel\n  name: e\n  send: {cron: '61 * * * *'}\n",
            ["1: a document can't be a list", "3: subscribers[0]: no Subscriber is named 'nobody'", "6: send.cron: '61 * * * *' isn't"],
        ),
        ("- a\n- b\n", ["1: a document must consist of key: value lines"]),
        (
            "apiVersion: v1\nkind: Channel\nmetadata: {name: c}\nspec:\n  subscribers: [nobody]\n  send: {daily: {at: 22:00}}\n",
            [
                "1: apiVersion: unknown key of a Channel",
                "3: metadata: unknown key, around keys of the document",
                "4: spec: unknown key, around keys of the document",
                "5: subscribers[0]: no Subscriber is named 'nobody'",
                "6: send.daily.at: 22:00 without quotes",
            ],
        ),
        (
            '{\n"kind": "Channel",\n"name": "c"\n"subscribers": [\n"nobody"\n{"where": "rol == 1"}\n]\n}\n',
            [
                "3: has no comma",
                "5: has no comma",
                "5: subscribers[0]: no Subscriber is named",
                "6: subscribers[1].where: '1' at character 8",
            ],
        ),
        (
            "kind: Channel\nname: c\n...\nkind: Channel\nname: e\nsubscribers: [nobody]\n",
            ["3: ends the document, and the next one has no ---", "6: subscribers[0]: no Subscriber is named"],
        ),
        (
            "kind: Channel\nname: c\n----\nkind: Channel\nname: e\nsubscribers: [nobody]\n===\nkind: Channel\nname: f\n",
            ["3: isn't the line between two documents", "6: subscribers[0]: no Subscriber is named", "7: isn't the line between two"],
        ),
        (
            "kind: Channel\nname: c\n<<: *defaults\nsend: !include x.yaml\ndescription: *all\n",
            ["3: *defaults is an alias", "4: !include is a tag", "5: begins with *"],
        ),
        (
            "kind: Channel\nname: c\nsubscribers: all\n---\nkind: Channel\nname: e\nsubscribers: [rol == 'web']\n",
            ["3: subscribers: is text, not a list", "7: subscribers[0].name: \"rol == 'web'\" is a selector, not a name"],
        ),
    ],
)
def test_a_document_is_judged_as_what_it_is_meant_to_be(text: str, errors: list[str], tmp_path: Path) -> None:
    found = told(text, tmp_path)
    assert len(found) == len(errors), found
    assert all(line.startswith(error) for line, error in zip(found, errors, strict=True)), found


def test_what_stands_for_a_wrong_path_is_no_path_of_another(tmp_path: Path) -> None:
    """A mirror is refused beside a source or a destination that is in its way, not beside one that isn't known."""
    head = "kind: Distribution\nname: {}\ndistributor: hq\ntype: file\nchannels: [patterns]\nfiles:\n"
    text = head.format("d") + "  - {sorce: /a, destnation: /b, synchronize: mirror}\n  - {source: ~/a, destination: /opt/c}\n---\n"
    text += head.format("e") + "  - {source: 5, destination: /opt/q}\n  - {source: /a, destination: /opt/e, synchronize: mirror}\n"
    assert [line.split(":")[1].strip() for line in told(text, tmp_path)] == [
        "files[0].destnation",
        "files[0].sorce",
        "files[1].source",
        "files[0].source",
    ]


@pytest.mark.parametrize(
    ("good", "typed", "told_"),
    [
        ("{{ B }}{{ D }}", "{{ BB }}{{ D }}", "define BB under"),
        ("{{ B }}{{ D }}{{ PLATFORM }}", "{{ B }}{{ PLATFROM }}", "write PLATFORM, or define PLATFROM"),
        ("{{ LOCAL_DIRECTORY }}/b", "{{ LOCAL_DIR }}/b", "write LOCAL_DIRECTORY, or define LOCAL_DIR"),
        ('B: "{{ A }}/b"', 'B: "{{ NAMEE }}/b"', "write NAME, or define NAMEE"),
    ],
)
def test_a_misspelt_variable_is_told_with_the_one_that_is_near(good: str, typed: str, told_: str, tmp_path: Path) -> None:
    assert good in GOOD
    (tmp_path / "bad.yaml").write_text(GOOD.replace(good, typed, 1))
    with pytest.raises(SiteError) as refusal:
        load_site(tmp_path)
    (error,) = refusal.value.errors
    assert told_ in error.remedy
