"""All lines of known_hosts files, and the way to a Subscriber, without a server."""

from __future__ import annotations

import base64
import hmac
import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest

from infra.transports.ssh_known_hosts import HostKeys, known_keys
from infra.transports.ssh_way import find_way, way_problems
from sluice.errors import HostKeyError
from sluice.model.site import Address, Site, Ssh, Subscriber


def key(letter: str) -> str:
    """A key of a type, by its last letter."""
    kind = b"ssh-ed25519"
    blob = len(kind).to_bytes(4, "big") + kind + (32).to_bytes(4, "big") + letter.encode() * 32
    return f"ssh-ed25519 {base64.b64encode(blob).decode()}"


def hashed(name: str, salt: bytes = b"salt" * 5) -> str:
    digest = hmac.digest(salt, name.encode(), "sha1")
    return f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"


def letters(keys: HostKeys, which: str = "keys") -> str:
    return "".join(chr(each.blob[-1]) for each in getattr(keys, which))


WEB = ("[web.example.org]:2222", "web.example.org")


LINES: list[tuple[list[str], tuple[str, ...], str]] = [
    ([f"web.example.org {key('a')}"], ("web.example.org",), "a"),
    ([f"web.example.org {key('a')}", f"web.example.org {key('b')}"], ("web.example.org",), "ab"),
    ([f"{hashed('web.example.org')} {key('a')}", f"{hashed('web.example.org', b'other' * 4)} {key('b')}"], ("web.example.org",), "ab"),
    ([f"{hashed('[web.example.org]:2222')} {key('a')}"], WEB, "a"),
    ([f"db,web.example.org,192.0.2.1 {key('a')} a comment here"], ("web.example.org",), "a"),
    ([f"*.example.org {key('a')}", f"we?.example.org {key('b')}"], ("web.example.org",), "ab"),
    ([f"*.example.org,!web.example.org {key('a')}", f"* {key('b')}"], ("web.example.org",), "b"),
    ([f"[web.example.org]:2222 {key('a')}", f"web.example.org {key('b')}"], WEB, "a"),
    ([f"web.example.org {key('b')}"], WEB, "b"),
    ([f"[*.example.org]:2222 {key('a')}"], WEB, "a"),
    ([f"[web.example.org]:2200 {key('a')}"], WEB, ""),
    ([f"[web.example.org]:2222 {key('a')}"], ("web.example.org",), ""),
    ([f"WEB.example.ORG {key('a')}"], ("Web.Example.org",), "a"),
    ([f"  web.example.org\t{key('a')}  ", "", "# web.example.org", f"#web.example.org {key('b')}"], ("web.example.org",), "a"),
    ([f"web.example.org {key('a')}", f"@revoked * {key('a')}"], ("web.example.org",), ""),
    ([f"@revoked db {key('a')}", f"web.example.org {key('a')}"], ("web.example.org",), "a"),
    ([f"@revoked {hashed('web.example.org')} {key('a')}", f"web.example.org {key('a')}", f"* {key('b')}"], ("web.example.org",), "b"),
    ([f"@cert-authority web.example.org {key('a')}"], ("web.example.org",), ""),
    ([f"@future web.example.org {key('a')}"], ("web.example.org",), ""),
    ([f"web.example.org {key('a')}", f"web.example.org {key('a')}"], ("web.example.org",), "a"),
    (["|1|broken web", "|1|@|@ " + key("b"), "web.example.org", f"web.example.org {key('a')}"], ("web.example.org",), "a"),
]


@pytest.mark.parametrize(("lines", "names", "expected"), LINES)
def test_every_line_for_a_host_counts_and_no_other(lines: list[str], names: tuple[str, ...], expected: str, tmp_path: Path) -> None:
    (tmp_path / "known").write_text("\n".join(lines))
    assert letters(known_keys([tmp_path / "known"], names)) == expected


