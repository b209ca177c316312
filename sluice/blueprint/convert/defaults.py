"""Defaults (A15): a setting that a document leaves out comes from the Defaults documents that select it.

A document's own setting wins; then Defaults with ``where``; then Defaults without. ``variables``, ``tags`` and ``retry`` merge by
their keys. Two Defaults of the same rank that supply different values are refused, so that the order of files never decides.
``where`` sees a Subscriber's own platform and tags and those that Defaults without ``where`` supply.
"""

from __future__ import annotations

from sluice.blueprint.convert.effective import Effective, Leaf, own_leaves
from sluice.blueprint.read.document import PathKey
from sluice.blueprint.schema.kinds import DefaultsDocument, DistributorSettings, SubscriberSettings
from sluice.blueprint.schema.parse import Parsed, Parts
from sluice.blueprint.schema.part import Part
from sluice.blueprint.schema.selector import parse_selector, subscriber_facts


class DefaultsDocuments:
    """Every Defaults document of a site, ready to be applied."""

    def __init__(self, parts: Parts) -> None:
        self._general: list[tuple[Parsed[DefaultsDocument], DefaultsDocument]] = []
        self._special: list[tuple[Parsed[DefaultsDocument], DefaultsDocument]] = []
        for parsed, part in parts.valid(DefaultsDocument):
            (self._general if part.where is None else self._special).append((parsed, part))
        self._errors = parts.errors
        self._reported: set[tuple[str, int, PathKey]] = set()

    def apply(self, parsed: Parsed[Part], part: Part) -> Effective:
        """Complete the settings of a Distributor or Subscriber from the Defaults."""
        effective = Effective(dict(own_leaves(parsed.document, part)), self._errors)
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
        conflict = (second.document.file, second.document.mark(second.path).line, path)
        if conflict not in self._reported:
            self._reported.add(conflict)
            what = f"differs from {first.document.position(first.path)}, and both supply {parsed.kind} {parsed.name}"
            self._errors.append(second.error(what, "let their where: exclude each other, or give the Subscriber its own value"))

    @staticmethod
    def _facts(parsed: Parsed[Part], effective: Effective, general: dict[PathKey, Leaf]) -> dict[str, frozenset[str]]:
        known = Effective({**general, **effective.leaves}, [])
        platform = known.get("platform")
        return dict(subscriber_facts(parsed.name, str(platform.value) if platform else "", known.texts("tags")))
