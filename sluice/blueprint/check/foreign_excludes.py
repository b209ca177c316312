"""Excludes that are legal and nearly certainly meant in the syntax of another tool: rsync, borg, restic, tar, Syncthing, regexes, shells.

Pure. A character with a backslash before it is meant as it is. What can't be meant at all is refused by ``schema/excludes.py``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from sluice.rules.excludes import shown_pattern

_ALONE = "write the pattern alone, as in a .gitignore"
_LOOKS: tuple[tuple[re.Pattern[str], str, str], ...] = (
    (re.compile(r"\A(['\"`]).+\1\Z"), "is in quotes twice, and the inner ones are a part of the name", "write one pair of quotes"),
    (re.compile(r"\A--?[a-z][a-z-]*[= ]"), "is an option of a program, and here a name", _ALONE),
    (
        re.compile(r"\A(?:(?:re|sh|fm|pp|pf|path|regexp?|i?glob|rootglob):|!?\(\?[a-z]\))"),
        "begins as for borg, Mercurial or Syncthing, and here with a name",
        _ALONE,
    ),
    (
        re.compile(r"(?:[@+?]|(?<=.)!)\([^()]*\)"),
        "looks like a shell's extended pattern, and here ! + @ ( ) are characters of a name, and ? any one",
        r"write a pattern for each alternative; or \! \? [+] [@] before the bracket",
    ),
    (
        re.compile(r"\A(?:!?[-+PRHS.:]!? \S|:[!^(])"),
        "is a rule of rsync, borg or git's pathspecs, and here a name",
        f"{_ALONE}; ! before it includes again",
    ),
    (
        re.compile(r"\$[{(]|\$[A-Z_][A-Z0-9_]*(?=/|\Z)|%[A-Za-z]\w*%"),
        "has a variable, which has no value here: it is a part of the name",
        r"write the path below the source, or \$ and \% for the characters",
    ),
    (
        re.compile(r"\A\^|\$\Z|\.\+|\][+{]|\([^()]*\||(?:\A|/)\.\*/"),
        "looks like a regular expression, and here . + ^ $ ( | are characters of a name",
        r"write * for any characters, and a pattern for each alternative; or \^ and \$",
    ),
    (
        re.compile(r"/\*{3,}\Z"),
        "excludes what is in the directory, which stays: *** has no meaning of its own here",
        "write / instead of /*** to exclude the directory too",
    ),
    (re.compile(r"\S\s+#\s"), "has no comment in it: all of it is the pattern", r"write # outside the quotes, or \#"),
)
_SEPARATOR = re.compile(r"[,;|]")
_DIRECTORIES = re.compile(r"/?(?:\*{1,2}/)+")


def foreign_syntax(patterns: Sequence[str], source: str) -> Iterator[tuple[int, str, str]]:
    """Yield patterns that another tool would read in another way: index, their meaning here, and how to write what is meant.

    Args:
        source: The source's absolute path.
    """
    includes_again = any(text.startswith("!") for text in patterns)
    for index, text in enumerate(patterns):
        plain = re.sub(r"\\.", "x", text)
        found = next(((what, remedy) for look, what, remedy in _LOOKS if look.search(plain)), None) or _listed(plain)
        if found is None and not includes_again:
            found = _much(plain)
        own = f"{source.strip('/')}/"
        if found is None and own.count("/") > 1 and plain.startswith(own):
            found = (
                f"begins with the source's own path, and here with a directory {own.partition('/')[0]} in it",
                f"write /{text[len(own) :]}",
            )
        if found is not None:
            yield index, f"{shown_pattern(text)} {found[0]}", found[1]


def _listed(plain: str) -> tuple[str, str] | None:
    pieces, words = [piece.strip() for piece in _SEPARATOR.split(plain)], plain.split()
    if len(pieces) == 1 and len(words) > 1 and all("*" in word for word in words):
        pieces = words
    if len(pieces) == 1 or not all(pieces) or "*" in pieces:  # RCS has *,v
        return None
    each = ", ".join(f'"{piece}"' for piece in pieces)
    return "is one name with a separator in it, and no list", rf"write [{each}], or a backslash before the character"


def _much(plain: str) -> tuple[str, str] | None:
    if _DIRECTORIES.fullmatch(plain):
        return "excludes every directory with everything in it", "name the directories that stay out"
    if plain == "*.*":
        return "excludes names with a period in them, and no others", "name what stays out"
    return None
