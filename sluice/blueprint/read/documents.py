"""Reading: the YAML files of a site into plain documents that know the line of everything in them.

A document is data only: no anchors, aliases, tags, merge keys or duplicate keys, and within the limits below, so that no file can
cost more than its size. Dates stay text. Files below the site directory named ``*.yaml`` or ``*.yml`` are read in name order;
hidden ones, everything in hidden directories, and the directories ``files``, ``keys`` and ``var`` aren't. Leaves out what the
documents mean.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import yaml

from sluice.errors import BlueprintError

NOT_BLUEPRINTS = frozenset({"files", "keys", "var"})
"""Directories of a site that hold what it distributes, keys and state; a ``.yaml`` file in them is no blueprint."""
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

PathKey: TypeAlias = tuple[str | int, ...]

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_CORE = "tag:yaml.org,2002:"
_CONSTRUCT = yaml.constructor.SafeConstructor()


@dataclass(frozen=True, slots=True)
class Mark:
    """Where something stands. ``raw`` is the text of an unquoted scalar, as it was typed."""

    line: int
    raw: str | None = None


@dataclass(slots=True)
class Document:
    """One YAML document: its data, and the Mark of each path in it."""

    file: str
    line: int
    data: dict[str, object]
    marks: dict[PathKey, Mark] = field(default_factory=dict)

    def mark(self, path: PathKey) -> Mark:
        """Of the path, or of the nearest thing around it."""
        for end in range(len(path), 0, -1):
            if path[:end] in self.marks:
                return self.marks[path[:end]]
        return Mark(self.line)

    def error(self, path: PathKey, message: str, remedy: str = "") -> BlueprintError:
        """An error at a path of this document."""
        return BlueprintError(message, file=self.file, line=self.mark(path).line, path=path_text(path), remedy=remedy)

    def place(self, path: PathKey = ()) -> str:
        """``file:line`` of a path."""
        return f"{self.file}:{self.mark(path).line}"


def path_text(path: PathKey) -> str:
    """``('files', 0, 'source')`` as ``files[0].source``."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def blueprint_files(directory: Path) -> list[Path]:
    """The files of a site in name order; BlueprintError if there is no such directory, no file or too many."""
    if not directory.is_dir():
        raise BlueprintError(
            "no such directory", file=str(directory), line=0, remedy="name the site's directory, or make one with sluice init"
        )
    found: list[Path] = []
    for root, directories, names in os.walk(directory):
        directories[:] = sorted(d for d in directories if not d.startswith(".") and d not in NOT_BLUEPRINTS)
        found += [Path(root, n) for n in names if n.endswith((".yaml", ".yml")) and not n.startswith(".")]
        if len(found) > FILES_MAX:
            raise BlueprintError(
                f"more than {FILES_MAX} blueprint files", file=str(directory), line=0, remedy="put several documents into a file"
            )
    if not found:
        raise BlueprintError("no blueprint here", file=str(directory), line=0, remedy="write a .yaml file, or make a site with sluice init")
    return sorted(found)


def read_documents(file: Path, name: str, errors: list[BlueprintError]) -> list[Document] | None:
    """The documents of one file; None where it can't be read as a whole.

    Args:
        file: What to read.
        name: What errors call it.
        errors: Receives every error found.
    """
    text = _text(file, name, errors)
    if text is None:
        return None
    before = len(errors)
    try:
        errors += _forbidden(text, name)
        if len(errors) > before:
            return None
        found = [d for node in yaml.compose_all(text, Loader=_Loader) if (d := _document(node, name, errors)) is not None]
    except yaml.YAMLError as e:
        errors.append(_syntax_error(e, text, name))
        return None
    return found


def _text(file: Path, name: str, errors: list[BlueprintError]) -> str | None:
    if not file.is_file():
        errors.append(BlueprintError("isn't a file", file=name, line=1, remedy="rename or remove it"))
        return None
    try:
        with file.open("rb") as f:
            content = f.read(FILE_MAX + 1)
    except OSError as e:
        errors.append(BlueprintError(f"can't be read ({e.strerror})", file=name, line=1, remedy="make it a readable file"))
        return None
    if len(content) > FILE_MAX:
        errors.append(BlueprintError("larger than 1 MiB", file=name, line=1, remedy="split it into several files"))
        return None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        line = content.count(b"\n", 0, e.start) + 1
        errors.append(BlueprintError("isn't UTF-8 text", file=name, line=line, remedy="save the file as UTF-8"))
        return None


