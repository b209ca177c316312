"""Check ``synchronize: mirror`` (C9): a mirrored directory is one entry's alone, since everything its source does not have is removed.

Refused if the templates show it: a mirror of ``/``, and one whose directory contains, or lies in, another destination, an agent's or
a Distributor's working directory or a source on the same machine. All ``local:`` Subscribers are one machine, the Distributor's. Mount
points and links on the way are refused by the agent: only the host knows them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby, zip_longest

from sluice.blueprint.author_error import AuthorError
from sluice.blueprint.check.reach import LOCAL, Variables, machine_of, reached_subscribers
from sluice.blueprint.check.templates import JoinedTemplates
from sluice.blueprint.convert.converter import Converter
from sluice.blueprint.render.evaluate import MIRROR_WORK, TooMuchWorkError, Work
from sluice.blueprint.render.recipe import rendered_destination
from sluice.blueprint.render.template import is_defined, variables_of
from sluice.model.site import Distribution, Site, Synchronize

NOT_THE_ROOT = "mirror a directory below it: everything else on the host would be removed"


@dataclass(frozen=True, slots=True)
class _OwnedPath:
    """A directory or file, and what it is for."""

    path: str
    use: str
    """Empty: a destination."""
    subscriber: str = ""
    distribution: str = ""
    index: int = -1

    @property
    def entry(self) -> tuple[str, int, str]:
        """The identity of an entry: the same on several Subscribers of a machine if the path is the same."""
        return self.distribution, self.index, self.path

    @property
    def what(self) -> str:
        """What it is for, in words."""
        return self.use or f"the destination of files[{self.index}] of {self.distribution}"


def check_mirrors(site: Site, converter: Converter, variables: Variables, work: Mapping[str, Work]) -> None:
    """Append an error for every mirrored entry that shares its directory."""
    if not any(entry.synchronize is Synchronize.MIRROR for d in site.distributions.values() for entry in d.files):
        return
    machines: dict[str, list[_OwnedPath]] = {}
    for distributor in site.distributors.values():
        what = f"the working directory of {distributor.name}"
        machines.setdefault(LOCAL, []).append(_OwnedPath(str(distributor.working_directory), what))
    for subscriber in site.subscribers.values():
        what = f"the working directory of {subscriber.name}"
        machines.setdefault(machine_of(subscriber), []).append(_OwnedPath(str(subscriber.working_directory), what))
    for distribution in site.distributions.values():
        is_broken = converter.documents["Distribution", distribution.name].is_broken
        sources = [str(entry.source) for index, entry in enumerate(distribution.files) if not is_broken(("files", index, "source"))]
        machines.setdefault(LOCAL, []).extend(_OwnedPath(source, f"a source of {distribution.name}") for source in sources)
        used, joined = sorted(_used(distribution)), _joined(distribution)
        rendered: dict[tuple[str | None, ...], list[tuple[int, str]]] = {}
        done: set[tuple[str | None, ...]] = set()
        for subscriber in reached_subscribers(site, distribution):
            values = variables.get(subscriber.name, {})
            alike, machine = tuple(values.get(name) for name in used), machine_of(subscriber)
            if (machine, *alike) in done:
                continue
            done.add((machine, *alike))
            if alike not in rendered:
                try:
                    every = _destinations(distribution, values, joined)
                    rendered[alike] = [each for each in every if not is_broken(("files", each[0], "destination"))]
                    work[subscriber.name].take(MIRROR_WORK * len(rendered[alike]) if used else 0)
                except TooMuchWorkError as e:
                    converter.refuse("Distribution", distribution.name, ("files",), f"for {subscriber.name} it {e.what.strip()}", e.remedy)
                    return
            machines.setdefault(machine, []).extend(
                _OwnedPath(path, "", subscriber.name, distribution.name, index) for index, path in rendered[alike]
            )
    reported: set[tuple[str, int]] = set()
    for distribution in site.distributions.values():
        for index, entry in enumerate(distribution.files):
            if entry.synchronize is Synchronize.MIRROR and not entry.destination.strip("/"):
                reported.add((distribution.name, index))
                converter.refuse("Distribution", distribution.name, ("files", index, "synchronize"), "mirrors /", NOT_THE_ROOT)
    for owned in machines.values():
        for mirror, what, remedy in _problems(site, owned):
            if (mirror.distribution, mirror.index) not in reported:
                reported.add((mirror.distribution, mirror.index))
                converter.refuse("Distribution", mirror.distribution, ("files", mirror.index, "synchronize"), what, remedy)


def _problems(site: Site, owned: list[_OwnedPath]) -> Iterator[tuple[_OwnedPath, str, str]]:
    """Yield every mirror that shares its directory: with another of the same path, the nearest around it, or the first within it."""
    # Sorted as directories, everything within a path follows it at once; what is alone, as most are, has no problem.
    shared, alone, top = list[_OwnedPath](), list[_OwnedPath](), "none"
    for each in sorted(owned, key=lambda each: _prefix(each.path)):
        prefix = _prefix(each.path)
        if prefix.startswith(top):
            shared += [*alone, each]
            alone = []
        else:
            alone, top = [each], prefix
    shared += alone if top == "/" else []
    once = reversed({(each.entry, each.use): each for each in reversed(shared)}.values())
    groups = [list(there) for _, there in groupby(once, key=lambda each: each.path)]
    around: list[_OwnedPath] = []
    for there, following in zip_longest(groups, groups[1:]):
        path, first = there[0].path, there[0]
        while around and not path.startswith(_prefix(around[-1].path)):
            around.pop()
        for mirror in there:
            if mirror.index < 0 or site.distributions[mirror.distribution].files[mirror.index].synchronize is not Synchronize.MIRROR:
                continue
            if path == "/":
                yield mirror, f"for {mirror.subscriber} it mirrors /", NOT_THE_ROOT
                continue
            within = following[:1] if following is not None and following[0].path.startswith(_prefix(path)) else []
            others = [each for each in there if each.entry != mirror.entry] if len(there) > 1 else []
            if other := next(iter([*others, *around[-1:], *within]), None):
                what = f"for {mirror.subscriber} it mirrors {mirror.path}, and {other.path} is {other.what}"
                yield mirror, what, "write true, or mirror a directory that nothing else uses"
        around.append(first)


def _prefix(path: str) -> str:
    return f"{path.rstrip('/')}/"


def _used(distribution: Distribution) -> set[str]:
    found: set[str] = set()
    for entry in distribution.files:
        with suppress(AuthorError):  # told by the check of templates
            found |= variables_of(entry.destination)
    return found


def _joined(distribution: Distribution) -> JoinedTemplates | None:
    try:
        return JoinedTemplates.of_destinations([entry.destination for entry in distribution.files])
    except AuthorError:  # told by the check of templates
        return None


def _destinations(distribution: Distribution, variables: Mapping[str, str], joined: JoinedTemplates | None) -> Iterator[tuple[int, str]]:
    if joined is not None and variables.keys() >= {*joined.names} and (at_once := joined.destinations(variables, Work())) is not None:
        yield from enumerate(at_once)
        return
    for index, entry in enumerate(distribution.files):
        try:
            if is_defined(entry.destination, variables):
                yield index, rendered_destination(entry.destination, variables, what="")
        except TooMuchWorkError:
            raise
        except AuthorError:
            continue  # told by the check of templates
