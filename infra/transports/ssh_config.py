"""Read an OpenSSH client configuration that a blueprint names, for one host, as ``ssh -F FILE HOST`` would.

Rules, as ssh_config(5) has them and tests compare with ``ssh -G``:

- the first value that applies counts; of identities and certificates all do;
- Host takes patterns with ``*``, ``?`` and ``!``; Match takes all, host, originalhost, user, localuser, final and canonical;
- ``Match final`` has the file read a second time, for the host's real name;
- Include takes patterns, at most 16 deep, within the block that it stands in. A relative one that names no file is a problem.

Differs: relative paths are below the site's folder (ssh: the current directory, for Include ``~/.ssh``), nothing but the named
file and its Includes is read, there is no default for the user, and no program is ever run. A setting that applies and can't be
honoured is a problem with file and line; so are unknown keywords, wherever they stand, as with ssh.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from infra.transports.ssh_config_file import Reader, Setting
from infra.transports.ssh_keywords import REFUSED
from sluice.errors import BlueprintError
from sluice.model.site import Address

T = TypeVar("T")

_TIME = re.compile(r"(?:[0-9]+[smhdwSMHDW]?)+")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_FLAG = {"yes": True, "true": True, "no": False, "false": False}
_FAMILIES = {"any": socket.AF_UNSPEC, "inet": socket.AF_INET, "inet6": socket.AF_INET6}
_JUMP = re.compile(r"(?:ssh://)?(?:(?P<user>[^/]+)@)?(?P<host>\[[^\]]+\]|[^:@/\[\]]+)(?::(?P<port>[0-9]{1,5}))?/?")


@dataclass(frozen=True, slots=True)
class HostConfig:
    """All that a client configuration says about one host. Paths are expanded and absolute; None or empty: it says nothing."""

    hostname: str
    port: int = 0
    user: str = ""
    identities: tuple[Path, ...] = ()
    certificates: tuple[Path, ...] = ()
    identities_only: bool = False
    agent: str | None = None
    """Path of the ssh-agent's socket; empty: the one of SSH_AUTH_SOCK."""
    jumps: tuple[Address, ...] = ()
    known_hosts: tuple[Path, ...] = ()
    host_key_alias: str = ""
    family: int = socket.AF_UNSPEC
    connect_timeout: float | None = None
    """Seconds."""
    alive_interval: float = 0
    """Seconds between signs of life; 0: none are sent."""
    alive_count: int = 3
    problems: tuple[BlueprintError, ...] = ()


def resolve(file: Path, host: str, *, site: Path, user: str = "", port: int = 0) -> HostConfig:
    """Read ``file`` for ``host``; ``user`` and ``port`` are those that the blueprint gives."""
    found = _Found(site, host, user)
    found.read(file)
    if found.wants_final:
        found.is_final, found.host = True, found.hostname()
        found.read(file)
    return found.host_config(port)


