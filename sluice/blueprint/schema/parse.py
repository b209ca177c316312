"""Parse documents into parts: each is checked by itself, against its kind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar, cast

from pydantic import ValidationError

from sluice.blueprint.read.document import Document
from sluice.blueprint.read.files import blueprint_files, text_size
from sluice.blueprint.read.reader import FILE_MAX, read_documents
from sluice.blueprint.schema.bounds import expect
from sluice.blueprint.schema.complaints import complaints, keys_of
from sluice.blueprint.schema.kinds import KINDS
from sluice.blueprint.schema.not_yet import KINDS as LATER_KINDS
from sluice.blueprint.schema.not_yet import refusals
from sluice.blueprint.schema.part import Part
from sluice.blueprint.schema.salvage import salvage
from sluice.blueprint.schema.suggest import nearest_name
from sluice.errors import BlueprintError

P = TypeVar("P", bound=Part)


@dataclass(frozen=True, slots=True)
class Parsed(Generic[P]):
    """One document of a known kind. ``part`` holds what is valid of it, and is None if that is too little."""

    document: Document
    kind: str
    name: str
    part: P | None
    is_named: bool = True
    """Whether the name is its author's."""


class Parts:
    """All documents of a site by kind, in file and line order, and the errors found so far."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.errors: list[BlueprintError] = []
        self.found: list[Parsed[Part]] = []
        self.are_complete = True
        """Whether the kind of every document is known; if not, what seems to be missing may be in one that isn't."""
        self._of_unknown_kind: set[str] = set()
        """Names of documents whose kind isn't known: each counts as one of every kind."""
        try:
            files = blueprint_files(directory)
        except BlueprintError as e:
            self.errors.append(e)
            return
        expect(sum(size for file in files if (size := text_size(file)) <= FILE_MAX))
        for file in files:
            documents = read_documents(file, self.errors)
            self.are_complete &= documents is not None
            for document in documents or []:
                if (parsed := self._parse(document)) is not None:
                    self.found.append(parsed)

    def of(self, model: type[P]) -> list[Parsed[P]]:
        """Return every document of one kind, also those with errors."""
        kind = next(k for k, m in KINDS.items() if m is model)
        return [cast("Parsed[P]", p) for p in self.found if p.kind == kind]

    def valid(self, model: type[P]) -> Iterator[tuple[Parsed[P], P]]:
        """Yield every document of one kind without errors of its own; of duplicates the first."""
        seen: set[str] = set()
        for parsed in self.of(model):
            if parsed.part is not None and (parsed.name not in seen or not parsed.name):
                seen.add(parsed.name)
                yield parsed, parsed.part

    def names(self, model: type[P]) -> set[str]:
        """Return every name of one kind, also those of documents with errors."""
        return {p.name for p in self.of(model) if p.is_named} | self._of_unknown_kind

    def _parse(self, document: Document) -> Parsed[Part] | None:
        kind = self._kind(document)
        if kind:
            self._unwrap(document, keys_of(KINDS[kind]))
        name = document.data.get("name")
        if kind:
            is_named = isinstance(name, str | int) and name != ""
            named = str(name) if is_named else f"the {kind} at line {document.line}"
            part = None if document.is_broken(()) else self._part(document, kind)
            if part is not None and "name" in type(part).model_fields:
                part = part.model_copy(update={"name": named})
            return Parsed(document, kind, named, part, is_named)
        if isinstance(name, str) and name:
            self._of_unknown_kind.add(name)
        return None

    def _kind(self, document: Document) -> str:
        """Return a document's kind, or the one that is meant: it has all of the document's keys. Empty if neither is known."""
        kind = document.data.get("kind")
        if isinstance(kind, str) and kind in KINDS:
            return kind
        word = kind if isinstance(kind, str) else ""
        near = nearest_name(word, [*KINDS, *LATER_KINDS])
        fitting = [each for each, model in KINDS.items() if document.data.keys() - {"kind"} <= set(keys_of(model))]
        meant = near if near in fitting else fitting[0] if len(fitting) == 1 and word not in LATER_KINDS else ""
        self.are_complete &= bool(meant) or word in LATER_KINDS
        if kind is None:
            what = "missing" if "kind" not in document.data else "has no value"
            remedy = f"add kind: {meant}" if meant else f"add kind: and one of {', '.join(KINDS)}"
        elif word in LATER_KINDS:
            what, remedy = f"{word} is not supported yet", LATER_KINDS[word]
        else:
            what = f"{kind!r} is not a kind of document"
            remedy = f"did you mean {meant or near}?" if meant or near else f"the kinds are {', '.join(KINDS)}"
        if not document.is_broken(()):
            self.errors.append(document.error(("kind",), what, remedy))
        if meant:
            document.data["kind"] = meant
        return meant

    def _unwrap(self, document: Document, known: Sequence[str]) -> None:
        """Refuse a key of another tool around keys of the document, such as ``spec:``, and read what it holds where it belongs."""
        for key, held in list(document.data.items()):
            if key not in known and isinstance(held, dict) and held and held.keys() <= set(known) - document.data.keys():
                self.errors.append(document.error((key,), "unknown key, around keys of the document", "leave it out, and indent them less"))
                del document.data[key]
                document.data |= held
                document.marks |= {path[1:]: mark for path, mark in document.marks.items() if path[0] == key and len(path) > 1}

    def _part(self, document: Document, kind: str) -> Part | None:
        refused = list(refusals(kind, document))
        self.errors += [document.error(*each) for each in refused]
        model = KINDS[kind]
        paths = [path for path, _, _ in refused]
        document.broken.update(paths)
        if ("type",) in paths:
            return None
        try:
            part = model.model_validate(document.data)
        except ValidationError as e:
            errors, explained = complaints(document, kind, model, e, paths)
            self.errors += errors
            document.broken |= explained
            return salvage(model, document.data, paths)
        return part if not refused else salvage(model, document.data, paths)
