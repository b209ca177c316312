"""Convert checked parts into the model, one object at a time; ``check/`` checks what needs two objects."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import PurePosixPath
from typing import Any, TypeVar

from sluice.blueprint.author_error import AuthorError
from sluice.blueprint.convert.addresses import absolute_path, parse_address, site_path
from sluice.blueprint.convert.defaults import DefaultsDocuments
from sluice.blueprint.convert.effective import Effective, own_leaves
from sluice.blueprint.convert.login import LOGIN_KEYS, login_of
from sluice.blueprint.convert.names import check_tags, check_variables
from sluice.blueprint.convert.subscriptions import Selectable, subscriptions
from sluice.blueprint.read.document import Document, PathKey, path_text
from sluice.blueprint.read.site_id import read_site_id
from sluice.blueprint.render.recipe import PREDEFINED
from sluice.blueprint.schema.actions import PHASES, ActionPart
from sluice.blueprint.schema.excludes import misplaced
from sluice.blueprint.schema.kinds import ChannelDocument, DistributionDocument, DistributorDocument, FilePart, SubscriberDocument
from sluice.blueprint.schema.parse import Parsed, Parts
from sluice.blueprint.schema.part import Part
from sluice.blueprint.schema.suggest import nearest
from sluice.model.action import Action
from sluice.model.locked import FAILS_AT_ONCE, Locked
from sluice.model.platforms import FAMILY_OF, is_case_sensitive, lineage
from sluice.model.removals import USUAL
from sluice.model.schedule import Kind, Schedule
from sluice.model.site import (
    Address,
    Channel,
    Copy,
    DirectoryMode,
    Distribution,
    DistributionType,
    Distributor,
    Effort,
    FileSource,
    Origin,
    Priority,
    RetryRule,
    ShownPhases,
    Site,
    Subscriber,
    Synchronize,
)
from sluice.rules.due import SHORTEST_REFRESH, shortest_gap
from sluice.rules.excludes import CHARACTERS_MAX

T = TypeVar("T")
_NOWHERE = PurePosixPath("/nowhere (unknown)")
"""Stands for a working directory that was refused; no two are the same."""


class Converter:
    """Makes the Site from a site's parts, and remembers the position of each object."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.errors = parts.errors
        self.documents: dict[tuple[str, str], Document] = {}
        """(kind, name) to the document of each object that was made."""
        self.effective: dict[tuple[str, str], Effective] = {}
        """(kind, name) to the settings of each Distributor and Subscriber that was made."""
        self.unresolved: set[str] = set()
        """Subscribers whose variables can't be resolved."""
        self._defaults = DefaultsDocuments(parts)

    def site(self) -> Site:
        """Make the Site, with stand-ins for what was refused; errors are in ``parts.errors``."""
        distributors = {p.name: self._distributor(p, d) for p, d in self.parts.valid(DistributorDocument)}
        subscribers = {p.name: self._subscriber(p, d) for p, d in self.parts.valid(SubscriberDocument)}
        unsure = {n for n in subscribers if self._are_facts_unsure(n)}
        selectable = Selectable.of(subscribers, self.parts, unsure)
        channels = {p.name: self._channel(p, d, selectable) for p, d in self.parts.valid(ChannelDocument)}
        distributions = {p.name: self._distribution(p, d) for p, d in self.parts.valid(DistributionDocument)}
        site_id = read_site_id(self.parts.directory, self.errors)
        return Site(os.path.abspath(self.parts.directory), distributors, subscribers, channels, distributions, site_id)

    def refuse(self, kind: str, name: str, path: PathKey, what: str, remedy: str) -> None:
        """Append an error at a path of an object's document."""
        self.errors.append(self.documents[kind, name].error(path, what, remedy))

    def may_define(self, subscriber: str, variable: str) -> bool:
        """Whether a variable that a Subscriber seems to lack may be in what was refused."""
        if not self.errors:
            return False
        effective = self.effective["Subscriber", subscriber]
        if variable in PREDEFINED:
            return effective.unsure(PREDEFINED[variable])
        return (
            subscriber in self.unresolved
            or effective.get("variables", variable) is not None
            or effective.unsure("variables", variable)
            or (self._defaults.are_selected and self._are_facts_unsure(subscriber))
        )

    def is_login_known(self, subscriber: str) -> bool:
        """Whether nothing was refused that says how a Subscriber is reached."""
        document, effective = self.documents["Subscriber", subscriber], self.effective["Subscriber", subscriber]
        return not any(document.touches_broken((key,)) or effective.unsure(key) for key in ("address", *LOGIN_KEYS))

    def _are_facts_unsure(self, subscriber: str) -> bool:
        effective = self.effective["Subscriber", subscriber]
        return effective.unsure("tags") or effective.unsure("platform")

    def _own(self, parsed: Parsed[Any], part: Part) -> Effective:
        """Return the settings of an object that takes no defaults."""
        self.documents[parsed.kind, parsed.name] = parsed.document
        return Effective(dict(own_leaves(parsed.document, part)), self.errors)

    def _completed(self, parsed: Parsed[Any], part: Part) -> Effective:
        """Return the settings of an object that takes defaults."""
        self.documents[parsed.kind, parsed.name] = parsed.document
        effective = self.effective[parsed.kind, parsed.name] = self._defaults.apply(parsed, part)
        check_tags(effective)
        return effective

    def _site_path(self, text: str) -> PurePosixPath:
        return site_path(text, self.parts.directory)

    def _distributor(self, parsed: Parsed[DistributorDocument], part: DistributorDocument) -> Distributor:
        effective = self._completed(parsed, part)
        directory = effective.required("working_directory", self._site_path, parsed.document, "/var/lib/sluice/hq")
        given = effective.arguments("description", "max_concurrent", "connection_timeout", "min_free", "refresh")
        refresh: Schedule | None = given.get("refresh")
        if refresh is not None and refresh.kind is Kind.IMMEDIATELY:
            effective.refuse("refresh", "a refresh needs a schedule", "write one such as {every: 1 day}, or never and use sluice refresh")
        elif refresh is not None and (gap := shortest_gap(refresh)) is not None and gap < SHORTEST_REFRESH:
            effective.refuse("refresh", "refreshes more often than every 3 minutes", "write every: 3 min or more")
        retry = {"for_" if key == "for" else key: leaf.value for key, leaf in effective.below("retry").items()}
        mail = effective.get("mail")
        return Distributor(
            part.name,
            directory or _NOWHERE / "distributor" / part.name,
            retry=RetryRule(**retry),
            mail=mail.value.to_model() if mail is not None else None,
            tags=effective.texts("tags"),
            origins=effective.origins() | {"name": Origin(parsed.document.position(("name",)))},
            **given,
        )

    def _subscriber(self, parsed: Parsed[SubscriberDocument], part: SubscriberDocument) -> Subscriber:
        effective = self._completed(parsed, part)
        has_config = effective.get("ssh", "config") is not None
        address = effective.parsed("address", lambda text: parse_address(text, self.parts.directory, has_config=has_config))
        written = effective.get("address")
        scheme = str(written.value).partition(":")[0] if written is not None else ""
        host_path = absolute_path if scheme == "ssh" else self._site_path
        directory = effective.required("working_directory", host_path, parsed.document, "/var/lib/sluice")
        platform = effective.parsed("platform", _platform) or ""
        login = login_of(effective, scheme, parsed.document, self.parts.directory)
        sound = check_variables(effective)
        return Subscriber(
            part.name,
            address or Address("ssh", host=f"{part.name} (unknown)"),
            directory or _NOWHERE / "subscriber" / part.name,
            platform=platform,
            variables={name: text for name, text in effective.texts("variables").items() if name in sound},
            tags=effective.texts("tags"),
            origins=effective.origins() | {"name": Origin(parsed.document.position(("name",)))},
            **login,
            **effective.arguments("description", "active", "connection_timeout", "min_free", "extract"),
        )

    def _channel(self, parsed: Parsed[ChannelDocument], part: ChannelDocument, selectable: Selectable) -> Channel:
        effective = self._own(parsed, part)
        if part.send is not None and part.send.kind is Kind.IMMEDIATELY:
            effective.refuse("send", "immediately is not supported yet for a Channel", "write send: immediately in its Distributions")
        return Channel(
            part.name,
            subscriptions=subscriptions(parsed.document, part, selectable, self.parts),
            origins=effective.origins(),
            **effective.arguments("description", "active", "send"),
        )

    def _distribution(self, parsed: Parsed[DistributionDocument], part: DistributionDocument) -> Distribution:
        document, effective = parsed.document, self._own(parsed, part)
        if part.build is not None and part.build.kind is Kind.IMMEDIATELY:
            effective.refuse("build", "a build needs a schedule", "write one such as {every: 1 h}, or never and use sluice build")
        platforms = tuple(self._parsed(document, ("platforms", i), _platform, p, p) for i, p in enumerate(part.platforms or ()))
        rollback = part.rollback is not False
        if (characters := sum(len(each) for file in part.files for each in file.exclude or ())) > CHARACTERS_MAX:
            what = f"has {characters} characters of excludes, more than {CHARACTERS_MAX}"
            self.errors.append(document.error(("files",), what, "exclude directories instead of each file in them"))
        return Distribution(
            part.name,
            part.distributor,
            DistributionType(part.type),
            channels=tuple(part.channels or ()),
            priority=Priority(part.priority or "medium"),
            send_immediately=part.send == "immediately",
            extract_immediately=part.extract == "immediately",
            notify=part.notify.to_model() if part.notify else None,
            effort=Effort(part.effort or "default"),
            platforms=platforms,
            locked=Locked(part.locked.retries, part.locked.wait) if part.locked else FAILS_AT_ONCE,
            phases=ShownPhases(part.phases or "auto"),
            copy=Copy(part.copy_ or "differing"),
            case_sensitive_only=bool(platforms) and all(is_case_sensitive(p) for p in platforms),
            files=tuple(self._file(document, i, f) for i, f in enumerate(part.files)),
            pre_actions=self._actions(document, "pre_actions", part.pre_actions or (), rollback),
            post_actions=self._actions(document, "post_actions", part.post_actions or (), rollback),
            origins=effective.origins() | _entry_origins(document),
            **effective.arguments("description", "renamed_from", "active", "max_revisions", "verify", "rollback", "build"),
        )

    def _parsed(self, document: Document, path: PathKey, parse: Callable[[str], T], text: str, instead: T) -> T:
        try:
            return parse(text)
        except AuthorError as e:
            self.errors.append(document.error(path, e.what, e.remedy))
            document.broken.add(path)
            return instead

    def _file(self, document: Document, index: int, part: FilePart) -> FileSource:
        source = self._parsed(document, ("files", index, "source"), self._site_path, part.source, PurePosixPath("/"))
        for number, what, remedy in misplaced(part.exclude or (), source=str(source), written=part.source):
            self.errors.append(document.error(("files", index, "exclude", number), what, remedy))
        synchronize = part.synchronize or Synchronize.NO
        return FileSource(
            source,
            part.destination,
            tuple(part.exclude or ()),
            part.mode or "keep",
            synchronize,
            part.owner or "",
            part.xattrs or "",
            part.max_removals or USUAL,
            DirectoryMode(part.directory_mode or DirectoryMode.KEEP),
        )

    def _actions(self, document: Document, key: str, parts: Iterable[ActionPart], rollback: bool) -> tuple[Action, ...]:
        found = []
        for index, part in enumerate(parts):
            if rollback and part.lacks_undo():
                remedy = "add undo: with a script that undoes it, or undo: none"
                self.errors.append(document.error((key, index, part.key), "has no undo:, and rollback is on", remedy))
            found.append(part.given.to_model())
        return tuple(found)


def _entry_origins(document: Document) -> dict[str, Origin]:
    """Map everything in the lists of a Distribution to its position."""
    lists = ("files", *PHASES)
    return {path_text(path): Origin(document.position(path)) for path in document.marks if len(path) > 1 and path[0] in lists}


def _platform(text: str) -> str:
    if lineage(text):
        return text
    product = text.partition("-")[0]
    known = f"write one of {', '.join(FAMILY_OF)}, with -version if need be"
    raise AuthorError(f"{text!r} is not a known platform", nearest(product, FAMILY_OF) or known)
