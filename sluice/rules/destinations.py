"""Decide what a manifest says of a destination, beside its entries. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from sluice.model.manifest import Destination, Entry
from sluice.model.removals import USUAL
from sluice.model.site import DirectoryMode, FileSource, Synchronize


def destination_of(source: FileSource, entries: Iterable[Entry] = (), *, is_directory: bool = True) -> Destination:
    """Return the destination of a ``files:`` entry.

    A file goes into a destination that ends with ``/``, under its own name. It has only what concerns a Subscriber: no limit if nothing
    is removed, and excludes only of a mirror, as nothing else removes what was never distributed.
    """
    synchronizes = source.synchronize is not Synchronize.NO
    goes_into = not is_directory and source.destination.endswith("/")
    return Destination(
        source.destination + source.source.name if goes_into else source.destination,
        is_directory,
        tuple(entries),
        source.synchronize.value,
        source.exclude if source.synchronize is Synchronize.MIRROR else (),
        source.max_removals if synchronizes else USUAL,
        source.directory_mode.value,
    )


def limits_removals(destination: Destination) -> bool:
    """Whether a destination says more of removals than that it synchronizes."""
    return bool(destination.exclude) or destination.max_removals != USUAL


def sets_directories(destination: Destination) -> bool:
    """Whether directories that stood before get the source's mode."""
    return destination.directory_mode != DirectoryMode.KEEP


def path_of(rendered: str, destination: Destination) -> str:
    """Return the path of an order for a rendered destination: that of a file in it if ``/`` is at its end."""
    if not rendered.endswith("/") or destination.is_directory:
        return rendered.rstrip("/") or "/"
    _, slash, name = destination.template.rpartition("/")
    return f"{rendered}{name}" if slash else rendered.rstrip("/")