class _Found(Reader):
    """What applies, as values."""

    def host_config(self, port: int) -> HostConfig:
        """Return what was found; a refused setting is a problem unless its value asks for nothing."""
        for keyword, setting in self.found.items():
            harmless, remedy = REFUSED.get(keyword, (None, ""))
            value = setting.value.lower()
            if keyword == "preferredauthentications" and "publickey" in value.split(","):
                continue
            if harmless is not None and value not in harmless:
                self.note(setting.problem("is not honoured by Sluice", remedy))
        hostname = self.hostname()
        port = port or self._number("port", 1, 65535) or 0
        user = self.user or self._text("user")
        machine = socket.gethostname()
        tokens = {
            "h": hostname,
            "n": self.original,
            "p": str(port or 22),
            "r": user,
            "u": self.account,
            "l": machine,
            "L": machine.split(".")[0],
        }
        tokens |= {"d": self.home, "i": str(os.getuid()), "k": self._text("hostkeyalias") or self.original}
        agent = self.found.get("identityagent")
        interval, timeout = self._seconds("serveraliveinterval"), self._seconds("connecttimeout")
        count = self._number("serveralivecountmax", 0, 1_000_000)
        return HostConfig(
            hostname,
            port,
            user,
            tuple(path for each in self.several["identityfile"].values() for path in self._paths(each, tokens)),
            tuple(path for each in self.several["certificatefile"].values() for path in self._paths(each, tokens)),
            self._choice("identitiesonly", _FLAG, default=False),
            None if agent is None or agent.value == "none" else self._agent(agent, tokens),
            tuple(self._jumps(tokens)),
            tuple(
                path
                for keyword in ("userknownhostsfile", "globalknownhostsfile")
                if (each := self.found.get(keyword)) is not None
                for path in self._paths(each, tokens)
            ),
            self._text("hostkeyalias").lower(),
            self._choice("addressfamily", _FAMILIES, default=socket.AF_UNSPEC),
            timeout or None,
            interval or 0,
            3 if count is None else count,
            tuple(self.problems.values()),
        )

    def _text(self, keyword: str) -> str:
        return self.found[keyword].value if keyword in self.found else ""

    def _choice(self, keyword: str, values: Mapping[str, T], *, default: T) -> T:
        setting = self.found.get(keyword)
        if setting is not None and setting.value.lower() not in values:
            self.note(setting.problem(f"can't be {setting.value}", f"write {' or '.join(values)}"))
        return default if setting is None else values.get(setting.value.lower(), default)

    def _number(self, keyword: str, least: int, most: int) -> int | None:
        setting = self.found.get(keyword)
        if setting is None:
            return None
        if not setting.value.isdecimal() or not least <= int(setting.value[:9]) <= most:
            self.note(setting.problem(f"{setting.value} isn't such a number", f"write one from {least} to {most}"))
            return None
        return int(setting.value)

    def _seconds(self, keyword: str) -> float | None:
        setting = self.found.get(keyword)
        if setting is None or setting.value == "none":
            return None
        if _TIME.fullmatch(setting.value) is None:
            self.note(setting.problem(f"{setting.value} isn't a time", "write seconds, or a number with s, m or h"))
            return None
        return sum(int(number[:9]) * _SECONDS[unit.lower()] for number, unit in re.findall("([0-9]+)([a-zA-Z]?)", setting.value))

    def _paths(self, setting: Setting, tokens: Mapping[str, str]) -> list[Path]:
        return [self._path(setting, each, tokens) for each in setting.values if each.lower() != "none"]

    def _path(self, setting: Setting, written: str, tokens: Mapping[str, str]) -> Path:
        def variable(match: re.Match[str]) -> str:
            if match[1] not in os.environ:
                self.note(setting.problem(f"{match[1]} isn't set in the environment", "write the path itself"))
            return os.environ.get(match[1], "")

        return self.site / re.sub(r"\$\{([^}]*)\}", variable, self.expand(setting, self.tilde(written), tokens))

    def _agent(self, setting: Setting, tokens: Mapping[str, str]) -> str:
        if setting.value == "SSH_AUTH_SOCK":
            return ""
        variable = setting.value.startswith("$") and not setting.value.startswith("${")
        return str(self._path(setting, f"${{{setting.value[1:]}}}" if variable else setting.value, tokens))

    def _jumps(self, tokens: Mapping[str, str]) -> Iterator[Address]:
        setting = self.found.get("proxyjump")
        if setting is None or setting.value.lower() == "none":
            return
        for each in self.expand(setting, setting.value, tokens).split(","):
            match = _JUMP.fullmatch(each.strip())
            if match is None or (match["port"] and not 1 <= int(match["port"]) <= 65535):
                self.note(setting.problem(f"{each} isn't a jump host", "write user@host:port, several with commas"))
            else:
                yield Address("ssh", match["host"].strip("[]").lower(), int(match["port"] or 0), match["user"] or "")
