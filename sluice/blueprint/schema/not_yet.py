"""What the interface names and this version can't do yet: refused as such, never accepted and ignored, never called unknown.

Each entry leaves this list in the change that brings what it names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sluice.blueprint.read.documents import Document, PathKey
from sluice.blueprint.schema.actions import PHASES

KINDS = {
    "SubscriberGroup": "list Subscribers by name or where: in each Channel",
    "Site": "approval of group distributions comes later; leave the document out",
    "Person": "roles come later; leave the document out",
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
    """One thing of a later version at a path."""

    path: PathKey
    message: str
    remedy: str


def refusals(kind: str, document: Document) -> Iterator[Refusal]:
    """Everything of later versions in one document."""
    match kind:
        case "Distributor":
            yield from _distributor(document.data, ())
        case "Subscriber":
            yield from _subscriber(document.data, ())
        case "Distribution":
            yield from _distribution(document.data)
        case "Defaults":
            for key, check in (("distributor", _distributor), ("subscriber", _subscriber)):
                part = document.data.get(key)
                if isinstance(part, dict):
                    yield from check(part, (key,))


def _keys(found: Mapping[str, object], table: Mapping[str, str], path: PathKey) -> Iterator[Refusal]:
    for key in found.keys() & table.keys():
        yield _refusal((*path, key), f"not in this version yet ({table[key]})", "leave the key out")


def _refusal(path: PathKey, message: str, remedy: str) -> Refusal:
    return Refusal(path, message, remedy)


def _distributor(found: Mapping[str, object], path: PathKey) -> Iterator[Refusal]:
    yield from _keys(found, _DISTRIBUTOR, path)


def _subscriber(found: Mapping[str, object], path: PathKey) -> Iterator[Refusal]:
    yield from _keys(found, _SUBSCRIBER, path)
    if str(found.get("address", "")).startswith("smb:"):
        yield _refusal((*path, "address"), "smb:// isn't in this version yet", "reach the host by ssh://user@host")
    if str(found.get("identity", "")).startswith("secret:"):
        yield _refusal((*path, "identity"), "secret: isn't in this version yet", "write the path of a private key")


def _distribution(found: Mapping[str, object]) -> Iterator[Refusal]:
    if found.get("type") in TYPES:
        yield _refusal(("type",), f"type {found['type']} isn't in this version yet", "this version distributes type: file")
        return
    yield from _keys(found, _DISTRIBUTION, ())
    if found.get("encrypt") is True:
        yield _refusal(("encrypt",), "encryption isn't in this version yet", "write false, or leave the key out")
    for key in PHASES:
        for index, entry in _entries(found, key):
            for name in entry.keys() & _ACTION.keys():
                yield _refusal((key, index, name), f"not in this version yet ({_ACTION[name]})", "use script:")
            script = entry.get("script")
            if isinstance(script, dict) and script.get("type") == "powershell":
                what = "type powershell isn't in this version yet (Subscribers on Windows)"
                yield _refusal((key, index, "script", "type"), what, "use shell, python or perl")


def _entries(found: Mapping[str, object], key: str) -> Iterator[tuple[int, dict[str, object]]]:
    entries = found.get(key)
    if isinstance(entries, list):
        yield from ((i, e) for i, e in enumerate(entries) if isinstance(e, dict))
