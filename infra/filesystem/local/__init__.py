"""Destinations on this machine: the Filesystem port by descriptors, for an agent that runs as root among hostile users.

Rules: below a root no link is followed, not even one that appears between two calls: directories are opened by openat2 with
RESOLVE_BENEATH and RESOLVE_NO_SYMLINKS, or part by part with O_NOFOLLOW if the kernel lacks it, and the last part of a
path is only ever given to calls that take a link as itself. Directories are kept open, so that one that is moved away stays the
same one. OSErrors become ours in ``seam.py`` alone. Modes, owners and attributes are set by descriptor: the umask doesn't count.
"""

from infra.filesystem.local.filesystem import LocalFilesystem

__all__ = ["LocalFilesystem"]
