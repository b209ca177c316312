"""Read the lines of an OpenSSH client configuration that apply to one host; ``ssh_config.py`` has the rules, and makes values of them."""

from __future__ import annotations

import fnmatch
import glob
import os
import pwd
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from infra.transports.ssh_keywords import ALIASES, HONOURED, KNOWN, LISTS, MATCH_REFUSED, SEVERAL
from sluice.errors import BlueprintError
from sluice.rules.space import size

DEPTH_MAX = 16
FILES_MAX = 256
"""Files that are read for a host, each as often as it is included."""
SIZE_MAX = 1024 * 1024
"""Bytes of one file."""
_RIVALS = {"proxycommand": "proxyjump", "proxyjump": "proxycommand"}
"""Of the two, the first that is found counts."""
_LINE = re.compile(r"\s*([^\s=\"#]+)(?:[ \t]*=[ \t]*|[ \t]+|$)(.*)")


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting that applies, and its position."""

    keyword: str
    values: tuple[str, ...]
    file: str
    line: int

    @property
    def value(self) -> str:
        """Return the first value."""
        return self.values[0]

    def problem(self, message: str, remedy: str) -> BlueprintError:
        """Return an error at its position."""
        return BlueprintError(message, file=self.file, line=self.line, path=self.keyword, remedy=remedy)


class Reader:
    """What applies to one host, while the file is read once, or twice for ``Match final``."""

    def __init__(self, site: Path, host: str, user: str) -> None:
        self.site, self.original, self.host, self.user = site, host, host, user
        self.account, self.home = _account()
        self.found: dict[str, Setting] = {}
        self.several: dict[str, dict[str, Setting]] = {keyword: {} for keyword in SEVERAL}
        self.problems: dict[tuple[str, int, str], BlueprintError] = {}
        self.is_final = self.wants_final = False
        self._files = 0

    def read(self, file: Path, *, depth: int = 0, active: bool = True, never: bool = False) -> None:
        """Take over what applies of one file; ``never``: it is included where nothing applies, and only looked through."""
        place = Setting("config", (), str(file), 0)
        self._files += 1
        try:
            data = read_file(file, SIZE_MAX)
        except OSError as error:
            self.note(place.problem(f"can't be read: {error.strerror}", "see its path, owner and mode"))
            return
        if b"\0" in data:
            self.note(place.problem("is no client configuration: it is binary", "name a file as ssh_config(5) describes"))
            return
        for keyword, setting, wrong in _parsed(str(file), data):
            if wrong is not None:
                if not keyword or keyword in KNOWN or not self._is_ignored(keyword):
                    self.note(setting.problem(*wrong))
            elif keyword == "host":
                active = not never and is_match(self.host, setting.values)
            elif keyword == "match":
                active = self._match(setting, never=never)
            elif keyword == "include":
                self._include(setting, depth, active)
            elif active:
                self._take(keyword, setting)

    def note(self, problem: BlueprintError) -> None:
        """Remember a problem, once."""
        self.problems.setdefault((problem.file, problem.line, problem.path), problem)

    def _is_ignored(self, keyword: str) -> bool:
        setting = self.found.get("ignoreunknown")
        return setting is not None and is_match(keyword, setting.value.lower().split(","))

    def _include(self, setting: Setting, depth: int, active: bool) -> None:
        if depth >= DEPTH_MAX or self._files > FILES_MAX:
            self.note(setting.problem("is included too deep or too often", "see whether the file includes itself"))
            return
        for written in setting.values:
            path = self.tilde(written)
            files = sorted(glob.glob(str(self.site / path)))
            if active and not files and not os.path.isabs(path):
                self.note(setting.problem(f"{written} names nothing below the site's folder", "write its path from /, or from ~"))
            for each in files:
                self.read(Path(each), depth=depth + 1, active=active, never=not active)

    def _match(self, setting: Setting, *, never: bool) -> bool:
        facts = {
            "host": self.hostname().lower(),
            "originalhost": self.original.lower(),
            "user": self.user or (self.found["user"].value if "user" in self.found else self.account),
            "localuser": self.account,
        }
        holds, refused = True, ""
        every = [part for word in setting.values for part in word.split("=", 1)]
        words = iter(every)
        for count, word in enumerate(words):
            criterion, expected = word.lower().removeprefix("!"), not word.startswith("!")
            if criterion == "all":
                if count > 1 or word is not every[-1]:
                    self.note(setting.problem("all stands with other criteria", "let it stand alone"))
                return holds and expected and not never
            if criterion in ("final", "canonical"):
                self.wants_final |= criterion == "final" and not self.is_final
                holds &= self.is_final is expected
                continue
            patterns = next(words, None)
            if patterns is None or (criterion not in facts and criterion not in MATCH_REFUSED):
                self.note(
                    setting.problem(f"{word} isn't a criterion with its value", f"the criteria are {', '.join(facts)}, final and all")
                )
                return False
            if criterion in facts:
                lower = patterns.lower() if criterion.endswith("host") else patterns
                holds &= is_match(facts[criterion], lower.split(",")) is expected
            else:
                refused = criterion
        if holds and refused and not never:
            self.note(setting.problem(f"{refused} is not evaluated", MATCH_REFUSED[refused]))
        return holds and not refused and not never

    def _take(self, keyword: str, setting: Setting) -> None:
        if keyword in SEVERAL:
            self.several[keyword].setdefault(setting.value, setting)
        elif _RIVALS.get(keyword) not in self.found:
            self.found.setdefault(keyword, setting)

    def hostname(self) -> str:
        """Return the host's real name, as far as it is known; the second time it is settled."""
        if self.is_final:
            return self.host
        setting = self.found.get("hostname")
        return self.original if setting is None else self.expand(setting, setting.value, {"h": self.original}).lower()

    def tilde(self, written: str) -> str:
        """Expand a leading ``~``: the account's home, whatever HOME says."""
        return self.home + written[1:] if re.match("~(/|$)", written) else os.path.expanduser(written)

    def expand(self, setting: Setting, text: str, tokens: Mapping[str, str]) -> str:
        """Replace ``%h`` and the like in a value."""

        def token(match: re.Match[str]) -> str:
            if match[1] != "%" and match[1] not in tokens:
                self.note(setting.problem(f"has a token that isn't known here: %{match[1]}", "write what it stands for"))
            return "%" if match[1] == "%" else tokens.get(match[1], "")

        return re.sub(r"%(.?)", token, text)


