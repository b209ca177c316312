"""Read the YAML files of a site into documents.

A document is data only: no anchors, aliases, tags, merge keys or duplicate keys, and within the limits below, so that no file can
cost more than its size. Dates stay text. Files below the site directory named ``*.yaml`` or ``*.yml``, in capitals too, are read in name
order; hidden ones, everything in hidden directories, and the directories ``files``, ``keys`` and ``var`` aren't. Leaves out what the
documents mean.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import yaml

from sluice.blueprint.read.document import Document, Mark, PathKey, path_text
from sluice.errors import BlueprintError

NOT_BLUEPRINTS = frozenset({"files", "keys", "var"})
"""Directories of a site for distributed files, keys and state; a ``.yaml`` file in them is not a blueprint."""
FILE_MAX = 1 << 20
"""Bytes of one file."""
FILES_MAX = 5_000
"""Files of one site."""
DOCUMENTS_MAX = 5_000
"""Documents of one file."""
DEPTH_MAX = 16
"""Mappings and lists within each other."""

NUMBER_MAX = 100
"""Characters of a whole number; a longer one is text, since Python writes none of more than 4,300 digits."""

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_CORE = "tag:yaml.org,2002:"
_CONSTRUCT = yaml.constructor.SafeConstructor()


def blueprint_files(directory: Path) -> list[Path]:
    """List the files of a site in name order; BlueprintError if there is no such directory, no file or too many."""
    wrong = partial(BlueprintError, file=str(directory), line=0)
    if not directory.is_dir():
        raise wrong("no such directory", remedy="name the site's directory, or create one with sluice init")
    found: list[Path] = []
    for root, _, names in walk_site(directory):
        found += [Path(root, n) for n in names if is_blueprint(n)]
        if len(found) > FILES_MAX:
            raise wrong(f"more than {FILES_MAX} blueprint files", remedy="put several documents into a file")
    if not found:
        raise wrong("contains no blueprints", remedy="write a .yaml file, or create a site with sluice init")
    return sorted(found)


def is_blueprint(name: str) -> bool:
    """Whether a file of this name is read."""
    return name.lower().endswith((".yaml", ".yml")) and not name.startswith(".")


def walk_site(directory: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """Yield as ``os.walk`` the directories of a site that blueprints may be in. BlueprintError names one that can't be read."""

    def failed(error: OSError) -> None:
        raise BlueprintError(
            f"cannot be read ({error.strerror})", file=str(error.filename), line=0, remedy="give this account the right to read it"
        ) from error

    for root, directories, names in os.walk(directory, onerror=failed):
        directories[:] = sorted(d for d in directories if not d.startswith(".") and d not in NOT_BLUEPRINTS)
        yield root, directories, names


