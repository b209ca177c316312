"""Read one YAML file of a site into documents.

A document is data only: no anchors, aliases, tags, merge keys or duplicate keys, and within the limits below, so that no file can
cost more than its size. Dates stay text. A file with an error of syntax is read document by document; a line in a known trap
(``traps.py``) is told, and read as it should be. Leaves out what the documents mean.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import yaml

from sluice.blueprint.read.document import Document, Mark, PathKey, path_text
from sluice.blueprint.read.line_traps import odd_characters, quoted, visible
from sluice.blueprint.read.scalars import CORE, is_blank, raw, scalar, yaml_meaning
from sluice.blueprint.read.traps import Trap, find_trap
from sluice.errors import BlueprintError

FILE_MAX = 1 << 20
"""Bytes of one file."""
DOCUMENTS_MAX = 5_000
"""Documents of one file."""
DEPTH_MAX = 16
"""Mappings and lists within each other."""
MENDED_MAX = 1 << 19
"""Characters of one file that are read again because a line before them was mended."""
LISTED_MAX = 100
"""Documents that are read although they are written as a list."""

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_SPLIT = re.compile(r"^---(?=\s|$)", re.MULTILINE)
_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
"""Ends of lines as YAML counts them."""
_ANCHOR, _ALIAS = re.compile(r"&([\w-]+)"), re.compile(r"\*([\w-]+)")
_EQUALS = re.compile(r"([\w.-]+)\s*=\s*(\S.*)")
_NAMING = re.compile(r"(kind|name)\s*:\s+[\"']?([^\s\"'#]+)[\"']?\s*(?:#.*)?")


def read_documents(file: Path, errors: list[BlueprintError]) -> list[Document] | None:
    """Read the documents of one file and append every error found; None if nothing of it can be known.

    A document that can't be read has its kind and name, if these can be seen, and is ``broken`` everywhere.
    """
    return _Reader(str(file), errors).read()


@dataclass(slots=True)
class _Reader:
    """Reads one file; ``errors`` receives what is wrong with it."""

    file: str
    errors: list[BlueprintError]
    lines: list[str] = field(default_factory=list)
    """Those that are read: the file's, or of one with errors of syntax those of one document."""
    before: int = 0
    """Lines of the file before them."""
    shared: frozenset[str] = frozenset()
    """Names of anchors that are used: those are meant as anchors."""
    again: int = 0
    """Characters that were read again."""

    def read(self) -> list[Document] | None:
        text = self._text()
        if text is None:
            return None
        self.lines = _BREAK.split(text)
        if "&" in text and "*" in text:
            self.shared = frozenset(_ANCHOR.findall(text)) & frozenset(_ALIAS.findall(text))
        with suppress(yaml.YAMLError):
            if next(self._forbidden(text), None) is None:
                return self._documents(list(yaml.compose_all(text, Loader=_Loader)))
        if len(_SPLIT.findall(text)) > DOCUMENTS_MAX:
            self._refuse(1, f"more than {DOCUMENTS_MAX} documents", "split it into several files")
            return None
        return self._documents_apart(text)

    def _documents_apart(self, text: str) -> list[Document]:
        """Read each document by itself, so that an error of syntax hides no other one."""
        found: list[Document] = []
        before = 0
        for start, end in pairwise([0, *(match.start() for match in _SPLIT.finditer(text)), len(text)]):
            self.lines, self.before = _BREAK.split(text[start:end]), before
            before += len(self.lines) - 1
            if all(not line.strip() or line.startswith(("%", "#")) for line in self.lines):
                continue  # directives for the document after them
            nodes = self._nodes()
            found += self._documents(nodes) if nodes is not None else [self._broken()]
        return found

    def _refuse(self, line: int, message: str, remedy: str, path: PathKey = ()) -> None:
        self.errors.append(BlueprintError(message, file=self.file, line=line, path=path_text(path), remedy=remedy))

    def _text(self) -> str | None:
        if not os.path.isfile(self.file):
            self._refuse(1, "is not a file", "rename or remove it")
            return None
        try:
            with open(self.file, "rb") as f:
                content = f.read(FILE_MAX + 1)
        except OSError as e:
            self._refuse(1, f"cannot be read ({e.strerror})", "make it a readable file")
            return None
        if len(content) > FILE_MAX:
            self._refuse(1, "larger than 1 MiB", "split it into several files")
            return None
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError as e:
            self._refuse(content.count(b"\n", 0, e.start) + 1, "is not UTF-8 text", "save the file as UTF-8")
            return None

    def _nodes(self) -> list[yaml.Node] | None:
        """Compose what the lines hold; each trap in them is told, and mended. None if they can't be read."""
        mended: set[int] = set()
        while True:
            text = "\n".join(self.lines)
            self.again += len(text)
            refusal: tuple[int, str, str] | None
            try:
                refused = list(self._forbidden(text))
                if not refused:
                    return list(yaml.compose_all(text, Loader=_Loader))
                meant = [each for each in refused if each[1]]
                for line, what, remedy in meant:
                    self._refuse(self.before + line + 1, what, remedy)
                if meant:  # nothing can be read, but what else falls into a trap is told
                    others = (find_trap(self.lines, [line], "") for line, what, _ in refused if not what)
                    for other in [each for each in others if each is not None]:
                        self._told(other)
                    return None
                places, problem, refusal = [refused[0][0]], "", None
            except yaml.YAMLError as e:
                places, problem, refusal = self._located(e, text)
            trap = find_trap(self.lines, places, problem) if self.again <= MENDED_MAX else None
            if trap is None or trap.line in mended:
                if refusal is not None and refusal[0] not in mended:
                    self._refuse(self.before + refusal[0] + 1, *refusal[1:])
                return None
            mended.add(trap.line)
            self._told(trap)

    def _told(self, trap: Trap) -> None:
        self._refuse(self.before + trap.line + 1, trap.what, trap.remedy)
        self.lines[trap.line : trap.line + len(trap.lines)] = trap.lines

    def _forbidden(self, text: str) -> Iterator[tuple[int, str, str]]:
        """Yield the line, problem and remedy of everything that no blueprint may contain, before anything is built of it.

        The problem is empty for what is meant as text and was written without quotes: ``*name``, ``!keep``.
        """
        depth = documents = 0
        before = ""
        for event in yaml.parse(text, Loader=_Loader):
            line = event.start_mark.line if event.start_mark is not None else 0
            blank = isinstance(event, yaml.ScalarEvent) and not event.value and not event.style
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > DOCUMENTS_MAX:
                    yield line, f"more than {DOCUMENTS_MAX} documents", "split it into several files"
                    return
            elif isinstance(event, yaml.AliasEvent):
                what = f"*{event.anchor} is an alias" if event.anchor in self.shared or before == "<<" else ""
                yield line, what, "write the value out, or use a Defaults document"
            elif isinstance(event, yaml.NodeEvent):
                if event.anchor is not None:
                    what = "" if blank and event.anchor not in self.shared else f"&{event.anchor} is an anchor"
                    yield line, what, "leave it out; a Defaults document shares settings"
                if (tag := getattr(event, "tag", None)) is not None:
                    shown = tag.replace(CORE, "!!")
                    what = "" if blank and not shown.startswith("!!") else f"{shown} is a tag"
                    yield line, what, "leave it out; blueprints are plain text, numbers and lists"
            before = event.value if isinstance(event, yaml.ScalarEvent) else ""
            if isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
                if (depth := depth + 1) > DEPTH_MAX:
                    yield line, f"nested more than {DEPTH_MAX} deep", "no setting is this deep: look for a stray bracket"
                    return
            elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
                depth -= 1

    def _located(self, error: yaml.YAMLError, text: str) -> tuple[list[int], str, tuple[int, str, str]]:
        """Return the lines of an error of syntax, the parser's words, and the error to report if its cause isn't known."""
        if isinstance(error, yaml.MarkedYAMLError):
            marks = [mark for mark in (error.problem_mark, error.context_mark) if mark is not None]
            if "simple key" in str(error.context):  # what isn't one begins at the context, and the problem is on a line after it
                marks.reverse()
            places = [mark.line for mark in marks]
            problem = error.problem or "unknown syntax"
            if error.context:
                problem = f"{problem}, {error.context}"
                if error.context_mark is not None and error.context_mark.line != places[0]:
                    problem += f" begun on line {self.before + error.context_mark.line + 1}"
        else:
            places = [text.count("\n", 0, getattr(error, "position", 0))]
            problem = getattr(error, "reason", "") or "unknown syntax"
        line = places[0] if places else 0
        return places, problem, (line, f"is not valid YAML: {problem}", "check indentation, quotes and brackets there")

    def _broken(self) -> Document:
        """Return a document that can't be read, with its kind and name as far as they can be seen."""
        found = {match[1]: match[2] for line in reversed(self.lines) if (match := _NAMING.fullmatch(line))}
        return Document(self.file, self.before + 1, dict(found), broken={()})

    def _documents(self, nodes: list[yaml.Node]) -> list[Document]:
        return [found for node in nodes for each in self._listed(node) if (found := self._document(each)) is not None]

    def _listed(self, node: yaml.Node) -> list[yaml.Node]:
        """Return the documents that are written as one list; of anything else the node."""
        items = node.value if isinstance(node, yaml.SequenceNode) and len(node.value) <= LISTED_MAX else []
        if not items or not all(isinstance(item, yaml.MappingNode) for item in items):
            return [node]
        self._refuse(self._line(node), "a document can't be a list", "leave its dashes out, and write --- between two documents")
        return list(items)

    def _line(self, node: yaml.Node) -> int:
        line: int = node.start_mark.line
        return self.before + line + 1

    def _document(self, node: yaml.Node) -> Document | None:
        line = self._line(node)
        if isinstance(node, yaml.ScalarNode) and node.tag == CORE + "null":
            return None
        if not isinstance(node, yaml.MappingNode):
            self._refuse(line, "a document must consist of key: value lines", "begin it with kind: and name:")
            return Document(self.file, line, {}, broken={()})
        document = Document(self.file, line, {})
        document.data = self._mapping(node, (), document)
        return document

    def _mapping(self, node: yaml.MappingNode, path: PathKey, document: Document) -> dict[str, object]:
        found: dict[str, object] = {}
        for key_node, value_node in node.value:
            line = self._line(key_node)
            if not isinstance(key_node, yaml.ScalarNode):
                self._refuse(line, "a key must be a word", "write key: value", path)
                document.broken.add(path)
                continue
            key = str(key_node.value)
            if not key_node.style and (odd := odd_characters(key)):
                key = visible(key).strip(" \"'")
                self._refuse(line, f"the key {key} {odd}", f"type it: {key}:", path)
            if not key_node.style and is_blank(value_node) and (equals := _EQUALS.fullmatch(key)):
                key, value_node = equals[1], yaml.ScalarNode(CORE + "str", equals[2].strip("\"'"), value_node.start_mark, style="'")
                self._refuse(line, "has = in the place of a colon", f"write it: {key}: {equals[2]}", path)
            key_path = (*path, key)
            if key_node.tag == CORE + "merge":
                self._refuse(line, "<< is a merge key", "write the settings out, or use a Defaults document", path)
                document.broken.add(path)
            elif key_node.tag != CORE + "str":
                self._refuse(line, f"YAML reads the key {key} as {yaml_meaning(key_node)}, not as text", f'write "{key}"', path)
                document.broken.add(key_path)
            elif key in found:
                self._refuse(line, f"duplicate key, first on line {document.marks[key_path].line}", "keep one of them", key_path)
            else:
                document.marks[key_path] = Mark(line, raw(value_node))
                found[key] = self._value(value_node, key_path, document)
        return found

    def _value(self, node: yaml.Node, path: PathKey, document: Document) -> object:
        if isinstance(node, yaml.MappingNode):
            return self._template(node, path) or self._mapping(node, path, document)
        if isinstance(node, yaml.SequenceNode):
            items: list[object] = []
            for index, item in enumerate(node.value):
                document.marks[(*path, index)] = Mark(self._line(item), raw(item))
                items.append(self._value(item, (*path, index), document))
            return items
        if not isinstance(node, yaml.ScalarNode):
            return None
        if not node.style and (odd := odd_characters(node.value)):
            typed = visible(node.value).strip(" \"'")
            self._refuse(self._line(node), odd, f"type it: {quoted(typed)}", path)
            return typed
        return scalar(node)

    def _template(self, node: yaml.MappingNode, path: PathKey) -> str:
        """Return ``{{ NAME }}``, which YAML reads as a mapping within a mapping, as the text that was meant; else an empty one."""
        if not node.flow_style or len(node.value) != 1 or not isinstance(node.value[0][0], yaml.MappingNode):
            return ""
        start, end = node.start_mark, node.end_mark
        meant = self.lines[start.line][start.column : end.column] if start.line == end.line else ""
        if meant.startswith("{{") and meant.endswith("}}"):
            key = f"{path[-1]}: " if path and isinstance(path[-1], str) else "- "
            self._refuse(self._line(node), "begins with {{, which YAML reads as a mapping", f"quote it: {key}{quoted(meant)}", path)
            return meant
        return ""
