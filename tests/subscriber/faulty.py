"""A Filesystem, and calls of ``os``, that fail where a test says; kills are those of tests/soak."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from infra.filesystem.local import LocalFilesystem
from sluice.ports import Owner, ResolvedPath

MUTATING = (
    "write_file",
    "make_directory",
    "make_symlink",
    "make_hard_link",
    "set_metadata",
    "swap",
    "settle",
    "remove",
    "sync_directories",
    "sync_filesystem",
)


class FaultyFilesystem:
    """The local one, with ``before`` called as (method, path) ahead of every call that changes something."""

    def __init__(self, before: Callable[[str, str], None]) -> None:
        self._real = LocalFilesystem()
        self._before = before

    def locate(self, path: str, *, is_directory: bool) -> ResolvedPath:
        return self._real.locate(path, is_directory=is_directory)

    def places(self, paths: Sequence[str]) -> Sequence[str]:
        return self._real.places(paths)

    def owner(self, text: str) -> Owner:
        return self._real.owner(text)

    def open_root(self, directory: str) -> Any:
        return FaultyRoot(self._real.open_root(directory), self._before)


class FaultyRoot:
    def __init__(self, real: Any, before: Callable[[str, str], None]) -> None:
        self.real = real
        self._before = before

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.real, name)
        if name == "open_below":
            return lambda path: FaultyRoot(method(path), self._before)
        if name not in MUTATING:
            return method

        def call(*args: Any, **kwargs: Any) -> Any:
            path = args[2] if name in ("swap", "settle") else args[0] if args and isinstance(args[0], str) else ""
            self._before(name, path)
            return method(*(arg.real if isinstance(arg, FaultyRoot) else arg for arg in args), **kwargs)

        return call


CALLS = (
    *("open", "write", "mkdir", "rename", "link", "unlink", "rmdir", "symlink"),
    *("chmod", "chown", "setxattr", "utime", "fsync", "ftruncate"),
)


class Failing:
    """Makes the given mutating call of ``os`` fail, counted from the entering of this context; and, ``lasting``, all after it."""

    def __init__(self, number: int, error: int, *, lasting: bool = False) -> None:
        self._left = number
        self._error = error
        self._lasting = lasting
        self._real: list[tuple[Any, str, Any]] = []

    def __enter__(self) -> Failing:
        from infra.filesystem.local import calls

        for module, name in [*((os, name) for name in CALLS), (calls, "rename"), (calls, "sync_filesystem")]:
            real = getattr(module, name)
            self._real.append((module, name, real))
            setattr(module, name, self._wrapped(real, name))
        return self

    def __exit__(self, *_: object) -> None:
        for module, name, real in self._real:
            setattr(module, name, real)

    @property
    def failed(self) -> bool:
        return self._left < 0

    def _wrapped(self, real: Any, name: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            if not (name == "open" and not args[1] & (os.O_WRONLY | os.O_RDWR)):
                self._left -= 1
                if self._left == -1 or (self._left < 0 and self._lasting):
                    raise OSError(self._error, os.strerror(self._error))
            return real(*args, **kwargs)

        return call
