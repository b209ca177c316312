"""Open paths below a source without following any link, not even one that is swapped in between walk and read.

An account that may write in a source may not always read all that the Distributor's account can: without this, a directory replaced by a
link to /etc would be distributed. The kernel's own check is used if it has one.
"""

from __future__ import annotations

import os

from infra.filesystem.local.calls import kernel_opens_beneath, open_beneath
from infra.filesystem.local.directories import open_part_by_part

_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


class Opener:
    """Opens below directories. Raises OSError, ELOOP for a link on the way."""

    def __init__(self, *, use_openat2: bool | None = None) -> None:
        """``use_openat2``: False opens part by part, as on kernels before 5.6; None asks the kernel."""
        self._use_openat2 = kernel_opens_beneath() if use_openat2 is None else use_openat2

    def open(self, root: int, path: str, flags: int) -> int:
        """Open ``path`` below the open directory ``root``; ``.`` is the directory itself."""
        if self._use_openat2:
            return open_beneath(root, path, flags | os.O_NOFOLLOW)
        parent, _, name = path.rstrip("/").rpartition("/")
        if not parent:
            return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=root)
        directory = open_part_by_part(root, parent)
        try:
            return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
        finally:
            os.close(directory)

    def read_link(self, root: int, path: str) -> str:
        """Return the text of the link ``path`` below ``root``."""
        parent, _, name = path.rpartition("/")
        if not parent:
            return os.readlink(name, dir_fd=root)
        directory = self.open(root, parent, _DIRECTORY)
        try:
            return os.readlink(name, dir_fd=directory)
        finally:
            os.close(directory)