def read_documents(file: Path, errors: list[BlueprintError]) -> list[Document] | None:
    """Read the documents of one file and append every error found; None if the file can't be read as a whole."""
    return _Reader(str(file), errors).read()


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads one file; ``errors`` receives what is wrong with it."""

    file: str
    errors: list[BlueprintError]

    def read(self) -> list[Document] | None:
        text = self._text()
        if text is None:
            return None
        try:
            if self._refuse_forbidden(text):
                return None
            return [d for node in yaml.compose_all(text, Loader=_Loader) if (d := self._document(node)) is not None]
        except yaml.YAMLError as e:
            self._refuse_syntax(e, text)
            return None

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

    def _refuse_forbidden(self, text: str) -> bool:
        """Append an error for everything no blueprint may contain, before anything is built of it; whether there is any."""
        before = len(self.errors)
        depth = documents = 0
        for event in yaml.parse(text, Loader=_Loader):
            line = event.start_mark.line + 1 if event.start_mark is not None else 1
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > DOCUMENTS_MAX:
                    self._refuse(line, f"more than {DOCUMENTS_MAX} documents", "split it into several files")
                    break
            elif isinstance(event, yaml.AliasEvent):
                self._refuse(line, f"*{event.anchor} is an alias", "write the value out, or use a Defaults document")
            elif isinstance(event, yaml.NodeEvent):
                if event.anchor is not None:
                    self._refuse(line, f"&{event.anchor} is an anchor", "leave it out; a Defaults document shares settings")
                if (tag := getattr(event, "tag", None)) is not None:
                    shown = tag.replace(_CORE, "!!")
                    self._refuse(line, f"{shown} is a tag", "leave it out; blueprints are plain text, numbers and lists")
            if isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
                depth += 1
                if depth > DEPTH_MAX:
                    self._refuse(line, f"nested more than {DEPTH_MAX} deep", "no setting is this deep: look for a stray bracket")
                    break
            elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
                depth -= 1
        return len(self.errors) > before

    def _refuse_syntax(self, error: yaml.YAMLError, text: str) -> None:
        if isinstance(error, yaml.MarkedYAMLError):
            mark = error.problem_mark or error.context_mark
            line = mark.line + 1 if mark is not None else 1
            problem = error.problem or "unknown syntax"
            if error.context:
                problem = f"{problem}, {error.context}"
                if error.context_mark is not None and error.context_mark.line + 1 != line:
                    problem += f" begun on line {error.context_mark.line + 1}"
        else:
            line = text.count("\n", 0, getattr(error, "position", 0)) + 1
            problem = getattr(error, "reason", "") or "unknown syntax"
        self._refuse(line, f"is not valid YAML: {problem}", "check indentation, quotes and brackets there")

    def _document(self, node: yaml.Node) -> Document | None:
        line = node.start_mark.line + 1
        if isinstance(node, yaml.ScalarNode) and node.tag == _CORE + "null":
            return None
        if not isinstance(node, yaml.MappingNode):
            self._refuse(line, "a document must consist of key: value lines", "begin it with kind: and name:")
            return None
        document = Document(self.file, line, {})
        document.data = self._mapping(node, (), document)
        return document

    def _mapping(self, node: yaml.MappingNode, path: PathKey, document: Document) -> dict[str, object]:
        found: dict[str, object] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self._refuse(line, "a key must be a word", "write key: value", path)
                continue
            key = str(key_node.value)
            key_path = (*path, key)
            if key_node.tag == _CORE + "merge":
                self._refuse(line, "<< is a merge key", "write the settings out, or use a Defaults document", path)
            elif key_node.tag != _CORE + "str":
                self._refuse(line, f"YAML reads the key {key} as {_yaml_meaning(key_node)}, not as text", f'write "{key}"', path)
            elif key in found:
                self._refuse(line, f"duplicate key, first on line {document.marks[key_path].line}", "keep one of them", key_path)
            else:
                document.marks[key_path] = Mark(line, _raw(value_node))
                found[key] = self._value(value_node, key_path, document)
        return found

    def _value(self, node: yaml.Node, path: PathKey, document: Document) -> object:
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path, document)
        if isinstance(node, yaml.SequenceNode):
            items: list[object] = []
            for index, item in enumerate(node.value):
                document.marks[(*path, index)] = Mark(item.start_mark.line + 1, _raw(item))
                items.append(self._value(item, (*path, index), document))
            return items
        return _scalar(node) if isinstance(node, yaml.ScalarNode) else None


def _scalar(node: yaml.ScalarNode) -> object:
    try:
        match node.tag.removeprefix(_CORE):
            case "null":
                return None
            case "bool":
                return _CONSTRUCT.construct_yaml_bool(node)
            case "int" if len(node.value) <= NUMBER_MAX:
                return _CONSTRUCT.construct_yaml_int(node)
            case "float":
                return _CONSTRUCT.construct_yaml_float(node)
    except ValueError:
        pass
    return str(node.value)


def _raw(node: yaml.Node) -> str | None:
    return str(node.value) if isinstance(node, yaml.ScalarNode) and not node.style else None


def _yaml_meaning(node: yaml.ScalarNode) -> str:
    value = _scalar(node)
    if isinstance(value, bool):
        return "true" if value else "false"
    return "nothing" if value is None else "a date" if isinstance(value, str) else f"the number {value}"
