"""The settings of one object with the document and line of each, its own and those that Defaults supply, as arguments of its model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

from sluice.blueprint.author_error import AuthorError
from sluice.blueprint.read.document import Document, PathKey, path_text
from sluice.blueprint.schema.part import Part
from sluice.errors import BlueprintError
from sluice.model.site import Origin

NESTED = ("variables", "tags", "retry", "ssh")
"""Settings that merge key by key."""

T = TypeVar("T")


@dataclass(frozen=True)  # without slots, for its cached property
class Leaf:
    """One setting and its position."""

    value: Any
    document: Document
    path: PathKey
    supplied: bool = False
    """Whether a Defaults document supplies it."""

    @cached_property
    def origin(self) -> Origin:
        """The position for ``sluice show``; of a Defaults document's it is one for all objects."""
        position = self.document.position(self.path)
        return Origin(f"defaults {position}" if self.supplied else position)

    def error(self, message: str, remedy: str) -> BlueprintError:
        """Return an error at the position of the setting, be it in a Defaults document."""
        return self.document.error(self.path, message, remedy)


@dataclass(frozen=True, slots=True)
class Effective:
    """The settings of one object that are given somewhere, by path; a setting that is not given keeps the model's default."""

    leaves: dict[PathKey, Leaf]
    errors: list[BlueprintError]
    """Receives what is wrong with them."""
    unsure: Callable[..., bool] = lambda *_: False
    """Whether the setting at a path may be given although it isn't here: in something that was refused."""

    def get(self, *path: str) -> Leaf | None:
        """Return the setting at a path, if it is given."""
        return self.leaves.get(path)

    def refuse(self, key: str, message: str, remedy: str) -> None:
        """Append an error at the position of a setting that is given; what else is said of it is a consequence."""
        self.refuse_leaf(self.leaves[key,], message, remedy)

    def refuse_leaf(self, leaf: Leaf, message: str, remedy: str, *within: int) -> None:
        """Append an error at a setting, or at an entry of it, as ``refuse`` does."""
        path = (*leaf.path, *within)
        self.errors.append(leaf.document.error(path, message, remedy))
        leaf.document.broken.add(path)

    def below(self, key: str) -> dict[str, Leaf]:
        """Return the keys of a nested setting."""
        return {str(path[1]): leaf for path, leaf in self.leaves.items() if path[0] == key and len(path) == 2}

    def texts(self, key: str) -> dict[str, str]:
        """Return a nested setting as texts."""
        return {name: str(leaf.value) for name, leaf in self.below(key).items()}

    def origins(self) -> dict[str, Origin]:
        """Map setting paths to Origins."""
        return {path_text(path): leaf.origin for path, leaf in self.leaves.items() if path != ("kind",)}

    def arguments(self, *keys: str) -> dict[str, Any]:
        """Map the given ones of these settings to the model's values."""
        return {k: leaf.value for k in keys if (leaf := self.get(k)) is not None}

    def parsed(self, key: str, parse: Callable[[str], T]) -> T | None:
        """Parse a setting further; None if it is not given or wrong."""
        leaf = self.get(key)
        try:
            return None if leaf is None else parse(str(leaf.value))
        except AuthorError as e:
            self.refuse(key, e.what, e.remedy)
            return None

    def required(self, key: str, parse: Callable[[str], T], document: Document, example: str) -> T | None:
        """Parse a setting as ``parsed`` does; an error if neither the document nor a Defaults document gives it."""
        if self.get(key) is None and not self.unsure(key):
            remedy = f"add {key}:, such as {key}: {example}, here or in a Defaults document"
            self.errors.append(document.error((key,), "missing", remedy))
            document.broken.add((key,))
        return self.parsed(key, parse)


def own_leaves(document: Document, part: Part, prefix: PathKey = (), *, supplied: bool = False) -> Iterator[tuple[PathKey, Leaf]]:
    """Yield every setting a part gives, nested ones key by key."""
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
