"""Defaults (A15): what a document leaves out comes from the Defaults documents that mean it, setting by setting.

A document's own setting wins; then Defaults with ``where``; then Defaults without. ``variables``, ``tags`` and ``retry`` merge by
their keys. Two Defaults of the same rank that supply different values are refused, so that the order of files never decides.
``where`` sees a Subscriber's own platform and tags and those that Defaults without ``where`` supply.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from sluice.blueprint.read.documents import Document, PathKey, path_text
from sluice.blueprint.schema.kinds import DefaultsDocument, DistributorSettings, SubscriberSettings
from sluice.blueprint.schema.parse import Parsed, Parts
from sluice.blueprint.schema.schedules import Part
from sluice.blueprint.schema.selector import parse_selector, subscriber_facts
from sluice.errors import BlueprintError
from sluice.model.site import Origin

NESTED = ("variables", "tags", "retry")
"""Settings that merge key by key."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """One setting and where it stands."""

    value: object
    document: Document
    path: PathKey
    supplied: bool = False

    @property
    def origin(self) -> Origin:
        """For ``sluice show``."""
        place = self.document.place(self.path)
        return Origin(f"defaults {place}" if self.supplied else place)

    def error(self, message: str, remedy: str) -> BlueprintError:
        """An error where the setting stands, be it in a Defaults document."""
        return self.document.error(self.path, message, remedy)


@dataclass(slots=True)
class Effective:
    """The settings of one object that were given somewhere, by path."""

    leaves: dict[PathKey, Leaf] = field(default_factory=dict)

    def get(self, *path: str) -> Leaf | None:
        """The setting at a path, if it was given."""
        return self.leaves.get(path)

    def below(self, key: str) -> dict[str, Leaf]:
        """The keys of a nested setting."""
        return {str(path[1]): leaf for path, leaf in self.leaves.items() if path[0] == key and len(path) == 2}

    def origins(self) -> dict[str, Origin]:
        """Setting path to Origin."""
        return {path_text(path): leaf.origin for path, leaf in self.leaves.items() if path != ("kind",)}


def own_leaves(document: Document, part: Part, prefix: PathKey = (), *, supplied: bool = False) -> Iterator[tuple[PathKey, Leaf]]:
    """Every setting a part gives, nested ones key by key."""
    for name, info in type(part).model_fields.items():
        if name not in part.model_fields_set:
            continue
        key = info.alias or name
        value = getattr(part, name)
        if key in NESTED and isinstance(value, Part):
            yield from (((key, *p), leaf) for p, leaf in own_leaves(document, value, (*prefix, key), supplied=supplied))
        elif key in NESTED and isinstance(value, dict):
            for inner, text in value.items():
                yield (key, inner), Leaf(text, document, (*prefix, key, inner), supplied)
        else:
            yield (key,), Leaf(value, document, (*prefix, key), supplied)


class DefaultsDocuments:
    """All Defaults of a site, ready to be applied."""

    def __init__(self, parts: Parts) -> None:
        self._general: list[tuple[Parsed[DefaultsDocument], DefaultsDocument]] = []
        self._special: list[tuple[Parsed[DefaultsDocument], DefaultsDocument]] = []
        for parsed, part in parts.good(DefaultsDocument):
            (self._general if part.where is None else self._special).append((parsed, part))
        self._errors = parts.errors
        self._told: set[tuple[str, int, PathKey]] = set()

    def apply(self, parsed: Parsed[Part], part: Part) -> Effective:
        """The settings of a Distributor or Subscriber with what the Defaults supply."""
        effective = Effective(dict(own_leaves(parsed.document, part)))
        general = self._supplied(parsed, self._general)
        facts = self._facts(parsed, effective, general)
        special = [(d, p) for d, p in self._special if p.where is not None and parse_selector(p.where).matches(facts)]
        for leaves in (self._supplied(parsed, special), general):
            for path, leaf in leaves.items():
                effective.leaves.setdefault(path, leaf)
        return effective

    def _supplied(self, parsed: Parsed[Part], documents: list[tuple[Parsed[DefaultsDocument], DefaultsDocument]]) -> dict[PathKey, Leaf]:
        found: dict[PathKey, Leaf] = {}
        key = parsed.kind.lower()
        for source, part in documents:
            settings: SubscriberSettings | DistributorSettings | None = getattr(part, key)
            if settings is None:
                continue
            for path, leaf in own_leaves(source.document, settings, (key,), supplied=True):
                first = found.setdefault(path, leaf)
                if first.value != leaf.value:
                    self._conflict(parsed, path, first, leaf)
        return found

    def _conflict(self, parsed: Parsed[Part], path: PathKey, first: Leaf, second: Leaf) -> None:
        place = (second.document.file, second.document.mark(second.path).line, path)
        if place not in self._told:
            self._told.add(place)
            what = f"differs from {first.document.place(first.path)}, and both supply {parsed.kind} {parsed.name}"
            self._errors.append(second.error(what, "let their where: exclude each other, or give the Subscriber its own value"))

    @staticmethod
    def _facts(parsed: Parsed[Part], effective: Effective, general: dict[PathKey, Leaf]) -> dict[str, frozenset[str]]:
        seen = {**general, **effective.leaves}
        platform = seen.get(("platform",))
        tags = {str(p[1]): str(leaf.value) for p, leaf in seen.items() if p[0] == "tags"}
        return dict(subscriber_facts(parsed.name, str(platform.value) if platform else "", tags))
