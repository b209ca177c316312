"""Refuse what is planned and not supported yet: it is never accepted and ignored, and never called unknown.

Each entry leaves this list in the change that supports it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeAlias

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

_TYPES_WITHOUT_ACTIONS = {
    "policy_package": "the Subscriber enforces it by itself, again and again",
    "desktop_application": "it only hooks up an application",
}
"""Types that take no pre and post actions (B21), and the reason."""

Refusal: TypeAlias = tuple[PathKey, str, str]
"""The path of a planned feature, message and remedy."""


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
        yield (*path, key), f"not supported yet ({table[key]})", "leave the key out"


def _subscriber(found: Mapping[str, object], path: PathKey) -> Iterator[Refusal]:
    yield from _keys(found, _SUBSCRIBER, path)
    if str(found.get("address", "")).startswith("smb:"):
        yield (*path, "address"), "smb:// is not supported yet", "reach the host by ssh://user@host"
    if str(found.get("identity", "")).startswith("secret:"):
        yield (*path, "identity"), "secret: is not supported yet", "write the path of a private key"


def _distribution(found: Mapping[str, object]) -> Iterator[Refusal]:
    type_ = found.get("type")
    if isinstance(type_, str) and type_ in TYPES:
        yield ("type",), f"type {type_} is not supported yet", "this version distributes type: file"
        for key in PHASES:
            if type_ in _TYPES_WITHOUT_ACTIONS and found.get(key):
                yield (key,), f"type {type_} takes no actions: {_TYPES_WITHOUT_ACTIONS[type_]}", "leave the key out"
        return
    yield from _keys(found, _DISTRIBUTION, ())
    if found.get("encrypt") is True:
        yield ("encrypt",), "encryption is not supported yet", "write false, or leave the key out"
    for key in PHASES:
        entries = found.get(key)
        for index, entry in enumerate(entries if isinstance(entries, list) else ()):
            if not isinstance(entry, dict):
                continue
            for name in entry.keys() & _ACTION.keys():
                yield (key, index, name), f"not supported yet ({_ACTION[name]})", "use script:"
            script = entry.get("script")
            if isinstance(script, dict) and script.get("type") == "powershell":
                what = "type powershell is not supported yet (Subscribers on Windows)"
                yield (key, index, "script", "type"), what, "use shell, python or perl"
