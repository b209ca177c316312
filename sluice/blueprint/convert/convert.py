"""From checked parts to the model: one object at a time. What needs two objects is in ``checks.py``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from sluice.blueprint.convert.addresses import AddressError, absolute_path, host_key, parse_address, site_path
from sluice.blueprint.convert.members import subscriptions
from sluice.blueprint.convert.merge import DefaultsDocuments, Effective, Leaf, own_leaves
from sluice.blueprint.convert.words import check_tags, check_variables
from sluice.blueprint.read.documents import Document, PathKey, path_text
from sluice.blueprint.schema import kinds
from sluice.blueprint.schema.actions import PHASES, ActionPart
from sluice.blueprint.schema.kinds import ChannelDocument, DistributionDocument, DistributorDocument, SubscriberDocument
from sluice.blueprint.schema.mails import MailPart
from sluice.blueprint.schema.parse import Parsed, Parts
from sluice.blueprint.schema.schedules import Part, SchedulePart
from sluice.blueprint.schema.suggest import nearest
from sluice.model.action import Action
from sluice.model.locked import FAILS_AT_ONCE, Locked
from sluice.model.platforms import FAMILY_OF, is_case_sensitive, lineage
from sluice.model.schedule import Kind
from sluice.model.site import (
    Channel,
    Copy,
    Distribution,
    DistributionType,
    Distributor,
    Effort,
    FileSource,
    Origin,
    Priority,
    RetryRule,
    Site,
    Subscriber,
    Synchronize,
)
from sluice.rules.due import SHORTEST_REFRESH, shortest_gap

T = TypeVar("T")


class Converter:
    """Makes the Site of a site's parts, and remembers where each object stands."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.errors = parts.errors
        self.documents: dict[tuple[str, str], Document] = {}
        """(kind, name) to the document of each object that was made."""
        self.effective: dict[tuple[str, str], Effective] = {}
        """(kind, name) to the settings of each Distributor and Subscriber that was made."""
        self._defaults = DefaultsDocuments(parts)

    def site(self) -> Site:
        """The Site of everything that could be made; errors are in ``parts.errors``."""
        made = (self._distributor(p, d) for p, d in self.parts.good(DistributorDocument))
        distributors = {d.name: d for d in made if d is not None}
        received = (self._subscriber(p, d) for p, d in self.parts.good(SubscriberDocument))
        subscribers = {s.name: s for s in received if s is not None}
        known = self.parts.names(SubscriberDocument)
        channels = {p.name: self._channel(p, d, subscribers, known) for p, d in self.parts.good(ChannelDocument)}
        distributions = {p.name: self._distribution(p, d) for p, d in self.parts.good(DistributionDocument)}
        return Site(os.path.abspath(self.parts.directory), distributors, subscribers, channels, distributions)

    def _enter(self, parsed: Parsed[Any], effective: Effective | None = None) -> None:
        self.documents[parsed.kind, parsed.name] = parsed.document
        if effective is not None:
            self.effective[parsed.kind, parsed.name] = effective

    def _distributor(self, parsed: Parsed[DistributorDocument], part: DistributorDocument) -> Distributor | None:
        effective = self._defaults.apply(_as_part(parsed), part)
        self._enter(parsed, effective)
        before = len(self.errors)
        given = _Given(effective, self.errors, self.parts.directory)
        directory = given.required("working_directory", lambda t: site_path(t, self.parts.directory), parsed.document, "/var/lib/sluice/hq")
        tags = {k: str(leaf.value) for k, leaf in effective.below("tags").items()}
        check_tags(effective, self.errors)
        self._check_refresh(effective)
        retry = RetryRule()
        every, span = effective.get("retry", "every"), effective.get("retry", "for")
        # A leaf holds any value; the schema has made these two durations.
        retry = RetryRule(every.value if every else retry.every, span.value if span else retry.for_)  # type: ignore[arg-type]
        mail = effective.get("mail")
        if directory is None or len(self.errors) > before:
            return None
        return Distributor(
            part.name,
            directory,
            retry=retry,
            mail=mail.value.mail() if mail is not None and isinstance(mail.value, MailPart) else None,
            tags=tags,
            origins=effective.origins() | {"name": Origin(parsed.document.place(("name",)))},
            **given.plain("description", "max_concurrent", "connection_timeout", "min_free"),
            **given.schedules("refresh"),
        )

    def _check_refresh(self, effective: Effective) -> None:
        leaf = effective.get("refresh")
        if leaf is None or not isinstance(leaf.value, SchedulePart):
            return
        schedule = leaf.value.schedule()
        if schedule.kind is Kind.IMMEDIATELY:
            self.errors.append(leaf.error("a refresh has a schedule", "write one such as {every: 1 day}, or never and use sluice refresh"))
        elif (gap := shortest_gap(schedule)) is not None and gap < SHORTEST_REFRESH:
            self.errors.append(leaf.error("refreshes more often than every 3 minutes", "write every: 3 min or more"))

    def _subscriber(self, parsed: Parsed[SubscriberDocument], part: SubscriberDocument) -> Subscriber | None:
        effective = self._defaults.apply(_as_part(parsed), part)
        self._enter(parsed, effective)
        before = len(self.errors)
        given = _Given(effective, self.errors, self.parts.directory)
        address = given.parsed("address", lambda t: parse_address(t, self.parts.directory))
        scheme = address.scheme if address is not None else "ssh"
        place: Callable[[str], PurePosixPath] = absolute_path
        if scheme == "local":
            place = lambda t: site_path(t, self.parts.directory)  # noqa: E731
        directory = given.required("working_directory", place, parsed.document, "/var/lib/sluice")
        platform = given.parsed("platform", _platform) or ""
        login = self._login(effective, given, scheme, parsed.document)
        check_tags(effective, self.errors)
        check_variables(effective, self.errors)
        if address is None or directory is None or len(self.errors) > before:
            return None
        return Subscriber(
            part.name,
            address,
            directory,
            platform=platform,
            variables={k: str(leaf.value) for k, leaf in effective.below("variables").items()},
            tags={k: str(leaf.value) for k, leaf in effective.below("tags").items()},
            origins=effective.origins() | {"name": Origin(parsed.document.place(("name",)))},
            **login,
            **given.plain("description", "active", "connection_timeout", "min_free"),
            **given.schedules("extract"),
        )

    def _login(self, effective: Effective, given: _Given, scheme: str, document: Document) -> dict[str, Any]:
        """Host key and identity: needed by ssh, and meaningless to local unless a Defaults document supplies them to all."""
        if scheme == "local":
            for key in ("host_key", "host_keys", "identity"):
                leaf = effective.get(key)
                if leaf is not None and not leaf.supplied:
                    self.errors.append(leaf.error("means nothing for a local: address", "leave the key out"))
            return {}
        pinned, listed = effective.get("host_key"), effective.get("host_keys")
        if pinned is not None and listed is not None:
            if pinned.supplied is listed.supplied:
                self.errors.append(listed.error("stands beside host_key:", "keep one of them"))
            elif listed.supplied:
                listed = None
            else:
                pinned = None
        if pinned is None and listed is None:
            remedy = "add host_key: as ssh-keyscan prints it, or host_keys: and a known_hosts file"
            self.errors.append(document.error(("address",), "no host key is pinned", remedy))
        found: dict[str, Any] = {}
        if pinned is not None:
            found["host_key"] = given.parsed("host_key", host_key) or ""
        if listed is not None:
            found["host_keys"] = str(given.parsed("host_keys", lambda t: site_path(t, self.parts.directory)) or "")
        identity = given.required("identity", lambda t: site_path(t, self.parts.directory), document, "keys/hq_ed25519")
        found["identity"] = str(identity or "")
        return found

    def _channel(
        self, parsed: Parsed[ChannelDocument], part: ChannelDocument, subscribers: dict[str, Subscriber], known: set[str]
    ) -> Channel:
        effective = Effective(dict(own_leaves(parsed.document, part)))
        self._enter(parsed)
        given = _Given(effective, self.errors, self.parts.directory)
        send = effective.get("send")
        if send is not None and isinstance(send.value, SchedulePart) and send.value.schedule().kind is Kind.IMMEDIATELY:
            self.errors.append(
                send.error("immediately isn't in this version yet for a Channel", "write send: immediately in its Distributions")
            )
        members = subscriptions(parsed.document, part, subscribers, known, self.errors, whole=self.parts.whole)
        return Channel(
            part.name,
            subscriptions=members,
            origins=effective.origins(),
            **given.plain("description", "active"),
            **given.schedules("send"),
        )

    def _distribution(self, parsed: Parsed[DistributionDocument], part: DistributionDocument) -> Distribution:
        document = parsed.document
        effective = Effective(dict(own_leaves(document, part)))
        self._enter(parsed)
        given = _Given(effective, self.errors, self.parts.directory)
        build = effective.get("build")
        if build is not None and isinstance(build.value, SchedulePart) and build.value.schedule().kind is Kind.IMMEDIATELY:
            self.errors.append(build.error("a build has a schedule", "write one such as {every: 1 h}, or never and use sluice build"))
        platforms = tuple(self._platform(document, i, p) for i, p in enumerate(part.platforms or ()))
        rollback = part.rollback is not False
        return Distribution(
            part.name,
            part.distributor,
            DistributionType(part.type),
            channels=tuple(part.channels or ()),
            priority=Priority(part.priority or "medium"),
            send_immediately=part.send == "immediately",
            extract_immediately=part.extract == "immediately",
            notify=part.notify.notify() if part.notify else None,
            effort=Effort(part.effort or "default"),
            platforms=platforms,
            locked=Locked(part.locked.retries, part.locked.wait) if part.locked else FAILS_AT_ONCE,
            copy=Copy(part.copy_ or "differing"),
            case_sensitive_only=bool(platforms) and all(is_case_sensitive(p) for p in platforms),
            files=tuple(self._file(document, i, f) for i, f in enumerate(part.files)),
            pre_actions=self._actions(document, "pre_actions", part.pre_actions or (), rollback),
            post_actions=self._actions(document, "post_actions", part.post_actions or (), rollback),
            origins=effective.origins() | _entry_origins(document),
            **given.plain("description", "active", "max_revisions", "verify", "rollback"),
            **given.schedules("build"),
        )

    def _platform(self, document: Document, index: int, text: str) -> str:
        try:
            return _platform(text)
        except AddressError as e:
            self.errors.append(document.error(("platforms", index), e.what, e.remedy))
            return text

    def _file(self, document: Document, index: int, part: kinds.FilePart) -> FileSource:
        path: PathKey = ("files", index, "source")
        try:
            source = site_path(part.source, self.parts.directory)
        except AddressError as e:
            self.errors.append(document.error(path, e.what, e.remedy))
            source = PurePosixPath("/")
        synchronize = part.synchronize or Synchronize.NO
        return FileSource(
            source, part.destination, tuple(part.exclude or ()), part.mode or "keep", synchronize, part.owner or "", part.xattrs or ""
        )

    def _actions(self, document: Document, key: str, parts: Iterable[ActionPart], rollback: bool) -> tuple[Action, ...]:
        found = []
        for index, part in enumerate(parts):
            if rollback and part.lacks_undo():
                remedy = "add undo: with a script that takes it back, or undo: none"
                self.errors.append(document.error((key, index, part.key), "has no undo:, and rollback is on", remedy))
            found.append(part.given.action())
        return tuple(found)


