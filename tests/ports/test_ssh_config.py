"""An OpenSSH client configuration is read as the installed ``ssh -G`` reads it, runs nothing, and is refused by name if it must be."""

from __future__ import annotations

import getpass
import os
import pwd
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.transports.ssh_config import HostConfig, resolve
from infra.transports.ssh_keywords import HONOURED, REFUSED, WITHOUT_EFFECT

# The configuration, the host that is asked for, and user and port of the blueprint.
TABLE: dict[str, tuple[str, str, str, int]] = {
    "first value counts": ("Host web\n Port 2201\nHost *\n Port 2202\n User any\n", "web", "", 0),
    "the blueprint's user and port win": ("Host *\n User other\n Port 99\n", "web", "deploy", 2222),
    "patterns": ("Host w?b-*\n User one\nHost *.example.org\n User two\n", "web-17", "", 0),
    "a bracket is no pattern": ("Host web-[0-9]\n User one\nHost *\n User two\n", "web-1", "", 0),
    "negation": ("Host * !web-1\n Port 1\nHost *\n Port 2\n", "web-1", "", 0),
    "negation of another": ("Host * !web-1\n Port 1\nHost *\n Port 2\n", "web-2", "", 0),
    "equals sign and quotes": ('Host=web\nUser = "two words"\nPort=22\n', "web", "", 0),
    "single quotes": ("Host 'web'\n User 'a b'\n", "web", "", 0),
    "a domain's backslash": ("Host web\n User CORP\\deploy\n", "web", "", 0),
    "escapes": ('Host web\n User "a\\"b"\n', "web", "", 0),
    "comments": ("# Host web\nHost web # the web\n User deploy # who\n IdentityFile /k#1\n", "web", "", 0),
    "keywords in any case": ("HOST web\n uSeR deploy\n\tPORT 23\n", "web", "", 0),
    "HostName with a token": ("Host web-*\n HostName %h.example.org\n", "web-1", "", 0),
    "HostName with a percent sign": ("Host web\n HostName 100%%.example.org\n", "web", "", 0),
    "several identities": ("Host web\n IdentityFile /k/one\nHost *\n IdentityFile /k/two\n IdentityFile /k/one\n", "web", "", 0),
    "certificates": ("Host web\n CertificateFile /k/a-cert.pub\n CertificateFile /k/b-cert.pub\n", "web", "", 0),
    "known hosts": ("UserKnownHostsFile /a /b\nUserKnownHostsFile /c\n", "web", "", 0),
    "no known hosts": ("UserKnownHostsFile none\n", "web", "", 0),
    "global known hosts": ("GlobalKnownHostsFile /a\nUserKnownHostsFile /u\n", "web", "", 0),
    "alias": ("Host web\n HostKeyAlias fleet\n", "web", "", 0),
    "times": ("ConnectTimeout 1m30s\nServerAliveInterval 1m\nServerAliveCountMax 7\n", "web", "", 0),
    "family": ("AddressFamily inet6\n", "web", "", 0),
    "identities only": ("Host web\n IdentitiesOnly yes\n", "web", "", 0),
    "agent": ("IdentityAgent /run/agent\n", "web", "", 0),
    "no agent": ("IdentityAgent none\n", "web", "", 0),
    "agent of the environment": ("IdentityAgent SSH_AUTH_SOCK\n", "web", "", 0),
    "jump": ("Host web\n ProxyJump ops@bastion:2222,second\n", "web", "", 0),
    "jump as URI": ("Host web\n ProxyJump ssh://ops@bastion:2222\n", "web", "", 0),
    "jump over IPv6": ("Host web\n ProxyJump ops@[2001:db8::1]:2222\n", "web", "", 0),
    "no jump for one": ("Host web\n ProxyJump none\nHost *\n ProxyJump bastion\n", "web", "", 0),
    "match host": ("Match host web,db\n User one\nMatch all\n User two\n", "db", "", 0),
    "match host by its real name": ("Host web\n HostName web.example.org\nMatch host *.example.org\n User one\n", "web", "", 0),
    "match originalhost": ("Host web\n HostName 192.0.2.1\nMatch originalhost web\n User one\n", "web", "", 0),
    "match user": ("Match user deploy\n Port 1\nMatch !user deploy\n Port 2\n", "web", "deploy", 0),
    "match another user": ("Match user deploy\n Port 1\nMatch !user deploy\n Port 2\n", "web", "other", 0),
    "match user of an earlier line": ("Host web\n User deploy\nMatch user deploy\n Port 7\n", "web", "", 0),
    "match several": ("Match host web user deploy\n Port 1\nMatch host web !user deploy\n Port 2\n", "web", "deploy", 0),
    "match with negation in the list": ("Match host web-*,!web-2\n Port 5\n", "web-2", "", 0),
    "match final": ("Host web\n HostName real.example.org\nMatch final host real.*\n User late\nMatch final\n Port 77\n", "web", "", 0),
    "host blocks in the final pass": ("Host web\n HostName real\nHost real\n User late\nMatch final\n Port 77\n", "web", "", 0),
    "match all after final": ("Match final all\n User late\nMatch all\n Port 77\n", "web", "", 0),
    "a name of the final pass is too late": ("Match final\n HostName other\n Port 7\n", "web", "", 0),
    "match canonical alone": ("Match canonical\n User late\nMatch !final\n Port 7\n", "web", "", 0),
    "names in capitals": ("Host web\n HostName Web.Example.Org\n HostKeyAlias Fleet\n", "web", "", 0),
    "match in capitals": ("Match host WEB\n Port 6\n", "web", "", 0),
    "match exec that cannot hold": ("Match host db exec true\n Port 1\nHost *\n Port 2\n", "web", "", 0),
    "include": ("Host web\n Include {dir}/more\nHost *\n Port 9\n", "web", "", 0),
    "include where nothing applies": ("Host db\n Include {dir}/more\nHost *\n Port 9\n", "web", "", 0),
    "include by a pattern": ("Include {dir}/mor*\nInclude {dir}/absent\n", "web", "", 0),
    "block goes on after an include": ("Host web\n Include {dir}/blocks\n HostKeyAlias after\n", "web", "", 0),
    "ignored keywords": ("IgnoreUnknown UseKeychain,Foo*\nHost *\n UseKeychain yes\n FooBar 1\n User u\n", "web", "", 0),
    "without effect": ("ForwardX11 yes\nSendEnv LANG LC_*\nLogLevel QUIET\nCompression yes\nLocalForward 1 a:2\nPort 44\n", "web", "", 0),
    "no newline at the end, carriage returns": ("Host web\r\n Port 5\r\n User u", "web", "", 0),
}
DOCUMENT = Path(__file__).parents[2] / "docs" / "ssh.md"
MORE = "User included\nHost web\n Port 8\nHost other\n Port 1\n"
BLOCKS = "Host nobody\n User nobody\n"