@pytest.mark.parametrize(("lines", "names", "expected"), LINES)
def test_the_same_lines_as_the_installed_ssh_keygen_finds(
    lines: list[str], names: tuple[str, ...], expected: str, tmp_path: Path, real_part: Callable[[str], Path]
) -> None:
    """Without the bare name of a host at another port, by which ssh itself looks again."""
    (tmp_path / "known").write_text("\n".join(lines) + "\n")
    command = [str(real_part("ssh-keygen")), "-F", names[0].lower(), "-f", str(tmp_path / "known")]
    found = subprocess.run(command, capture_output=True, text=True).stdout.splitlines()
    blobs = {field for line in found if not line.startswith("#") for field in line.split() if field.startswith("AAAA")}
    ours = known_keys([tmp_path / "known"], names[:1])
    revoked_and_pinned = {each.blob for each in (*ours.keys, *ours.authorities)} | ours.revoked
    assert {base64.b64decode(each) for each in blobs} == revoked_and_pinned


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([f"@cert-authority *.example.org {key('a')}"], "a"),
        ([f"@cert-authority [*.example.org]:2222 {key('a')}", f"@cert-authority * {key('b')}"], "ab"),
        ([f"@cert-authority *.example.net {key('a')}"], ""),
        ([f"@cert-authority * {key('a')}", f"@revoked * {key('a')}"], ""),
    ],
)
def test_cas_are_found_by_the_same_patterns(lines: list[str], expected: str, tmp_path: Path) -> None:
    (tmp_path / "known").write_text("\n".join(lines))
    assert letters(known_keys([tmp_path / "known"], WEB), "authorities") == expected


def test_several_files_count_and_one_that_cannot_be_read_or_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "one").write_text(f"web {key('a')}\nweb ssh-dss AAAA\ndb ssh-ed25519 broken\nweb ssh-ed25519 broken\n")
    (tmp_path / "two").write_bytes(b"\xff\xfe\n" + f"web {key('b')}\n".encode())
    os.mkfifo(tmp_path / "pipe")  # nobody writes there
    files = [tmp_path / "one", tmp_path / "absent", tmp_path / "pipe", Path("/dev/zero"), tmp_path / "two"]
    found = known_keys(files, ("web",))
    assert letters(found) == "ab"
    assert [each.removeprefix(f"{tmp_path}/") for each in found.complaints] == [
        "absent: it doesn't exist",
        "pipe: it isn't a file",
        "/dev/zero: it isn't a file",
        "one:2: no key that Sluice can verify (ssh-dss)",
        "one:4: no key that Sluice can verify (ssh-ed25519)",
    ]


# --- ways -----------------------------------------------------------------------------------------------------------


def subscriber(**given: object) -> Subscriber:
    return replace(Subscriber("web", Address("ssh", "web.example.org", 22, "deploy"), PurePosixPath("/w"), identity="/k"), **given)  # type: ignore[arg-type]


def config(directory: Path, text: str) -> Ssh:
    (directory / "config").write_text(text)
    return Ssh(config=str(directory / "config"))


def test_a_route_passes_the_jump_hosts_of_the_document_in_their_order(tmp_path: Path) -> None:
    jumps = (Address("ssh", "a", 22, "u"), Address("ssh", "b", 2222, "v"))
    way = find_way(subscriber(host_keys="known", ssh=Ssh(jump=jumps)), tmp_path)
    assert [hop.name for hop in way.hops] == ["u@a:22", "v@b:2222", "deploy@web.example.org:22"]
    assert [hop.known.names for hop in way.hops] == [("a",), ("[b]:2222", "b"), ("web.example.org",)]
    assert way.hops[0].peer == "jump host u@a:22 of Subscriber web (ssh://deploy@web.example.org:22)"


