"""A process of its own that reads destinations all the time and says what it saw half-done.

``watching(allowed)`` runs it for as long as the context lasts. ``allowed`` gives, for each path, the contents that may stand there
(SHA-256), and whether nothing may. Whoever opens a file must find the old or the new one, whole.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypedDict

MISSING = "missing"
"""Among a path's allowed contents: it may not be there."""


class Seen(TypedDict):
    """What the watcher saw."""

    rounds: int
    wrong: list[str]


def allowed_contents(destination: Path, *trees: Mapping[str, bytes]) -> dict[str, list[str]]:
    """What may stand where while a destination goes from one of these trees to another."""
    found: dict[str, list[str]] = {}
    for path in sorted({path for tree in trees for path in tree}):
        found[str(destination / path)] = sorted({hashlib.sha256(tree[path]).hexdigest() if path in tree else MISSING for tree in trees})
    return found


@contextmanager
def watching(allowed: Mapping[str, list[str]]) -> Iterator[Seen]:
    """Watch while the context lasts, and fail on leaving if anything wrong was seen; the result is filled in then."""
    seen = Seen(rounds=0, wrong=[])
    process = subprocess.Popen([sys.executable, "-S", __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    try:
        process.stdin.write(json.dumps(allowed) + "\n")
        process.stdin.flush()
        yield seen
        output, _ = process.communicate("\n", timeout=180)
        seen.update(json.loads(output))
        assert not seen["wrong"], f"seen half-done: {seen['wrong']}"
        assert seen["rounds"], "the watcher never came round"
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        if process.stdout:
            process.stdout.close()


def watch() -> None:
    """Read everything, again and again, until a second line comes."""
    allowed: dict[str, list[str]] = json.loads(sys.stdin.readline())
    stop = threading.Event()

    def until_told() -> None:
        sys.stdin.readline()
        stop.set()

    threading.Thread(target=until_told, daemon=True).start()
    rounds = 0
    wrong: list[str] = []
    while not stop.is_set() and len(wrong) < 20:
        for path, contents in allowed.items():
            try:
                with open(path, "rb") as file:
                    found = hashlib.sha256(file.read()).hexdigest()
            except (FileNotFoundError, NotADirectoryError):
                found = MISSING
            if found not in contents:
                wrong.append(f"{path}: {found}")
            if stop.is_set():
                break
        else:
            rounds += 1
    print(json.dumps({"rounds": rounds, "wrong": wrong}))


if __name__ == "__main__":
    watch()
