"""Check what needs the whole site: doubled and unknown names, shared directories, misspelt tags; then mirrors and templates."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from sluice.blueprint.author_error import AuthorError
from sluice.blueprint.check.mirrors import check_mirrors
from sluice.blueprint.check.reach import LOCAL, Variables, machine_of
from sluice.blueprint.check.templates import TemplateCheck
from sluice.blueprint.convert.converter import Converter
from sluice.blueprint.convert.subscriptions import misspelt_tags
from sluice.blueprint.read.document import Document, PathKey
from sluice.blueprint.render.evaluate import Work
from sluice.blueprint.render.recipe import PREDEFINED, subscriber_variables
from sluice.blueprint.schema.kinds import ChannelDocument, DefaultsDocument, DistributionDocument, DistributorDocument, SubscriberDocument
from sluice.blueprint.schema.selector import parse_selector
from sluice.blueprint.schema.suggest import nearest_or_all
from sluice.model.site import Site


def check_site(site: Site, converter: Converter) -> None:
    """Append every error that needs more than one object."""
    _check_doubles(converter)
    _check_references(site, converter)
    _check_directories(site, converter)
    _check_defaults(site, converter)
    _check_sources(site, converter)
    _check_notify(site, converter)
    _check_renamed(site, converter)
    work = defaultdict[str, Work](Work)
    variables = _variables(site, converter, work)
    for distribution in site.distributions.values():
        TemplateCheck(site, converter, distribution, variables, work).run()
    if all(each.left >= 0 for each in work.values()):
        check_mirrors(site, converter, variables, work)


def _check_doubles(converter: Converter) -> None:
    for model in (DistributorDocument, SubscriberDocument, ChannelDocument, DistributionDocument):
        first: dict[str, Document] = {}
        for parsed in converter.parts.of(model):
            if not parsed.name:
                continue
            earlier = first.setdefault(parsed.name, parsed.document)
            if earlier is parsed.document:
                continue
            owners = earlier.data.get("distributor"), parsed.document.data.get("distributor")
            if parsed.kind == "Distribution" and owners[0] != owners[1]:
                what = f"{parsed.name} has a second owner: {owners[0]} owns it at {earlier.position(('distributor',))}"
                remedy = "keep one document"
                converter.errors.append(parsed.document.error(("distributor",), what, remedy))
            else:
                what = f"a {parsed.kind} {parsed.name} is already at {earlier.position(('name',))}"
                converter.errors.append(parsed.document.error(("name",), what, "rename or remove one of them"))


def _check_references(site: Site, converter: Converter) -> None:
    if not converter.parts.are_complete:
        return  # what seems to be missing may be in a document that can't be read
    distributors = converter.parts.names(DistributorDocument)
    channels = converter.parts.names(ChannelDocument)
    for distribution in site.distributions.values():
        owner = distribution.distributor
        if owner not in distributors:
            remedy = nearest_or_all(owner, distributors, "Distributors")
            converter.refuse("Distribution", distribution.name, ("distributor",), f"no Distributor is named {owner!r}", remedy)
        for index, channel in enumerate(distribution.channels):
            path: PathKey = ("channels", index)
            if channel not in channels:
                remedy = nearest_or_all(channel, channels, "Channels")
                converter.refuse("Distribution", distribution.name, path, f"no Channel is named {channel!r}", remedy)
            elif channel in distribution.channels[:index]:
                converter.refuse("Distribution", distribution.name, path, f"{channel} is listed twice", "keep one of them")


def _check_directories(site: Site, converter: Converter) -> None:
    """Refuse working directories that Distributors or Subscribers share."""
    used: dict[tuple[str, str], tuple[str, str]] = {}
    owners = [("Distributor", d.name, LOCAL, str(d.working_directory)) for d in site.distributors.values()]
    owners += [("Subscriber", s.name, machine_of(s), str(s.working_directory)) for s in site.subscribers.values()]
    for kind, name, machine, directory in owners:
        first = used.setdefault((machine, directory), (kind, name))
        if first == (kind, name):
            continue
        leaf = converter.effective[kind, name].get("working_directory")
        if leaf is not None:
            on = "" if machine == LOCAL else f" on {machine}"
            other = f"{first[0]} {first[1]} at {converter.documents[first].position(('name',))}"
            path = ("name",) if leaf.supplied else ("working_directory",)
            what = f"{kind} {name} would share {directory}{on} with {other}"
            converter.refuse(kind, name, path, what, "give each its own directory")


def _check_sources(site: Site, converter: Converter) -> None:
    """Refuse sources and working directories that contain each other: each build would take in the last one."""
    for distribution in site.distributions.values():
        owner = site.distributors.get(distribution.distributor)
        for index, entry in enumerate(distribution.files):
            own = owner.working_directory if owner is not None else None
            if own is not None and (own.is_relative_to(entry.source) or entry.source.is_relative_to(own)):
                what = f"{entry.source} and the working directory of {distribution.distributor}, {own}, contain each other"
                converter.refuse("Distribution", distribution.name, ("files", index, "source"), what, "keep them apart")


def _check_notify(site: Site, converter: Converter) -> None:
    """Refuse mail about the last revisions if none is the last, or no server takes it (C7)."""
    for distribution in site.distributions.values():
        if distribution.notify is None:
            continue
        if distribution.max_revisions is None:
            what, remedy = "revisions are unlimited: none is the last", "write a number as max_revisions, or leave notify: out"
            converter.refuse("Distribution", distribution.name, ("notify",), what, remedy)
        owner = site.distributors.get(distribution.distributor)
        if owner is not None and owner.mail is None and not converter.effective["Distributor", owner.name].unsure("mail"):
            remedy = f'add mail: {{server: "host:port", from: address}} to Distributor {owner.name}, or leave notify: out'
            converter.refuse("Distribution", distribution.name, ("notify",), f"Distributor {owner.name} has no mail server", remedy)


def _check_renamed(site: Site, converter: Converter) -> None:
    """Refuse a former name that is still in use, or that two Distributions say they had: one alone can take its files over."""
    names, heirs = converter.parts.names(DistributionDocument), dict[str, str]()
    for distribution in site.distributions.values():
        former = distribution.renamed_from
        if not former:
            continue
        heir = heirs.setdefault(former, distribution.name)
        if former == distribution.name:
            what, remedy = "is its own name", "write the name that it had before, or leave the key out"
        elif former in names:
            what, remedy = f"Distribution {former} is still in the site", f"remove {former}, or leave the key out"
        elif heir != distribution.name:
            what, remedy = f"{heir} is renamed from {former} too", "keep the key in the one that takes its files over"
        else:
            continue
        converter.refuse("Distribution", distribution.name, ("renamed_from",), what, remedy)


def _variables(site: Site, converter: Converter, work: Mapping[str, Work]) -> Variables:
    """Resolve every Subscriber's variables; if they cannot be resolved, that is an error, and none is known."""
    found: dict[str, Mapping[str, str]] = {}
    for name, subscriber in site.subscribers.items():
        unsure = converter.effective["Subscriber", name].unsure
        try:
            resolved = subscriber_variables(subscriber, work[name])
            found[name] = {n: text for n, text in resolved.items() if n not in PREDEFINED or not unsure(PREDEFINED[n])}
        except AuthorError as e:
            found[name] = {}
            converter.unresolved.add(name)
            converter.refuse("Subscriber", name, ("variables",), e.what, e.remedy)
    return found


def _check_defaults(site: Site, converter: Converter) -> None:
    tags = {t for s in site.subscribers.values() for t in s.tags} | {t for d in site.distributors.values() for t in d.tags}
    known = not any(converter.effective["Subscriber", name].unsure("tags") for name in site.subscribers)
    for parsed, part in converter.parts.valid(DefaultsDocument):
        if part.where is not None and known:
            converter.errors += misspelt_tags(parsed.document, ("where",), parse_selector(part.where), tags)
