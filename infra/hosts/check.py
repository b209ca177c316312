"""Check a Subscriber: find what is missing there, changing nothing. For ``sluice subscriber check`` and ``sluice doctor``."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from infra.hosts.agent_bundle import choose
from infra.hosts.bootstrap import FOREIGN_DIRECTORY, hook_command, noexec_error, remedy_for
from infra.hosts.login import Host, LoginTransport, logged_in, probe
from sluice.distributor.deliver.contact import Contact, Told
from sluice.errors import SluiceError
from sluice.model.feature import Feature
from sluice.model.site import Site, Subscriber
from sluice.ports import Transport
from sluice.rules.belief import TWINS_REMEDY
from sluice.rules.diagnosis import Health, clocks_apart
from sluice.rules.features import needed_features, remedy_for_missing
from sluice.rules.space import size
from sluice.sender.call import call_agent
from sluice.trust.publish import Publisher


@dataclass(frozen=True, slots=True)
class CheckItem:
    """One line of ``sluice subscriber check``."""

    item: str
    ok: bool
    """If it has a remedy all the same: nothing fails as it is, but it could be better."""
    detail: str
    remedy: str = ""


def _item(item: str, ok: bool, detail: str, remedy: str) -> CheckItem:
    """Make a line that shows its remedy only if there is something to do."""
    return CheckItem(item, ok, detail, "" if ok else remedy)


def needs_of(site: Site, subscriber: str) -> dict[str, frozenset[str]]:
    """Return the features that a Subscriber's agent must have for its Distributions, by Distributor (F10)."""
    found: dict[str, frozenset[str]] = {}
    min_free = site.subscriber(subscriber).min_free
    for each in site.distributions.values():
        if each.active and subscriber in site.subscribers_of_distribution(each.name):
            found[each.distributor] = found.get(each.distributor, frozenset()) | needed_features(each, min_free=min_free)
    return found


def check(
    subscriber: Subscriber,
    publishers: Mapping[str, Publisher],
    *,
    transport: LoginTransport,
    bundles: Path,
    timeout: float,
    needs: Mapping[str, frozenset[str]],
    contacts: Callable[[str, Subscriber], Contact | None] = lambda _distributor, _subscriber: None,
) -> list[CheckItem]:
    """Return what is there and what is missing, changing nothing. Never raises for what it finds.

    Args:
        needs: The features an agent must have, by Distributor: see ``needs_of``.
        contacts: Makes a Distributor's contact, which records in its ledger what was seen; none without a ledger.
    """
    try:
        with logged_in(subscriber, transport, timeout) as login:
            host = probe(login, subscriber)
            ahead = host.time - time.time()
    except SluiceError as error:
        return [CheckItem("login", ok=False, detail=error.message, remedy=error.remedy)]
    remedy = remedy_for(subscriber, host, publishers)
    items = [CheckItem("login", ok=True, detail=str(subscriber.address)), _clock_item(subscriber, ahead)]
    try:
        bundle = choose(bundles, list(host.pythons), host=f"Subscriber {subscriber.name}")
        items.append(CheckItem("python", ok=True, detail=str(bundle.platform)))
        current = host.digest == bundle.digest
        detail = f"{host.digest[:12] or 'none'} installed" + ("" if current else f", {bundle.digest[:12]} is current")
        items.append(_item("agent", current, detail, remedy))
    except SluiceError as error:
        items.append(CheckItem("python", ok=False, detail=error.message, remedy=error.remedy))
    if host.noexec:
        noexec = noexec_error(subscriber, host)
        items.append(CheckItem("mount", ok=False, detail=noexec.message, remedy=noexec.remedy))
    items.append(_directory_item(subscriber, host, remedy))
    items.append(_item("identity", host.name == subscriber.name, host.name or "none", remedy))
    for distributor, publisher in sorted(publishers.items()):
        items += _trust_items(subscriber, host, distributor, publisher, remedy)
        wanted = needs.get(distributor, frozenset())
        items += _conversation_items(subscriber, distributor, transport, timeout, wanted, remedy, contacts)
    items.append(recovery_item(subscriber, host, remedy))
    return items


def recovery_item(subscriber: Subscriber, host: Host, remedy: str) -> CheckItem:
    """Say whether an interrupted extraction is ended when the host starts."""
    if host.hook:
        return CheckItem("recovery", ok=True, detail="@reboot in crontab")
    if host.crontab and subscriber.address.scheme != "local":
        return CheckItem("recovery", ok=False, detail="no hook", remedy=remedy)
    # Bootstrap can't change that, and nothing is lost without it: it is reported, not counted as missing.
    hint = f"have `{hook_command(subscriber)}` run when the host starts"
    detail = "not in your crontab" if host.crontab else "no crontab"
    return CheckItem("recovery", ok=True, detail=f"{detail}: the next contact recovers", remedy=hint)


