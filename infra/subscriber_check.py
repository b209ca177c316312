"""What a Subscriber lacks: ``sluice subscriber check``. Looks and asks; changes nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from infra.agent_bundle import choose
from infra.bootstrap import Host, LoginTransport, hook_command, logged_in, probe
from sluice.errors import SluiceError
from sluice.model.site import Subscriber
from sluice.operations.call import call_agent
from sluice.ports import Transport
from sluice.trust.publish import Publisher


@dataclass(frozen=True, slots=True)
class CheckItem:
    """One line of ``sluice subscriber check``."""

    item: str
    ok: bool
    detail: str
    remedy: str = ""


def check(
    subscriber: Subscriber, publishers: Mapping[str, Publisher], *, transport: LoginTransport, bundles: Path, timeout: float
) -> list[CheckItem]:
    """What is missing, without changing anything. Never raises for what it finds."""
    remedy = f"run: sluice subscriber bootstrap {subscriber.name}"
    try:
        with logged_in(subscriber, transport, timeout) as login:
            host = probe(login, subscriber)
    except SluiceError as error:
        return [CheckItem("login", ok=False, detail=error.message, remedy=error.remedy)]
    items = [CheckItem("login", ok=True, detail=str(subscriber.address))]
    try:
        bundle = choose(bundles, list(host.pythons), host=f"Subscriber {subscriber.name}")
        items.append(CheckItem("python", ok=True, detail=str(bundle.platform)))
        current = host.digest == bundle.digest
        detail = f"{host.digest[:12] or 'none'} installed" + ("" if current else f", {bundle.digest[:12]} is current")
        items.append(CheckItem("agent", ok=current, detail=detail, remedy="" if current else remedy))
    except SluiceError as error:
        items.append(CheckItem("python", ok=False, detail=error.message, remedy=error.remedy))
    items.append(_directory_item(subscriber, host, remedy))
    named = host.name == subscriber.name
    items.append(CheckItem("identity", ok=named, detail=host.name or "none", remedy="" if named else remedy))
    for distributor, publisher in sorted(publishers.items()):
        items += _trust_items(subscriber, host, distributor, publisher, remedy)
        items.append(_conversation_item(subscriber, distributor, transport, timeout, remedy))
    why = "" if host.hook else (remedy if host.crontab else f"have `{hook_command(subscriber)}` run when the host starts")
    items.append(CheckItem("recovery", ok=host.hook, detail="@reboot in crontab" if host.hook else "no hook", remedy=why))
    return items


def _directory_item(subscriber: Subscriber, host: Host, remedy: str) -> CheckItem:
    found, path = host.directory, str(subscriber.working_directory)
    if found is None:
        return CheckItem("working directory", ok=False, detail=f"{path} is missing", remedy=remedy)
    if not found.get("is_directory") or not found.get("ours"):
        return CheckItem("working directory", ok=False, detail=f"{path} isn't a directory of the account", remedy="remove or chown it")
    private = found.get("mode") == 0o700
    return CheckItem("working directory", ok=private, detail=f"{path}, mode {found.get('mode'):o}", remedy="" if private else remedy)


def _trust_items(subscriber: Subscriber, host: Host, distributor: str, publisher: Publisher, remedy: str) -> list[CheckItem]:
    known = publisher.subscriber_key(subscriber.name)
    same = known is not None and known == host.receipt_pub
    detail = "known" if same else "not known here" if known is None else "another one is known here"
    rooted = host.roots.get(distributor) == hashlib.sha256(publisher.root()).hexdigest()
    installed = "installed" if rooted else "missing" if distributor not in host.roots else "another one is installed"
    return [
        CheckItem(f"receipt key at {distributor}", ok=same, detail=detail, remedy="" if same else remedy),
        CheckItem(f"trust in {distributor}", ok=rooted, detail=installed, remedy="" if rooted else f"run: sluice trust push {distributor}"),
    ]


def _conversation_item(subscriber: Subscriber, distributor: str, transport: Transport, timeout: float, remedy: str) -> CheckItem:
    try:
        call = call_agent(subscriber, distributor, transport=transport, timeout=timeout)
    except SluiceError as error:
        return CheckItem(f"conversation for {distributor}", ok=False, detail=error.message, remedy=error.remedy or remedy)
    call.close()
    hello = call.hello
    return CheckItem(
        f"conversation for {distributor}", ok=True, detail=f"agent {hello.agent}, Python {hello.python}, {hello.free} bytes free"
    )
