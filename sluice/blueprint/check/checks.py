"""What only the whole site shows: doubled and unknown names, shared directories, and templates for every Subscriber they reach."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePosixPath

from sluice.blueprint.check.mirrors import check_mirrors
from sluice.blueprint.convert.convert import Converter
from sluice.blueprint.convert.members import misspelt_tags
from sluice.blueprint.read.documents import Document, PathKey
from sluice.blueprint.render.recipe import rendered_destination, subscriber_variables
from sluice.blueprint.render.template import ValueTemplateError, check, render, undefined_variables, variables_of
from sluice.blueprint.schema.actions import problem_of
from sluice.blueprint.schema.actions import templates as action_templates
from sluice.blueprint.schema.kinds import ChannelDocument, DefaultsDocument, DistributionDocument, DistributorDocument, SubscriberDocument
from sluice.blueprint.schema.selector import parse_selector
from sluice.blueprint.schema.suggest import nearest_or_all
from sluice.model.platforms import platform_matches
from sluice.model.site import Address, Distribution, Site, Subscriber

SHOWN_MAX = 3
"""Subscribers an error names before it counts."""

_ANYBODY = Subscriber("", Address("local"), PurePosixPath("/nowhere/sluice"))
"""Stands in where a destination is the same for everybody and nobody subscribes yet."""


def check_site(site: Site, converter: Converter) -> None:
    """Append every error that needs more than one object."""
    _check_doubles(converter)
    _check_references(site, converter)
    _check_directories(site, converter)
    _check_defaults(site, converter)
    _check_sources(site, converter)
    _check_notify(site, converter)
    variables = _variables(site, converter)
    check_mirrors(site, converter, variables)
    for distribution in site.distributions.values():
        _Templates(site, converter, distribution, variables).check()


def _check_doubles(converter: Converter) -> None:
    for model in (DistributorDocument, SubscriberDocument, ChannelDocument, DistributionDocument):
        first: dict[str, Document] = {}
        for parsed in converter.parts.of(model):
            if not parsed.name:
                continue
            earlier = first.setdefault(parsed.name, parsed.document)
            if earlier is parsed.document:
                continue
            place = earlier.place(("name",))
            owners = earlier.data.get("distributor"), parsed.document.data.get("distributor")
            if parsed.kind == "Distribution" and owners[0] != owners[1]:
                what = f"{parsed.name} has a second owner: {owners[0]} owns it at {earlier.place(('distributor',))}"
                remedy = "keep one document; sluice reassign moves a Distribution to another Distributor"
                converter.errors.append(parsed.document.error(("distributor",), what, remedy))
            else:
                what = f"a {parsed.kind} {parsed.name} is already at {place}"
                converter.errors.append(parsed.document.error(("name",), what, "rename or remove one of them"))


def _check_references(site: Site, converter: Converter) -> None:
    if not converter.parts.whole:
        return
    distributors = converter.parts.names(DistributorDocument)
    channels = converter.parts.names(ChannelDocument)
    for distribution in site.distributions.values():
        document = converter.documents["Distribution", distribution.name]
        if distribution.distributor not in distributors:
            what = f"no Distributor is named {distribution.distributor!r}"
            converter.errors.append(
                document.error(("distributor",), what, nearest_or_all(distribution.distributor, distributors, "Distributors"))
            )
        for index, channel in enumerate(distribution.channels):
            path: PathKey = ("channels", index)
            if channel not in channels:
                what = f"no Channel is named {channel!r}"
                converter.errors.append(document.error(path, what, nearest_or_all(channel, channels, "Channels")))
            elif channel in distribution.channels[:index]:
                converter.errors.append(document.error(path, f"{channel} is listed twice", "keep one of them"))


def _check_directories(site: Site, converter: Converter) -> None:
    """One working directory, one Distributor or Subscriber."""
    used: dict[tuple[str, str], tuple[str, str]] = {}
    owners: list[tuple[str, str, str, str]] = [
        ("Distributor", d.name, "local", str(d.working_directory)) for d in site.distributors.values()
    ]
    for s in site.subscribers.values():
        address = s.address
        machine = "local" if address.scheme == "local" else f"{address.host}:{address.port}"
        owners.append(("Subscriber", s.name, machine, str(s.working_directory)))
    for kind, name, machine, directory in owners:
        first = used.setdefault((machine, directory), (kind, name))
        if first == (kind, name):
            continue
        leaf = converter.effective[kind, name].get("working_directory")
        place = converter.documents[first].place(("name",))
        where = "" if machine == "local" else f" on {machine}"
        if leaf is not None:
            what = f"{kind} {name} would share {directory}{where} with {first[0]} {first[1]} at {place}"
            error = converter.documents[kind, name].error(
                ("working_directory",) if not leaf.supplied else ("name",), what, "give each its own directory"
            )
            converter.errors.append(error)


def _check_sources(site: Site, converter: Converter) -> None:
    """What is distributed and where its revisions are kept lie apart: else each build would take in the last one."""
    for distribution in site.distributions.values():
        owner = site.distributors.get(distribution.distributor)
        for index, entry in enumerate(distribution.files):
            own = owner.working_directory if owner is not None else None
            if own is not None and (own.is_relative_to(entry.source) or entry.source.is_relative_to(own)):
                what = f"{entry.source} and the working directory of {distribution.distributor}, {own}, contain each other"
                document = converter.documents["Distribution", distribution.name]
                converter.errors.append(document.error(("files", index, "source"), what, "keep them apart"))


def _check_notify(site: Site, converter: Converter) -> None:
    """Mail of the last revisions: there are last ones, and a server for it (C7)."""
    for distribution in site.distributions.values():
        if distribution.notify is None:
            continue
        document = converter.documents["Distribution", distribution.name]
        if distribution.max_revisions is None:
            what = "revisions are unlimited: none is the last"
            converter.errors.append(document.error(("notify",), what, "write a number as max_revisions, or leave notify: out"))
        owner = site.distributors.get(distribution.distributor)
        if owner is not None and owner.mail is None:
            remedy = f'add mail: {{server: "host:port", from: address}} to Distributor {owner.name}, or leave notify: out'
            converter.errors.append(document.error(("notify",), f"{owner.name} has no mail", remedy))


def _variables(site: Site, converter: Converter) -> dict[str, Mapping[str, str]]:
    """Every Subscriber's variables, resolved; those that can't be are errors, and empty."""
    found: dict[str, Mapping[str, str]] = {}
    for name, subscriber in site.subscribers.items():
        try:
            found[name] = subscriber_variables(subscriber)
        except ValueTemplateError as e:
            found[name] = dict(subscriber.variables)
            converter.errors.append(converter.documents["Subscriber", name].error(("variables",), e.what, e.remedy))
    return found


def _check_defaults(site: Site, converter: Converter) -> None:
    tags = {t for s in site.subscribers.values() for t in s.tags} | {t for d in site.distributors.values() for t in d.tags}
    for parsed, part in converter.parts.good(DefaultsDocument):
        if part.where is not None:
            converter.errors += misspelt_tags(parsed.document, ("where",), parse_selector(part.where), tags)


class _Templates:
    """The templates of one Distribution, for every Subscriber that a Channel joins it with."""

    def __init__(self, site: Site, converter: Converter, distribution: Distribution, variables: Mapping[str, Mapping[str, str]]) -> None:
        self.distribution = distribution
        self.errors = converter.errors
        self.document = converter.documents["Distribution", distribution.name]
        channels = [site.channels[c] for c in distribution.channels if c in site.channels]
        names = sorted({s.subscriber for c in channels for s in c.subscriptions})
        joined = [site.subscribers[n] for n in names if n in site.subscribers]
        self.subscribers = [s for s in joined if platform_matches(s.platform, distribution.platforms)]
        self.variables = variables
        self._rendered: dict[tuple[str, tuple[str, ...]], str | ValueTemplateError] = {}

    def check(self) -> None:
        """Append every error of destinations and scripts."""
        if not self._templates_are_allowed():
            return
        lacking = self._undefined()
        sound = [s for s in self.subscribers if s.name not in lacking]
        self._check_same_templates()
        self._check_destinations(sound)
        self._check_actions(sound)

    def _templates(self) -> Iterator[tuple[PathKey, str]]:
        for index, entry in enumerate(self.distribution.files):
            yield ("files", index, "destination"), entry.destination
        for key, actions in (("pre_actions", self.distribution.pre_actions), ("post_actions", self.distribution.post_actions)):
            yield from action_templates(key, actions)

    def _templates_are_allowed(self) -> bool:
        before = len(self.errors)
        for path, template in self._templates():
            try:
                check(template)
                if path[0] == "files" and "{%" in template:
                    raise ValueTemplateError("contains {%", "only {{ }} is filled in")
            except ValueTemplateError as e:
                self.errors.append(self.document.error(path, e.what, e.remedy))
        return len(self.errors) == before

    def _undefined(self) -> set[str]:
        """Names of the Subscribers that lack a variable; each variable is one error."""
        lacking_any: set[str] = set()
        for path, template in self._templates():
            missing: dict[str, list[str]] = {}
            if "{{" in template:
                for subscriber in self.subscribers:
                    for variable in undefined_variables(template, self.variables[subscriber.name]):
                        missing.setdefault(variable, []).append(subscriber.name)
            for variable, names in missing.items():
                lacking_any.update(names)
                what = f"uses {variable}, which {_some(names)} {'lacks' if len(names) == 1 else 'lack'}"
                self.errors.append(
                    self.document.error(path, what, f"give {variable} under variables: of the Subscriber or of a Defaults document")
                )
        return lacking_any

    def _check_same_templates(self) -> None:
        first: dict[str, int] = {}
        for index, entry in enumerate(self.distribution.files):
            earlier = first.setdefault(entry.destination.rstrip("/"), index)
            if earlier != index:
                what = f"is the destination of files[{earlier}] too"
                self.errors.append(self.document.error(("files", index, "destination"), what, "give each entry its own destination"))

    def _check_destinations(self, subscribers: Iterable[Subscriber]) -> None:
        if "{{" not in "".join(f.destination for f in self.distribution.files):
            subscribers = list(subscribers) or [_ANYBODY]
        told: set[int] = set()
        for subscriber in subscribers:
            seen: dict[str, int] = {}
            for index, entry in enumerate(self.distribution.files):
                rendered = self._destination(index, entry.destination, subscriber)
                problem = rendered if isinstance(rendered, ValueTemplateError) else self._misplaced(rendered, subscriber, seen, index)
                if problem is not None and index not in told:
                    told.add(index)
                    self.errors.append(self.document.error(("files", index, "destination"), problem.what, problem.remedy))

    def _check_actions(self, subscribers: Iterable[Subscriber]) -> None:
        told: set[PathKey] = set()
        templates = [(path, template) for path, template in self._templates() if path[0] != "files" and "{{" in template]
        for subscriber in subscribers if templates else ():
            for path, template in templates:
                try:
                    made = render(template, self.variables[subscriber.name], what=f"for {subscriber.name} it")
                    if problem := problem_of(path, made):
                        raise ValueTemplateError(f"for {subscriber.name} it is {problem[0]}", problem[1])
                except ValueTemplateError as e:
                    if path not in told:
                        told.add(path)
                        self.errors.append(self.document.error(path, e.what, e.remedy))

    def _destination(self, index: int, template: str, subscriber: Subscriber) -> str | ValueTemplateError:
        variables = self.variables.get(subscriber.name, {})
        key = template, tuple(variables.get(n, "") for n in variables_of(template))
        if key not in self._rendered:
            what = f"for {subscriber.name} it" if subscriber is not _ANYBODY else "it"
            try:
                self._rendered[key] = rendered_destination(template, variables, what=what)
            except ValueTemplateError as e:
                self._rendered[key] = e
        return self._rendered[key]

    def _misplaced(self, path: str, subscriber: Subscriber, seen: dict[str, int], index: int) -> ValueTemplateError | None:
        earlier = seen.setdefault(path, index)
        entry = self.distribution.files[index].destination.rstrip("/")
        if earlier != index and self.distribution.files[earlier].destination.rstrip("/") != entry:
            what = f"for {subscriber.name} it is {path}, the destination of files[{earlier}] too"
            return ValueTemplateError(what, "give each entry its own destination")
        own = str(subscriber.working_directory)
        if path == own or path.startswith(own.rstrip("/") + "/"):
            what = f"for {subscriber.name} it is {path}, in the agent's own working directory"
            return ValueTemplateError(what, "write a destination outside it")
        return None


def _some(names: list[str]) -> str:
    if len(names) <= SHOWN_MAX:
        return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
    return f"{', '.join(names[:SHOWN_MAX])} and {len(names) - SHOWN_MAX} more"