def by_ssh(config: Path, host: str, user: str, port: int) -> dict[str, list[str]]:
    """What the installed ssh makes of it, by keyword."""
    given = (*(("-l", user) if user else ()), *(("-p", str(port)) if port else ()))
    done = subprocess.run(["ssh", "-G", "-F", str(config), *given, host], capture_output=True, text=True, check=True)
    found: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        keyword, _, value = line.partition(" ")
        found.setdefault(keyword, []).append(value)
    return found


def seconds(value: str) -> float:
    return 0 if value == "none" else float(value)


@pytest.mark.parametrize("case", TABLE)
def test_a_configuration_is_read_as_ssh_reads_it(case: str, tmp_path: Path, real_part: Callable[[str], Path]) -> None:
    real_part("ssh")
    text, host, user, port = TABLE[case]
    config = tmp_path / "config"
    (tmp_path / "more").write_text(MORE)
    (tmp_path / "blocks").write_text(BLOCKS)
    config.write_text(text.replace("{dir}", str(tmp_path)))
    expected = by_ssh(config, host, user, port)
    found = resolve(config, host, site=tmp_path, user=user, port=port)
    assert [str(each) for each in found.problems] == []
    written = {line.split()[0].split("=")[0].lower() for line in (text + MORE).splitlines() if line.strip()}
    assert found.hostname == expected["hostname"][0]
    assert (found.port or 22) == int(expected["port"][0])
    assert (found.user or getpass.getuser()) == expected["user"][0]
    if "identityfile" in written:
        assert [str(each) for each in found.identities] == expected["identityfile"]
    assert [str(each) for each in found.certificates] == expected.get("certificatefile", [])
    assert found.identities_only is (expected["identitiesonly"] == ["yes"])
    known = [path for key in ("userknownhostsfile", "globalknownhostsfile") if key in written for path in expected[key][0].split()]
    assert [str(each) for each in found.known_hosts] == [each for each in known if each != "none"]
    assert found.host_key_alias == expected.get("hostkeyalias", [""])[0]
    assert (found.connect_timeout or 0) == seconds(expected["connecttimeout"][0])
    assert found.alive_interval == float(expected["serveraliveinterval"][0])
    assert found.alive_count == int(expected["serveralivecountmax"][0])
    assert {0: "any", 2: "inet", 10: "inet6"}[int(found.family)] == expected["addressfamily"][0]
    jumps = [part.removeprefix("ssh://") for part in expected.get("proxyjump", ["none"])[0].split(",")]
    assert [str(each).removeprefix("ssh://") for each in found.jumps] == [each for each in jumps if each != "none"]
    agent = {"none": None, "SSH_AUTH_SOCK": ""}
    assert found.agent == agent.get(value := expected.get("identityagent", ["none"])[0], value)


