"""``synchronize: mirror`` (C9): a mirrored directory is one entry's alone, since whatever its source lacks goes.

Refused where the templates show it: a mirror of ``/``, and one whose directory contains, or lies in, another destination, an agent's or
a Distributor's working directory or a source on the same machine. All ``local:`` Subscribers are one machine, the Distributor's. What only
the host knows (mount points, links on the way) its agent refuses.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sluice.blueprint.convert.convert import Converter
from sluice.blueprint.render.recipe import rendered_destination
from sluice.blueprint.render.template import ValueTemplateError
from sluice.model.platforms import platform_matches
from sluice.model.site import Distribution, Site, Subscriber, Synchronize

LOCAL = "local"
NOT_THE_ROOT = "mirror a directory of its own: everything else of the host would go"


@dataclass(frozen=True, slots=True)
class _Place:
    """A directory or file that belongs to somebody."""

    path: str
    what: str
    subscriber: str = ""
    distribution: str = ""
    index: int = -1

    @property
    def entry(self) -> tuple[str, int, str]:
        """The same for one entry on several Subscribers of a machine, where the path is the same."""
        return self.distribution, self.index, self.path


def check_mirrors(site: Site, converter: Converter, variables: Mapping[str, Mapping[str, str]]) -> None:
    """Append an error for every mirrored entry that shares its directory.

    Args:
        variables: Each Subscriber's, resolved.
    """
    if not any(entry.synchronize is Synchronize.MIRROR for d in site.distributions.values() for entry in d.files):
        return
    machines: dict[str, list[_Place]] = {}
    for distributor in site.distributors.values():
        what = f"the working directory of {distributor.name}"
        machines.setdefault(LOCAL, []).append(_Place(str(distributor.working_directory), what))
    for subscriber in site.subscribers.values():
        what = f"the working directory of {subscriber.name}"
        machines.setdefault(_machine(subscriber), []).append(_Place(str(subscriber.working_directory), what))
    for distribution in site.distributions.values():
        sources = (_Place(str(entry.source), f"a source of {distribution.name}") for entry in distribution.files)
        machines.setdefault(LOCAL, []).extend(sources)
        for subscriber in _joined(site, distribution):
            machines.setdefault(_machine(subscriber), []).extend(_destinations(distribution, subscriber, variables))
    told: set[tuple[str, int]] = set()
    for distribution in site.distributions.values():
        for index, entry in enumerate(distribution.files):
            if entry.synchronize is Synchronize.MIRROR and not entry.destination.strip("/"):
                told.add((distribution.name, index))
                path = ("files", index, "synchronize")
                converter.errors.append(converter.documents["Distribution", distribution.name].error(path, "mirrors /", NOT_THE_ROOT))
    for places in machines.values():
        for mirror, what, remedy in _problems(site, places):
            if (mirror.distribution, mirror.index) not in told:
                told.add((mirror.distribution, mirror.index))
                document = converter.documents["Distribution", mirror.distribution]
                converter.errors.append(document.error(("files", mirror.index, "synchronize"), what, remedy))


def _problems(site: Site, places: list[_Place]) -> Iterator[tuple[_Place, str, str]]:
    places = sorted(places, key=lambda place: place.path)
    paths = [place.path for place in places]
    for mirror in places:
        if mirror.index < 0 or site.distributions[mirror.distribution].files[mirror.index].synchronize is not Synchronize.MIRROR:
            continue
        if mirror.path == "/":
            yield mirror, f"for {mirror.subscriber} it mirrors /", NOT_THE_ROOT
            continue
        for other in _overlapping(places, paths, mirror.path):
            if other.entry != mirror.entry:
                what = f"for {mirror.subscriber} it mirrors {mirror.path}, and {other.path} is {other.what}"
                yield mirror, what, "write true, or mirror a directory of its own"
                break


def _overlapping(places: list[_Place], paths: list[str], path: str) -> Iterator[_Place]:
    """Those at the path, above it and below it."""
    above = path
    while above != "/":
        yield from _at(places, paths, above)
        above = above.rpartition("/")[0] or "/"
    yield from _at(places, paths, "/")
    index = bisect_left(paths, path + "/")
    while index < len(paths) and paths[index].startswith(path + "/"):
        yield places[index]
        index += 1


def _at(places: list[_Place], paths: list[str], path: str) -> Iterator[_Place]:
    index = bisect_left(paths, path)
    while index < len(paths) and paths[index] == path:
        yield places[index]
        index += 1


def _joined(site: Site, distribution: Distribution) -> list[Subscriber]:
    channels = [site.channels[name] for name in distribution.channels if name in site.channels]
    names = sorted({s.subscriber for channel in channels for s in channel.subscriptions})
    found = [site.subscribers[name] for name in names if name in site.subscribers]
    return [s for s in found if platform_matches(s.platform, distribution.platforms)]


def _destinations(distribution: Distribution, subscriber: Subscriber, variables: Mapping[str, Mapping[str, str]]) -> Iterator[_Place]:
    for index, entry in enumerate(distribution.files):
        try:
            path = rendered_destination(entry.destination, variables.get(subscriber.name, {}), what="")
        except ValueTemplateError:
            continue
        what = f"the destination of files[{index}] of {distribution.name}"
        yield _Place(path, what, subscriber.name, distribution.name, index)


def _machine(subscriber: Subscriber) -> str:
    address = subscriber.address
    return LOCAL if address.scheme == LOCAL else f"{address.host}:{address.port}"
