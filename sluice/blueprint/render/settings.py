"""Write effective settings and the origin of each (A15) as text, for ``sluice show``."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from sluice.blueprint.render.recipe import subscriber_variables
from sluice.blueprint.render.texts import (
    action_text,
    locked_text,
    mail_text,
    max_removals_text,
    notify_text,
    synchronize_text,
    xattrs_text,
)
from sluice.blueprint.schema.actions import PHASES
from sluice.blueprint.schema.suggest import nearest
from sluice.blueprint.schema.units import format_size
from sluice.errors import NotFoundError
from sluice.model.site import Channel, Distribution, Distributor, Site, Ssh, Subscriber
from sluice.model.ticket import UNLIMITED_IN_PROCESS
from sluice.rules.schedule_text import format_duration, schedule_text

BUILT_IN = "built-in"
"""The origin of a setting that no document gives."""
KINDS = ("Distributor", "Subscriber", "Channel", "Distribution")

Row = tuple[str, str, str]


def effective_settings(site: Site, kind: str, name: str) -> list[Row]:
    """List every setting of one object, also those that no document gives.

    Args:
        site: From ``load_site``.
        kind: ``Distributor``, ``Subscriber``, ``Channel`` or ``Distribution``, in any case.
        name: Name of the object.
    Returns:
        (setting path, value as text, origin): origin is ``file:line``, ``defaults file:line`` or ``built-in``.
    Raises:
        NotFoundError: No such kind or object.
    """
    found: Distributor | Subscriber | Channel | Distribution
    match kind.lower():
        case "distributor":
            settings = _distributor(found := site.distributor(name))
        case "subscriber":
            settings = _subscriber(found := site.subscriber(name), site)
        case "channel":
            settings = _channel(found := site.channel(name), site)
        case "distribution":
            settings = _distribution(found := site.distribution(name))
        case _:
            raise NotFoundError(f"no kind of object is called {kind!r}", remedy=nearest(kind, KINDS) or f"the kinds are {', '.join(KINDS)}")
    return [(path, text, found.origins[path].source if path in found.origins else BUILT_IN) for path, text in settings]


def _distributor(d: Distributor) -> Iterator[tuple[str, str]]:
    yield "name", d.name
    yield "description", d.description
    yield "working_directory", str(d.working_directory)
    yield "refresh", schedule_text(d.refresh)
    yield "max_concurrent", _limit(d.max_concurrent)
    yield "retry.every", format_duration(d.retry.every)
    yield "retry.for", format_duration(d.retry.for_)
    yield "connection_timeout", format_duration(d.connection_timeout)
    yield "min_free", format_size(d.min_free)
    yield "mail", mail_text(d.mail)
    yield from ((f"tags.{tag}", text) for tag, text in sorted(d.tags.items()))


def _subscriber(s: Subscriber, site: Site) -> Iterator[tuple[str, str]]:
    yield "name", s.name
    yield "description", s.description
    yield "active", _flag(s.active)
    yield "address", str(s.address)
    if s.address.scheme != "local":
        yield ("host_keys", s.host_keys) if s.host_keys else ("host_key", s.host_key)
        yield "identity", s.identity
        yield "ssh.config", s.ssh.config or "none"
        yield "ssh.jump", _jumps(s.ssh)
        yield "ssh.agent", "as ssh.config says" if s.ssh.agent is None and s.ssh.config else _flag(bool(s.ssh.agent))
        yield "ssh.certificate", s.ssh.certificate or "beside the identity, if there is one"
        yield "ssh.passphrase", f"secret:{s.ssh.passphrase}" if s.ssh.passphrase else "asked on a terminal, if there is one"
        yield "ssh.become", s.ssh.become or "the login's account"
        yield "ssh.become_password", f"secret:{s.ssh.become_password}" if s.ssh.become_password else "asked on a terminal, if there is one"
    yield "platform", s.platform or "unknown"
    yield "working_directory", str(s.working_directory)
    yield "connection_timeout", format_duration(s.connection_timeout) if s.connection_timeout is not None else _timeouts(site)
    yield "min_free", format_size(s.min_free)
    yield "extract", schedule_text(s.extract)
    resolved = subscriber_variables(s)
    yield from ((f"variables.{name}", resolved[name]) for name in sorted(resolved))
    yield from ((f"tags.{tag}", text) for tag, text in sorted(s.tags.items()))


def _channel(c: Channel, site: Site) -> Iterator[tuple[str, str]]:
    yield "name", c.name
    yield "description", c.description
    yield "active", _flag(c.active)
    yield "send", schedule_text(c.send)
    yield "subscribers", ", ".join(s.subscriber + ("" if s.active else " (inactive)") for s in c.subscriptions) or "none"
    yield "distributions", ", ".join(d.name for d in site.distributions_of_channel(c.name)) or "none"


def _distribution(d: Distribution) -> Iterator[tuple[str, str]]:
    yield "name", d.name
    yield "description", d.description
    yield "renamed_from", d.renamed_from or "no other name"
    yield "distributor", d.distributor
    yield "type", d.type.value
    yield "channels", ", ".join(d.channels) or "none: it is built and not sent"
    yield "active", _flag(d.active)
    yield "priority", d.priority.value
    yield "build", schedule_text(d.build)
    yield "send", "immediately" if d.send_immediately else "on schedule"
    yield "extract", "immediately" if d.extract_immediately else "on schedule"
    yield "max_revisions", str(d.max_revisions) if d.max_revisions is not None else "unlimited"
    yield "notify", notify_text(d.notify)
    yield "effort", d.effort.value
    yield "platforms", ", ".join(d.platforms) or "no restriction"
    yield "verify", _flag(d.verify)
    yield "encrypt", "false"
    yield "copy", d.copy.value
    yield "rollback", _flag(d.rollback)
    yield "locked", locked_text(d.locked)
    yield "phases", d.phases.value
    for index, entry in enumerate(d.files):
        yield f"files[{index}].source", str(entry.source)
        yield f"files[{index}].destination", entry.destination
        yield f"files[{index}].exclude", ", ".join(entry.exclude) or "nothing"
        yield f"files[{index}].mode", entry.mode
        yield f"files[{index}].synchronize", synchronize_text(entry.synchronize)
        yield f"files[{index}].max_removals", max_removals_text(entry.max_removals)
        yield f"files[{index}].directory_mode", entry.directory_mode.value
        yield f"files[{index}].owner", entry.owner or "the extracting account"
        yield f"files[{index}].xattrs", xattrs_text(entry.xattrs)
    for key, actions in zip(PHASES, (d.pre_actions, d.post_actions), strict=True):
        yield from ((f"{key}[{index}]", action_text(action)) for index, action in enumerate(actions))


def _flag(value: bool) -> str:
    return "true" if value else "false"


def _jumps(ssh: Ssh) -> str:
    if ssh.jump is None and ssh.config:
        return "as ssh.config says"
    return ", ".join(str(each).removeprefix("ssh://") for each in ssh.jump or ()) or "none"


def _limit(limit: int | None) -> str:
    return str(limit) if limit is not None else f"unlimited ({UNLIMITED_IN_PROCESS} at once in a process)"


def _timeouts(site: Site) -> str:
    found: set[timedelta] = {d.connection_timeout for d in site.distributors.values()}
    return f"the Distributor's ({', '.join(format_duration(t) for t in sorted(found))})"
