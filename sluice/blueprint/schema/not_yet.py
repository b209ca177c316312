"""Refuse what is planned and not supported yet: it is never accepted and ignored, and never called unknown.

Each entry leaves this list in the change that supports it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sluice.blueprint.read.document import Document, PathKey
from sluice.blueprint.schema.actions import PHASES

KINDS = {
    "SubscriberGroup": "list Subscribers by name or where: in each Channel",
    "Site": "leave the document out: there is no approval of group distributions yet",
    "Person": "leave the document out: there are no roles yet",
    "GroupDistribution": "use a Channel",
    "SoftwarePackage": "use a Distribution of type file",
}
TYPES = ("ftp", "http", "rpm", "deb", "msi", "software_package", "policy_package", "desktop_application")

_DISTRIBUTOR = {
    "routes": "parent Subscribers",
    "output_rate": "output rates",
}
_SUBSCRIBER = {
    "parents": "parent Subscribers",
    "external": "External Subscribers",
    "forward_only": "parent Subscribers",
    "max_concurrent": "parent Subscribers",
    "output_rate": "parent Subscribers",
    "input_rate": "input rates",
    "encryption_key": "encryption",
    "trusts": "trust limited to some Distributors",
    "allow_policies": "Policy Packages",
    "working_context": "Desktop Applications",
}
_DISTRIBUTION = {
    "cache_and_forward": "parent Subscribers",
    "wait_for": "ordering across Distributions",
    "rebuild": "rebuilding without a change",
}
_ACTION = {
    "start_service": "starting services",
    "stop_service": "stopping services",
    "load_java_class": "loading Java classes",
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """A planned feature at a path."""

    path: PathKey
    message: str
    remedy: str


def refusals(kind: str, document: Document) -> Iterator[Refusal]:
    """Yield everything in one document that is not supported yet."""
    match kind:
        case "Distributor":
            yield from _keys(document.data, _DISTRIBUTOR, ())
        case "Subscriber":
            yield from _subscriber(document.data, ())
        case "Distribution":
            yield from _distribution(document.data)
        case "Defaults":
            distributor, subscriber = document.data.get("distributor"), document.data.get("subscriber")
            if isinstance(distributor, dict):
                yield from _keys(distributor, _DISTRIBUTOR, ("distributor",))
            if isinstance(subscriber, dict):
                yield from _subscriber(subscriber, ("subscriber",))


def _keys(found: Mapping[str, object], table: Mapping[str, str], path: PathKey) -> Iterator[Refusal]:
    for key in found.keys() & table.keys():
        yield Refusal((*path, key), f"not supported yet ({table[key]})", "leave the key out")


def _subscriber(found: Mapping[str, object], path: PathKey) -> Iterator[Refusal]:
    yield from _keys(found, _SUBSCRIBER, path)
    if str(found.get("address", "")).startswith("smb:"):
        yield Refusal((*path, "address"), "smb:// is not supported yet", "reach the host by ssh://user@host")
    if str(found.get("identity", "")).startswith("secret:"):
        yield Refusal((*path, "identity"), "secret: is not supported yet", "write the path of a private key")


def _distribution(found: Mapping[str, object]) -> Iterator[Refusal]:
    if found.get("type") in TYPES:
        yield Refusal(("type",), f"type {found['type']} is not supported yet", "this version distributes type: file")
        return
    yield from _keys(found, _DISTRIBUTION, ())
    if found.get("encrypt") is True:
        yield Refusal(("encrypt",), "encryption is not supported yet", "write false, or leave the key out")
    for key in PHASES:
        for index, entry in _entries(found, key):
            for name in entry.keys() & _ACTION.keys():
                yield Refusal((key, index, name), f"not supported yet ({_ACTION[name]})", "use script:")
            script = entry.get("script")
            if isinstance(script, dict) and script.get("type") == "powershell":
                what = "type powershell is not supported yet (Subscribers on Windows)"
                yield Refusal((key, index, "script", "type"), what, "use shell, python or perl")


def _entries(found: Mapping[str, object], key: str) -> Iterator[tuple[int, dict[str, object]]]:
    entries = found.get(key)
    if isinstance(entries, list):
        yield from ((i, e) for i, e in enumerate(entries) if isinstance(e, dict))
