"""Make pairs, each from its own seed: the same bytes on every machine, except SQLite's own layout and the times.

Every maker writes both trees. An unchanged file has the same time in both; a changed one has a later time.
"""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from functools import cache
from itertools import count
from pathlib import Path

FIRST, SECOND = 1_700_000_000, 1_702_592_000
"""Seconds since 1970 at which the two versions were made."""
MB = 1_000_000
_WORDS = 4_000
_PIECE = 8 * MB


def one_line(old: Path, new: Path) -> None:
    """300 files of source-like text; one line of one of them changes."""
    chance = random.Random("one-line")
    for number in range(300):
        _write(old / f"package-{number // 20:02}" / f"module_{number:03}.py", _text(chance, chance.randrange(2_000, 20_000)))
    _copy(old, new)
    path = new / "package-07" / "module_144.py"
    lines = path.read_text().split("\n")
    lines[len(lines) // 2] = "    return a + b  # fixed"
    _write(path, "\n".join(lines).encode(), at=SECOND)


def rename(old: Path, new: Path) -> None:
    """3,000 files, half of them incompressible; a directory of 1,000 gets another name."""
    chance = random.Random("rename")
    for number in range(3_000):
        data = _text(chance, 8_000) if number % 2 else chance.randbytes(8_000)
        _write(old / f"assets-{number // 1_000}" / f"{number % 10}" / f"file-{number:04}", data)
    _copy(old, new)
    (new / "assets-1").rename(new / "media")


def touched(old: Path, new: Path) -> None:
    """10,000 files that were checked out anew: every time differs, no byte does."""
    chance = random.Random("touched")
    for number in range(10_000):
        _write(old / f"d{number // 100:03}" / f"file-{number:05}.txt", _text(chance, 1_000))
    _copy(old, new)
    for path in new.rglob("*"):
        os.utime(path, (SECOND, SECOND))


def many(old: Path, new: Path) -> None:
    """100,000 small files, of which one changes."""
    chance = random.Random("many")
    words = [_text(chance, 400) for _ in range(500)]
    for number in range(100_000):
        _write(old / f"d{number // 1_000:03}" / f"e{number // 100 % 10}" / f"file-{number:06}", b"%d\n" % number + chance.choice(words))
    _copy(old, new)
    _write(new / "d042" / "e3" / "file-042345", b"42345\n" + words[7] + b"\nand one line more\n", at=SECOND)


def log(old: Path, new: Path) -> None:
    """A log of 60 MB that 1 MB was appended to, and its rotated one."""
    chance = random.Random("log")
    _write(old / "app.log", _log(chance, 60 * MB))
    _write(old / "app.log.1", _log(chance, 10 * MB))
    _copy(old, new)
    _write(new / "app.log", (new / "app.log").read_bytes() + _log(chance, MB), at=SECOND)


def sqlite(old: Path, new: Path) -> None:
    """A SQLite file of 100 MB; a hundredth of its rows, scattered, is updated."""
    chance = random.Random("sqlite")
    old.mkdir(parents=True)
    with closing(sqlite3.connect(old / "data.sqlite")) as database, database:
        database.executescript(
            "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT, body TEXT);"
        )
        rows = ((number, f"item {number}", _text(chance, 880).decode()) for number in range(105_000))
        database.executemany("INSERT INTO item VALUES (?, ?, ?)", rows)
    os.utime(old / "data.sqlite", (FIRST, FIRST))
    _copy(old, new)
    with closing(sqlite3.connect(new / "data.sqlite")) as database, database:
        database.execute("PRAGMA journal_mode=OFF")
        updates = [(_text(chance, 880).decode(), number) for number in sorted(chance.sample(range(105_000), 1_050))]
        database.executemany("UPDATE item SET body = ? WHERE id = ?", updates)
    os.utime(new / "data.sqlite", (SECOND, SECOND))


def image(old: Path, new: Path) -> None:
    """An image of 720 MB; 60 inserts of 80 KB, and 40 MB that move to another offset."""
    chance = random.Random("image")
    old.mkdir(parents=True)
    with open(old / "disk.img", "wb") as file:
        for piece in _image(chance):
            file.write(piece)
    os.utime(old / "disk.img", (FIRST, FIRST))
    os.utime(old, (FIRST, FIRST))
    data = (old / "disk.img").read_bytes()
    order = [data[: 200 * MB], data[240 * MB : 600 * MB], data[200 * MB : 240 * MB], data[600 * MB :]]
    cuts = {part: sorted(chance.randrange(len(order[part])) for _ in range(15)) for part in range(4)}
    new.mkdir(parents=True)
    with open(new / "disk.img", "wb") as file:
        for part, piece in enumerate(order):
            done = 0
            for cut in cuts[part]:
                file.write(memoryview(piece)[done:cut])
                file.write(chance.randbytes(80_000))
                done = cut
            file.write(memoryview(piece)[done:])
    os.utime(new / "disk.img", (SECOND, SECOND))


def _image(chance: random.Random) -> Iterator[bytes]:
    """Yield 720 MB of an image: half packed, a third text, the rest zeros."""
    text = _text(chance, _PIECE)
    for number in range(720 * MB // _PIECE):
        kind = number % 6
        if kind < 3:
            yield chance.randbytes(_PIECE)
        elif kind < 5:
            at = chance.randrange(len(text))
            yield text[at:] + text[:at]
        else:
            yield bytes(_PIECE)


def _text(chance: random.Random, size: int) -> bytes:
    """Make lines of words, which zstd compresses to about a third."""
    words = _vocabulary()
    return _lines((" ".join(chance.choices(words, k=9)) for _ in count()), size)[:size]


def _log(chance: random.Random, size: int) -> bytes:
    words = _vocabulary()

    def lines() -> Iterator[str]:
        at = FIRST
        while True:
            at += chance.randrange(3)
            level = chance.choice(("INFO", "WARN", "DEBUG"))
            yield f"{at} {level} [{chance.randrange(4000)}] {' '.join(chance.choices(words, k=6))}"

    return _lines(lines(), size) + b"\n"


def _lines(lines: Iterator[str], size: int) -> bytes:
    """Join lines until they have the size."""
    taken, length = [], 0
    while length < size:
        taken.append(next(lines))
        length += len(taken[-1]) + 1
    return "\n".join(taken).encode()


@cache
def _vocabulary() -> list[str]:
    chance = random.Random("words")
    return ["".join(chance.choices("etaoinshrdlucmfwypvbgkjqxz_", k=chance.randrange(2, 11))) for _ in range(_WORDS)]


def _write(path: Path, data: bytes, *, at: int = FIRST) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.utime(path, (at, at))


def _copy(old: Path, new: Path) -> None:
    """Copy a tree; directories get the same time, files keep theirs."""
    for path in (old, *(path for path in old.rglob("*") if path.is_dir())):
        os.utime(path, (FIRST, FIRST))
    subprocess.run(["cp", "-a", str(old), str(new)], check=True)
