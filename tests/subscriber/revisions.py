"""Revisions made from real trees, without a Distributor: manifest and ``.ted`` bytes, as its store would have them."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from blake3 import blake3

from sluice.formats.manifest.document import manifest_bytes
from sluice.formats.ted.file import TedWriter, needed_contents
from sluice.formats.ted.frame import FRAME_MAX
from sluice.formats.ted.index import TedIndex
from sluice.formats.zstd import compress_frame
from sluice.model.action import Action
from sluice.model.manifest import Destination, Entry, EntryKind, Manifest
from sluice.model.revision import RevisionNumber
from sluice.ports import TedFile
from sluice.trust.roles import delta_name


@dataclass(frozen=True)
class Made:
    """One revision: what a send needs."""

    manifest: Manifest
    manifest_bytes: bytes
    ted: bytes
    index: TedIndex
    index_bytes: bytes
    contents: Mapping[str, bytes] = field(default_factory=dict)
    """Of its trees, by digest."""

    @property
    def payload(self) -> bytes:
        return self.ted[8 : 8 + self.index.payload]

    @property
    def file(self) -> str:
        return delta_name(self.index.base, self.index.small) if self.index.base else "distfile.ted"

    def ted_file(self, directory: Path) -> TedFile:
        """On disk, as the store hands it to the sender."""
        path = directory / f"{self.manifest.revision}-{self.file}"
        path.write_bytes(self.ted)
        return TedFile(self.manifest.revision, self.index.base, str(path), self.file, self.index_bytes, self.index.payload)


def entries_of(top: Path) -> tuple[Entry, ...]:
    """A tree, or a single file, as manifest entries."""

    def entry(path: Path, name: str) -> Entry:
        status = path.lstat()
        mode, mtime = stat.S_IMODE(status.st_mode), status.st_mtime_ns
        if path.is_symlink():
            return Entry(EntryKind.SYMLINK, name, 0o777, 0, target=os.readlink(path))
        if path.is_dir():
            return Entry(EntryKind.DIRECTORY, name, mode, mtime)
        data = path.read_bytes()
        return Entry(EntryKind.FILE, name, mode, mtime, len(data), blake3(data).hexdigest())

    found = [entry(top, "")]
    if top.is_dir():
        found += [entry(path, str(path.relative_to(top))) for path in top.rglob("*")]
    return tuple(sorted(found, key=lambda each: each.path.encode()))


def contents_of(*tops: Path) -> dict[str, bytes]:
    """Every content below, by digest."""
    files = [path for top in tops for path in ([top] if top.is_file() else top.rglob("*")) if path.is_file() and not path.is_symlink()]
    return {blake3(data).hexdigest(): data for data in (path.read_bytes() for path in files)}


def make(
    revision: str,
    *tops: Path,
    distribution: str = "zone",
    base: Made | None = None,
    pre: Sequence[Action] = (),
    post: Sequence[Action] = (),
    frame: int = FRAME_MAX,
    copy: str = "differing",
    rollback: bool = True,
    verify: bool = False,
    max_revisions: int | None = 10,
    synchronize: str = "no",
) -> Made:
    """The revision that has these trees, whole or for holders of ``base``."""
    destinations = tuple(Destination(f"{{{{ DEST{n} }}}}", top.is_dir(), entries_of(top), synchronize) for n, top in enumerate(tops))
    number = RevisionNumber.parse(revision)
    manifest = Manifest(
        distribution,
        number,
        "file",
        destinations,
        tuple(pre),
        tuple(post),
        copy=copy,
        rollback=rollback,
        verify=verify,
        max_revisions=max_revisions,
    )
    return made(manifest, contents_of(*tops), base=base.manifest if base else None, frame=frame)


def made(manifest: Manifest, contents: dict[str, bytes], *, base: Manifest | None = None, frame: int = FRAME_MAX) -> Made:
    """Of a manifest and its contents."""
    out = io.BytesIO()
    writer = TedWriter(out.write, distribution=manifest.distribution, revision=manifest.revision, base=base.revision if base else None)
    plain = b"".join(contents[digest] for digest, _ in needed_contents(manifest, base))
    for at in range(0, len(plain), frame):
        piece = plain[at : at + frame]
        writer.frame(compress_frame(piece), len(piece))
    index, data = writer.finish()
    return Made(manifest, manifest_bytes(manifest), out.getvalue(), index, data, contents)


def tree_of(top: Path) -> dict[str, tuple[object, ...]]:
    """What stands below a path, to compare: kind, mode, time, content."""
    found: dict[str, tuple[object, ...]] = {}
    for path in [top, *sorted(top.rglob("*"))] if top.exists() or top.is_symlink() else []:
        status = path.lstat()
        name = str(path.relative_to(top))
        if path.is_symlink():
            found[name] = ("link", os.readlink(path))
        elif path.is_dir():
            found[name] = ("directory", stat.S_IMODE(status.st_mode), status.st_mtime_ns)
        else:
            found[name] = ("file", stat.S_IMODE(status.st_mode), status.st_mtime_ns, path.read_bytes())
    return found


def placed_in(found: dict[str, tuple[object, ...]], *stood: str) -> dict[str, tuple[object, ...]]:
    """A tree without the directories that stood before, which keep their own modes and times."""
    return {name: each for name, each in found.items() if name not in (stood or (".",))}
