"""Defaults (A15): a setting that a document leaves out comes from the Defaults documents that select it.

A document's own setting wins; then Defaults with ``where``; then Defaults without. ``variables``, ``tags`` and ``retry`` merge by
their keys. Two Defaults of the same rank that supply different values are refused, so that the order of files never decides.
``where`` sees a Subscriber's own platform and tags and those that Defaults without ``where`` supply.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TypeAlias

from sluice.blueprint.convert.effective import Effective, Leaf, own_leaves
from sluice.blueprint.convert.names import TAGS_MAX, VARIABLES_MAX
from sluice.blueprint.read.document import PathKey
from sluice.blueprint.schema.kinds import DefaultsDocument
from sluice.blueprint.schema.parse import Parsed, Parts
from sluice.blueprint.schema.part import Part
from sluice.blueprint.schema.selector import Selector, parse_selector, subscriber_facts

_Supply: TypeAlias = Mapping[str, Sequence[tuple[PathKey, Leaf]]]
"""The settings of one Defaults document, by the kind of object that they are for."""


_MOST = {"tags": TAGS_MAX, "variables": VARIABLES_MAX}
"""Keys of nested settings that an object may have; of more than that, which is refused, each object gets one too many."""


class DefaultsDocuments:
    """Every Defaults document of a site, ready to be applied."""

    def __init__(self, parts: Parts) -> None:
        self._general: list[_Supply] = []
        self._special: list[tuple[Selector, _Supply]] = []
        for parsed, part in parts.valid(DefaultsDocument):
            supply = {
                key: list(own_leaves(parsed.document, settings, (key,), supplied=True))
                for key, settings in (("distributor", part.distributor), ("subscriber", part.subscriber))
                if settings is not None
            }
            if part.where is None:
                self._general.append(supply)
            else:
                self._special.append((parse_selector(part.where), supply))
        self._general_supplied: dict[str, dict[PathKey, Leaf]] = {}
        """The same for all objects of a kind."""
        self._documents = [parsed.document for parsed in parts.of(DefaultsDocument)]
        self._parts = parts
        self._errors = parts.errors
        self._reported: set[tuple[str, int, PathKey]] = set()

    @property
    def are_selected(self) -> bool:
        """Whether some of them are for some objects only."""
        return bool(self._special)

    def unsure(self, parsed: Parsed[Part], *path: str) -> bool:
        """Whether a setting that an object seems to lack may be in what was refused: its own, or of a Defaults document."""
        if not self._parts.are_complete or parsed.document.is_broken(path):
            return True
        within = parsed.kind.lower(), *path
        return any(d.broken and (d.is_broken(within) or d.is_broken(("where",))) for d in self._documents)

    def apply(self, parsed: Parsed[Part], part: Part) -> Effective:
        """Complete the settings of a Distributor or Subscriber from the Defaults."""
        effective = Effective(dict(own_leaves(parsed.document, part)), self._errors, partial(self.unsure, parsed))
        if parsed.kind not in self._general_supplied:
            self._general_supplied[parsed.kind] = self._supplied(parsed, self._general)
        general = self._general_supplied[parsed.kind]
        facts = self._facts(parsed, effective, general)
        special = [supply for selector, supply in self._special if selector.matches(facts)]
        for leaves in (self._supplied(parsed, special), general):
            for path, leaf in leaves.items():
                effective.leaves.setdefault(path, leaf)
        return effective

    def _supplied(self, parsed: Parsed[Part], documents: list[_Supply]) -> dict[PathKey, Leaf]:
        found, numbers, key = dict[PathKey, Leaf](), Counter[object](), parsed.kind.lower()
        for supply in documents:
            for path, leaf in supply.get(key, ()):
                if path not in found:
                    numbers[path[0]] += 1
                    if numbers[path[0]] > _MOST.get(str(path[0]), numbers[path[0]]) + 1:
                        continue
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
