"""Killing a process at its n-th step on disk, as kill -9 does: nothing is cleaned up, nothing is flushed."""

from __future__ import annotations

import os
import traceback
import warnings
from collections.abc import Callable
from typing import Any, NoReturn

from infra.store.contents import WholeWrites

KILLED = 9
FAILED = 70


def killed_at(step: int, act: Callable[[], object]) -> bool:
    """Run ``act`` in a child process that dies just before its step number ``step``; a write is done by half first.

    Returns:
        Whether it was killed; False: it came to its end before.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 warns where other threads live; the child only does ``act``
        child = os.fork()
    if child == 0:
        _run(step, act)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, KILLED), "the child failed; its traceback is above"
    return code == KILLED


def _run(step: int, act: Callable[[], object]) -> NoReturn:
    left = step

    def counted(real: Callable[..., Any], half: Callable[..., Any] | None = None) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                if half is not None:
                    half(*args)
                os._exit(KILLED)
            return real(*args, **options)

        return call

    opening, writing, whole = os.open, os.write, WholeWrites.write

    def opened(path: Any, flags: int, *args: Any, **options: Any) -> int:
        open_it = counted(opening) if flags & (os.O_WRONLY | os.O_RDWR) else opening
        return open_it(path, flags, *args, **options)

    os.open = opened
    os.write = counted(writing, lambda fd, data: writing(fd, data[: len(data) // 2]))
    WholeWrites.write = counted(whole, lambda file, data: whole(file, data[: len(data) // 2]))  # type: ignore[method-assign]
    for name in ("fsync", "rename", "unlink", "rmdir", "mkdir"):
        setattr(os, name, counted(getattr(os, name)))
    try:
        act()
    except BaseException:  # noqa: BLE001 - the child must end here whatever happens
        traceback.print_exc()
        os._exit(FAILED)
    os._exit(0)
