"""Make the process of the ``sluice`` command independent of its surroundings, before anything else is imported.

What is distributed depends on the site and its sources alone. So: names of files are UTF-8 in every locale, no ``PYTHON*`` variable puts
other modules before ours, an umask takes no right from us and gives none to others, descriptors 0 to 2 are open, and enough files may be.
Imports nothing but what Python has imported by itself.
"""

import os
import sys

OPEN_FILES = 1024
"""Files that may be open at once, if the account may have that many; many systems' default."""


def settle() -> None:
    """Change this process, once, if it is the command; its children inherit that."""
    if os.path.basename(sys.argv[0]) != "sluice":
        return
    is_closed = None in (sys.stdin, sys.stdout, sys.stderr)  # to Python, which looked for them as it started
    _open_standard_descriptors()
    ignored = [name for name in os.environ if name.startswith("PYTHON") and name != "PYTHONUTF8"]
    is_isolated = sys.flags.isolated and sys.flags.utf8_mode
    for name in ignored:
        del os.environ[name]
    os.environ["PYTHONUTF8"] = "1"
    if is_closed or (not is_isolated and (ignored or sys.getfilesystemencoding() != "utf-8")):
        os.execv(sys.executable, [sys.executable, "-I", "-X", "utf8", *sys.orig_argv[1:]])  # noqa: S606 - ourselves
    os.umask(os.umask(0o022) & 0o077 | 0o022)
    _raise_limit_of_files()


def _open_standard_descriptors() -> None:
    """Open the null device on those that are closed: the next file would get their number, and what is printed."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


def _raise_limit_of_files() -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < enough:
        resource.setrlimit(resource.RLIMIT_NOFILE, (enough, hard))