REFUSALS = {
    "ProxyCommand nc %h %p": "config:2: ProxyCommand: is not honoured by Sluice: write ProxyJump",
    "Match exec true": "config:2: Match: exec is not evaluated: write host, originalhost or user instead",
    "Match host web !exec false": "config:2: Match: exec is not evaluated",
    "Match localnetwork 192.0.2.0/24": "config:2: Match: localnetwork is not evaluated",
    "Match tagged home": "config:2: Match: tagged is not evaluated",
    "ControlMaster auto": "config:2: ControlMaster: is not honoured by Sluice: leave it out",
    "ControlPath ~/.ssh/%C": "config:2: ControlPath: is not honoured",
    "ControlPersist 10m": "config:2: ControlPersist: is not honoured",
    "PKCS11Provider /usr/lib/p11.so": "config:2: PKCS11Provider: is not honoured by Sluice: write IdentityAgent",
    "SmartcardDevice /usr/lib/p11.so": "config:2: SmartcardDevice: is not honoured",
    "VerifyHostKeyDNS yes": "config:2: VerifyHostKeyDNS: is not honoured by Sluice: write no",
    "KnownHostsCommand /bin/keys %h": "config:2: KnownHostsCommand: is not honoured by Sluice: write UserKnownHostsFile",
    "PermitLocalCommand yes": "config:2: PermitLocalCommand: is not honoured",
    "RemoteCommand tmux": "config:2: RemoteCommand: is not honoured",
    "CanonicalizeHostname yes": "config:2: CanonicalizeHostname: is not honoured by Sluice: write no, and HostName",
    "Ciphers aes256-ctr": "config:2: Ciphers: is not honoured by Sluice: leave it out",
    "BindAddress 192.0.2.1": "config:2: BindAddress: is not honoured",
    "RevokedHostKeys /etc/revoked": "config:2: RevokedHostKeys: is not honoured by Sluice: write the keys as @revoked lines",
    "PreferredAuthentications password": "config:2: PreferredAuthentications: is not honoured by Sluice: name publickey",
    "PubkeyAuthentication no": "config:2: PubkeyAuthentication: is not honoured",
    "Frobnicate yes": "config:2: Frobnicate: is no keyword that OpenSSH has: correct it",
    "User": "config:2: User: has no value",
    'User "a': "config:2: User: has a quote without its end",
    "User a b": "config:2: User: has more than one value",
    "Port 70000": "config:2: Port: 70000 isn't such a number",
    "ConnectTimeout soon": "config:2: ConnectTimeout: soon isn't a time",
    "AddressFamily inet4": "config:2: AddressFamily: can't be inet4",
    "IdentityFile /keys/%C": "config:2: IdentityFile: has a token that isn't known here: %C",
    "UserKnownHostsFile ${NO_SUCH_VARIABLE}/k": "config:2: UserKnownHostsFile: NO_SUCH_VARIABLE isn't set",
    "ProxyJump a@b@:x": "config:2: ProxyJump: a@b@:x isn't a jump host",
    "Match colour red": "config:2: Match: colour isn't a criterion",
    "Match host web user u all": "config:2: Match: all stands with other criteria",
    "Match all host web": "config:2: Match: all stands with other criteria",
    "Include config": "config:2: Include: is included too deep or too often",
    "Include config config config config": "config:2: Include: is included too deep or too often",
    "Include conf.d/absent*": "config:2: Include: conf.d/absent* names nothing below the site's folder",
    "= 3": "config:2: line: isn't a keyword and its value",
}


def read(directory: Path, text: str, host: str = "web") -> HostConfig:
    (directory / "config").write_text(text)
    return resolve(directory / "config", host, site=directory)


@pytest.mark.parametrize("line", REFUSALS)
def test_a_setting_that_cannot_be_honoured_is_refused_at_its_line(line: str, tmp_path: Path) -> None:
    found = [str(each).removeprefix(f"{tmp_path}/") for each in read(tmp_path, f"Host web\n{line}\n").problems]
    assert len(found) == 1
    assert found[0].startswith(REFUSALS[line])


@pytest.mark.parametrize("line", ["Frobnicate yes", "IdentityFile /a b", 'User "a', "Port"])
def test_a_line_that_no_ssh_takes_is_refused_for_every_host(line: str, tmp_path: Path) -> None:
    assert len(read(tmp_path, f"Host db\n{line}\n").problems) == 1