def _forbidden(text: str, name: str) -> Iterator[BlueprintError]:
    """What a blueprint may not contain, found before anything is built of it."""
    depth = documents = 0
    for event in yaml.parse(text, Loader=_Loader):
        line = event.start_mark.line + 1 if event.start_mark is not None else 1
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > DOCUMENTS_MAX:
                yield BlueprintError(f"more than {DOCUMENTS_MAX} documents", file=name, line=line, remedy="split it into several files")
                return
        elif isinstance(event, yaml.AliasEvent):
            yield BlueprintError(
                f"*{event.anchor} is an alias", file=name, line=line, remedy="write the value out, or use a Defaults document"
            )
        elif isinstance(event, yaml.NodeEvent):
            if event.anchor is not None:
                yield BlueprintError(
                    f"&{event.anchor} is an anchor", file=name, line=line, remedy="leave it out; a Defaults document shares settings"
                )
            tag = getattr(event, "tag", None)
            if tag is not None:
                shown = tag.replace(_CORE, "!!")
                yield BlueprintError(
                    f"{shown} is a tag", file=name, line=line, remedy="leave it out; blueprints are plain text, numbers and lists"
                )
        if isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            depth += 1
            if depth > DEPTH_MAX:
                yield BlueprintError(
                    f"nested more than {DEPTH_MAX} deep", file=name, line=line, remedy="no setting is this deep: look for a stray bracket"
                )
                return
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            depth -= 1


def _syntax_error(error: yaml.YAMLError, text: str, name: str) -> BlueprintError:
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark is not None else 1
        problem = error.problem or "not YAML"
        if error.context:
            problem = f"{problem}, {error.context}"
            if error.context_mark is not None and error.context_mark.line + 1 != line:
                problem += f" begun on line {error.context_mark.line + 1}"
    else:
        position = getattr(error, "position", 0)
        line = text.count("\n", 0, position) + 1
        problem = getattr(error, "reason", "") or "not YAML"
    return BlueprintError(f"isn't YAML: {problem}", file=name, line=line, remedy="check indentation, quotes and brackets there")


def _document(node: yaml.Node, name: str, errors: list[BlueprintError]) -> Document | None:
    line = node.start_mark.line + 1
    if isinstance(node, yaml.ScalarNode) and node.tag == _CORE + "null":
        return None
    if not isinstance(node, yaml.MappingNode):
        errors.append(
            BlueprintError("a document is a list of key: value lines", file=name, line=line, remedy="begin it with kind: and name:")
        )
        return None
    document = Document(name, line, {})
    document.data = _mapping(node, (), document, errors)
    return document


def _mapping(node: yaml.MappingNode, path: PathKey, document: Document, errors: list[BlueprintError]) -> dict[str, object]:
    found: dict[str, object] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        here = path_text(path)
        if not isinstance(key_node, yaml.ScalarNode):
            errors.append(BlueprintError("a key must be a word", file=document.file, line=line, path=here, remedy="write key: value"))
            continue
        key = str(key_node.value)
        where = (*path, key)
        if key_node.tag == _CORE + "merge":
            errors.append(
                BlueprintError(
                    "<< is a merge key",
                    file=document.file,
                    line=line,
                    path=here,
                    remedy="write the settings out, or use a Defaults document",
                )
            )
            continue
        if key_node.tag != _CORE + "str":
            what = f"the key {key} isn't text but {_yaml_meaning(key_node)} in YAML"
            errors.append(BlueprintError(what, file=document.file, line=line, path=here, remedy=f'write "{key}"'))
            continue
        if key in found:
            first = document.marks[where].line
            what = f"written twice, first on line {first}"
            errors.append(BlueprintError(what, file=document.file, line=line, path=path_text(where), remedy="keep one of them"))
            continue
        document.marks[where] = Mark(line, _raw(value_node))
        found[key] = _value(value_node, where, document, errors)
    return found


def _value(node: yaml.Node, path: PathKey, document: Document, errors: list[BlueprintError]) -> object:
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, path, document, errors)
    if isinstance(node, yaml.SequenceNode):
        items: list[object] = []
        for index, item in enumerate(node.value):
            document.marks[(*path, index)] = Mark(item.start_mark.line + 1, _raw(item))
            items.append(_value(item, (*path, index), document, errors))
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