def _directory_item(subscriber: Subscriber, host: Host, remedy: str) -> CheckItem:
    found, path = host.directory, str(subscriber.working_directory)
    if found is None:
        return _item("working directory", False, f"{path} is missing", remedy)
    if not found.get("is_directory") or not found.get("ours"):
        return _item("working directory", False, f"{path} isn't a directory of the account", FOREIGN_DIRECTORY)
    mode = int(found["mode"])
    if mode & 0o022:  # bootstrap refuses it, because other accounts may have put files there
        remedy = f"on {subscriber.name}: look for files that other accounts put there, then chmod 700 {path}"
    return _item("working directory", mode == 0o700, f"{path}, mode {mode:o}", remedy)


def _trust_items(subscriber: Subscriber, host: Host, distributor: str, publisher: Publisher, remedy: str) -> list[CheckItem]:
    known = publisher.subscriber_key(subscriber.name)
    same = known is not None and known == host.receipt_pub
    detail = "known" if same else "not known here" if known is None else "another one is known here"
    rooted = host.roots.get(distributor) == hashlib.sha256(publisher.root()).hexdigest()
    installed = "installed" if rooted else "missing" if distributor not in host.roots else "another one is installed"
    push = f"run: sluice trust push {distributor}" if host.digest else remedy  # an agent installs a pushed root
    return [
        _item(f"receipt key at {distributor}", same, detail, remedy),
        _item(f"trust in {distributor}", rooted, installed, push),
    ]


def _clock_item(subscriber: Subscriber, ahead: float) -> CheckItem:
    if not math.isfinite(ahead) or abs(ahead) > timedelta.max.total_seconds() / 2:
        return CheckItem("clock", ok=False, detail="its answer can't be a time", remedy="set its clock")
    found = clocks_apart("subscriber", subscriber.name, timedelta(seconds=ahead))
    return CheckItem("clock", ok=found.health is not Health.FAILED, detail=found.sentence, remedy=found.remedy)


def _conversation_items(
    subscriber: Subscriber,
    distributor: str,
    transport: Transport,
    timeout: float,
    needs: frozenset[str],
    remedy: str,
    contacts: Callable[[str, Subscriber], Contact | None],
) -> list[CheckItem]:
    try:
        contact = contacts(distributor, subscriber)
        with contact.calling() if contact else nullcontext():
            call = call_agent(subscriber, distributor, transport=transport, timeout=timeout)
        told = contact.heard(call.hello, looks=True) if contact else None
    except SluiceError as error:
        return [CheckItem(f"conversation for {distributor}", ok=False, detail=error.message, remedy=error.remedy or remedy)]
    call.close()
    hello = call.hello
    missing = needs - hello.features
    features = f"lacks {', '.join(sorted(missing))}, which its Distributions need" if missing else "all that its Distributions need"
    remedy = remedy if Feature.OWNER not in missing else remedy_for_missing(missing, subscriber.name)
    free = f"{size(hello.free)} free" + (f", {size(subscriber.min_free)} must stay free" if subscriber.min_free else "")
    space = f"free some on {subscriber.name}, or lower its min_free"
    return [
        CheckItem(f"conversation for {distributor}", ok=True, detail=f"agent {hello.agent}, Python {hello.python}"),
        _item(f"features for {distributor}", not missing, features, remedy),
        _item("free space", hello.free >= subscriber.min_free, free, space),
        *(() if told is None else belief_items(subscriber.name, distributor, told)),
    ]


def belief_items(subscriber: str, distributor: str, told: Told) -> list[CheckItem]:
    """Say whether the agent is the one, and has what, the Distributor's ledger believes."""
    doubts = "; ".join(f"{name}: {text}" for name, text in sorted(told.doubts.items()))
    again = ", ".join(f"sluice distribute {name} --to {subscriber}" for name in sorted(told.doubts))
    remedy = f"it is due at the Channel's next start; to have it now, run: {again}"
    items = [_item(f"state for {distributor}", not doubts, doubts or "as the ledger has it", remedy)]
    if told.twins:
        items.append(CheckItem(f"machine for {distributor}", ok=False, detail=told.twins, remedy=TWINS_REMEDY))
    return items