def test_a_jump_host_has_its_own_block_and_only_the_firsts_own_jump_counts(tmp_path: Path) -> None:
    ssh = config(
        tmp_path,
        "Host web.*\n ProxyJump b,c\nHost b\n HostName b.example.org\n Port 2200\n ProxyJump a\n IdentityFile /k/b\n"
        "Host c\n ProxyJump never\nHost *\n User u\n",
    )
    ssh = replace(ssh, agent=True)
    way = find_way(subscriber(identity="", host_keys="known", ssh=ssh), tmp_path)
    assert way.problems == ()
    assert [hop.name for hop in way.hops] == ["u@a:22", "u@b.example.org:2200", "u@c:22", "deploy@web.example.org:22"]
    assert [list(map(str, hop.identities)) for hop in way.hops] == [[], ["/k/b"], [], []]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("Host *\n User u\n ProxyJump web.example.org\n", "leads to web.example.org through web.example.org and back"),
        ("Host web.*\n ProxyJump a\nHost a\n ProxyJump b\nHost b\n ProxyJump a\nHost *\n User u\n", "leads to a through b and back"),
        ("Host web.*\n ProxyJump a\n", "gives no user for a"),
        ("Host web.*\n ProxyJump a\nHost a\n User u\n ProxyCommand nc\n", "ProxyCommand: is not honoured"),
        ("Host web.*\n ProxyJump u@a:22:33\n", "u@a:22:33 isn't a jump host"),
    ],
)
def test_a_way_that_cannot_be_gone_is_a_problem(text: str, why: str, tmp_path: Path) -> None:
    found = subscriber(host_keys="known", ssh=config(tmp_path, text), address=Address("ssh", "web.example.org", 22, "u"))
    (problem,) = find_way(found, tmp_path).problems
    assert why in str(problem)
    site = Site(str(tmp_path), {}, {"web": found, "twin": replace(found, name="twin")}, {}, {})
    assert [str(each) for each in way_problems(site)] == [str(problem)]


@pytest.mark.parametrize(
    ("says", "document", "agent", "only"),
    [
        ("", Ssh(), None, False),
        ("", Ssh(agent=True), "", False),
        ("IdentityAgent /run/a", Ssh(), "/run/a", False),
        ("IdentityAgent /run/a", Ssh(agent=False), None, False),
        ("IdentityAgent /run/a", Ssh(agent=True), "/run/a", False),
        ("IdentityAgent none", Ssh(agent=True), "", False),
        ("IdentityAgent none", Ssh(), None, False),
        ("IdentitiesOnly yes", Ssh(agent=True), "", True),
    ],
)
def test_the_agent_is_used_as_document_and_configuration_say(
    says: str, document: Ssh, agent: str | None, only: bool, tmp_path: Path
) -> None:
    ssh = replace(config(tmp_path, f"{says}\n"), agent=document.agent)
    (hop,) = find_way(subscriber(identity="", ssh=ssh), tmp_path).hops
    assert (hop.agent, hop.only_named) == (agent, only)


@pytest.mark.parametrize("text", ["ssh-ed25519", "ssh-ed25519 AAAA", "ssh-ed25519 ????", "nonsense AAAA", "ssh-dss AAAAB3NzaC1kc3M="])
def test_a_host_key_that_is_none_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(HostKeyError, match="isn't an SSH key"):
        find_way(subscriber(host_key=text), tmp_path)


@pytest.mark.parametrize(("text", "missing"), [("UserKnownHostsFile k\n", "identity"), ("IdentityFile i\n", "known_hosts file")])
def test_a_configuration_that_leaves_something_out_that_is_needed_is_a_problem(text: str, missing: str, tmp_path: Path) -> None:
    (problem,) = find_way(subscriber(identity="", ssh=config(tmp_path, text)), tmp_path).problems
    assert f"names no {missing} for web.example.org" in str(problem)


def test_a_jump_host_has_its_own_identity_if_the_configuration_has_one_for_it_else_the_subscribers(tmp_path: Path) -> None:
    ssh = config(tmp_path, "Host a\n IdentityFile /k/a\nHost *\n User u\n UserKnownHostsFile theirs\n")
    ssh = replace(ssh, jump=(Address("ssh", "a", 0), Address("ssh", "b", 0)))
    way = find_way(subscriber(host_keys="ours", ssh=ssh), tmp_path)
    assert [(str(hop.identities[0]), bool(hop.required)) for hop in way.hops] == [("/k/a", False), ("/k", True), ("/k", True)]
    assert [hop.files.count(str(tmp_path / "theirs")) for hop in way.hops] == [1, 1, 0]