@pytest.mark.parametrize("line", [line for line in REFUSALS if line.split()[0].lower() in REFUSED])
def test_a_refused_setting_of_another_host_or_after_a_harmless_one_is_no_problem(line: str, tmp_path: Path) -> None:
    assert read(tmp_path, f"Host db\n{line}\nHost *\n User u\n").problems == ()
    keyword = line.split()[0].lower()
    if harmless := sorted(REFUSED[keyword][0]):
        assert read(tmp_path, f"{keyword} {harmless[0]}\nHost web\n{line}\n").problems == ()


@pytest.mark.parametrize("line", ["Match exec {}", "Match host web exec {}", "Match !exec {}", 'Match user x exec "{}"'])
def test_match_exec_runs_nothing(line: str, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch {ran}\n")
    program.chmod(0o755)
    read(tmp_path, f"{line.format(program)}\n Port 1\n")
    assert not ran.exists()


def test_proxyjump_before_proxycommand_counts_alone_and_the_other_way_round(tmp_path: Path) -> None:
    jump = read(tmp_path, "Host web\n ProxyJump bastion\nHost *\n ProxyCommand nc\n")
    assert (jump.problems, jump.jumps[0].host) == ((), "bastion")
    none = read(tmp_path, "Host web\n ProxyCommand none\nHost *\n ProxyJump bastion\n")
    assert (none.problems, none.jumps) == ((), ())


def test_relative_paths_are_below_the_site_and_a_tilde_is_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody-else")
    monkeypatch.setenv("LOGNAME", "somebody-else")
    monkeypatch.setenv("KEYS", "/k")
    (tmp_path / "ssh").mkdir()
    (tmp_path / "ssh/more").write_text("IdentityFile ~/.ssh/id\nIdentityFile ${KEYS}/%h-%r\nCertificateFile keys/a-cert.pub\n")
    found = read(tmp_path, "User ann\nInclude ssh/mor?\nUserKnownHostsFile known\n")
    assert [str(each) for each in found.identities] == [f"{pwd.getpwuid(os.getuid()).pw_dir}/.ssh/id", "/k/web-ann"]
    assert (found.certificates, found.known_hosts) == ((tmp_path / "keys/a-cert.pub",), (tmp_path / "known",))


@pytest.mark.parametrize(
    ("make", "why"), [("absent", "doesn't exist"), ("directory", "isn't a file"), ("binary", "binary"), ("large", "larger than 1 MiB")]
)
def test_a_file_that_is_no_configuration_is_one_problem(make: str, why: str, tmp_path: Path) -> None:
    path = tmp_path / "config"
    if make == "directory":
        path.mkdir()
    elif make != "absent":
        path.write_bytes(b"\0" if make == "binary" else b"#" * (1024 * 1024 + 1))
    (problem,) = resolve(path, "web", site=tmp_path).problems
    assert why in str(problem)


def test_every_keyword_that_the_installed_ssh_prints_is_taken_in_one_way(real_part: Callable[[str], Path]) -> None:
    real_part("ssh")
    known = {each.lower() for each in by_ssh(Path("/dev/null"), "web", "", 0)} - {"host"}
    assert len(known) > 50
    assert known <= HONOURED | WITHOUT_EFFECT | REFUSED.keys()
    assert not HONOURED & WITHOUT_EFFECT
    assert not (HONOURED | WITHOUT_EFFECT) & REFUSED.keys()


def documented() -> list[list[str]]:
    section = DOCUMENT.read_text().split("## Client settings\n")[1].split("\n## ")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line.startswith("| `")]


def test_ssh_takes_each_line_of_the_documentation_but_the_last(tmp_path: Path, real_part: Callable[[str], Path]) -> None:
    real_part("ssh")
    taken = []
    for setting, *_ in documented():
        line = setting.strip("`").replace('"test -e /vpn"', "true")
        (tmp_path / "config").write_text(f"{line}\n")
        taken.append(subprocess.run(["ssh", "-G", "-F", str(tmp_path / "config"), "web"], capture_output=True).returncode == 0)
    assert taken == [True] * (len(taken) - 1) + [False]


@pytest.mark.parametrize(("setting", "taken", "words"), documented())
def test_each_client_setting_of_the_documentation_is_taken_as_it_says(setting: str, taken: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d/one").write_text("Port 17\n")
    line = setting.strip("`")
    effect = {"Match": "\n Port 17", "IgnoreUnknown": "\nUseKeychain yes\nPort 17"}.get(line.split()[0], "")
    (tmp_path / "config").write_text(f"Host *\n{line}{effect}\n")
    found = resolve(tmp_path / "config", "web", site=tmp_path, user="deploy" if "user deploy" in line else "")
    if taken == "refused":
        (problem,) = found.problems
        assert words in f"{problem.message}: {problem.remedy}"
        return
    assert found.problems == ()
    nothing = HostConfig("web", user=found.user if "user deploy" in line else "")
    assert {"honoured": True, "no effect": False}[taken] is (found != nothing)