def read_file(file: Path, most: int) -> bytes:
    """Read a file that a site names. Raises OSError, also for a pipe, a device, and more bytes than ``most``."""
    if not file.is_file():
        raise OSError(0, "it isn't a file") if file.exists() else FileNotFoundError(0, "it doesn't exist")
    with file.open("rb") as opened:
        data = opened.read(most + 1)
    if len(data) > most:
        raise OSError(0, f"it is larger than {size(most)}")
    return data


@lru_cache(maxsize=16)
def _parsed(file: str, data: bytes) -> tuple[tuple[str, Setting, tuple[str, str] | None], ...]:
    """Split a file into keywords and settings, and for a line that is wrong for every host what is wrong and a remedy.

    Kept, as a site's hosts share a file.
    """
    lines: list[tuple[str, Setting, tuple[str, str] | None]] = []
    for number, line in enumerate(data.decode("utf-8", "surrogateescape").split("\n"), 1):
        found = _LINE.match(line.rstrip())
        if found is None:
            if (text := line.strip()) and not text.startswith("#"):
                lines.append(("", Setting("line", (), file, number), ("isn't a keyword and its value", "correct the line")))
            continue
        keyword, words = ALIASES.get(found[1].lower(), found[1].lower()), _words(found[2])
        wrong = None
        if keyword not in KNOWN:
            wrong = "is no keyword that OpenSSH has", "correct it, or name it in IgnoreUnknown before it"
        elif not words:
            wrong = "has no value" if words == [] else "has a quote without its end", "correct the line"
        elif keyword in HONOURED and keyword not in LISTS and len(words) > 1:
            wrong = "has more than one value", 'write one; put it in "quotes" if it contains spaces'
        lines.append((keyword, Setting(found[1], tuple(words or ()), file, number), wrong))
    return tuple(lines)


def _account() -> tuple[str, str]:
    """Return name and home of this process's account, as its system has them."""
    try:
        found = pwd.getpwuid(os.getuid())
    except KeyError:
        return str(os.getuid()), "/"
    return found.pw_name, found.pw_dir


def _words(text: str) -> list[str] | None:
    """Split the values of a line as OpenSSH does, up to a comment; None if a quote has no end."""
    words: list[str] = []
    word, quote, position = None, "", 0
    while position < len(text):
        char, after = text[position], text[position + 1 : position + 2]
        if word is None and char == "#":
            break
        if char == "\\" and after and (after in "'\"\\" or (after == " " and not quote)):
            word, position = (word or "") + after, position + 1
        elif char in " \t" and not quote:
            words += [] if word is None else [word]
            word = None
        elif char == quote:
            quote = ""
        elif char in "'\"" and not quote:
            word, quote = word or "", char
        else:
            word = (word or "") + char
        position += 1
    return None if quote else words + ([] if word is None else [word])


def is_match(name: str, patterns: Iterable[str]) -> bool:
    """Whether a name fits one of OpenSSH's patterns (``*`` and ``?``) and none with a ``!``."""
    found = False
    for each in patterns:
        pattern = each.removeprefix("!")
        # fnmatch's time doesn't grow with the number of asterisks; its brackets are letters here. Most names are no patterns.
        is_pattern = "*" in pattern or "?" in pattern
        if pattern == name or (is_pattern and re.match(fnmatch.translate(pattern.replace("[", "[[]")), name)):
            if each.startswith("!"):
                return False
            found = True
    return found