class _Given:
    """The given settings of one object as arguments of its model; what isn't given keeps the model's default."""

    def __init__(self, effective: Effective, errors: list[Any], directory: Path) -> None:
        self.effective = effective
        self.errors = errors
        self.directory = directory

    def plain(self, *keys: str) -> dict[str, Any]:
        """Settings whose value is the model's."""
        return {k: leaf.value for k in keys if (leaf := self.effective.get(k)) is not None}

    def schedules(self, *keys: str) -> dict[str, Any]:
        """Settings that are schedules."""
        found = ((k, self.effective.get(k)) for k in keys)
        return {k: leaf.value.schedule() for k, leaf in found if leaf is not None and isinstance(leaf.value, SchedulePart)}

    def parsed(self, key: str, parse: Callable[[str], T]) -> T | None:
        """A setting that is read further; None where it isn't given or is wrong."""
        leaf = self.effective.get(key)
        return None if leaf is None else self._parse(leaf, parse)

    def required(self, key: str, parse: Callable[[str], T], document: Document, example: str) -> T | None:
        """As ``parsed``; an error where neither the document nor a Defaults document gives it."""
        leaf = self.effective.get(key)
        if leaf is None:
            self.errors.append(document.error((key,), "missing", f"add {key}:, such as {key}: {example}, here or in a Defaults document"))
            return None
        return self._parse(leaf, parse)

    def _parse(self, leaf: Leaf, parse: Callable[[str], T]) -> T | None:
        try:
            return parse(str(leaf.value))
        except AddressError as e:
            self.errors.append(leaf.error(e.what, e.remedy))
            return None


def _entry_origins(document: Document) -> dict[str, Origin]:
    """Where everything in the lists of a Distribution stands."""
    lists = ("files", *PHASES)
    return {path_text(path): Origin(document.place(path)) for path in document.marks if len(path) > 1 and path[0] in lists}


def _as_part(parsed: Parsed[Any]) -> Parsed[Part]:
    return parsed


def _platform(text: str) -> str:
    if lineage(text):
        return text
    product = text.partition("-")[0]
    known = f"write one of {', '.join(FAMILY_OF)}, with -version if need be"
    raise AddressError(f"{text!r} is no known platform", nearest(product, FAMILY_OF) or known)
