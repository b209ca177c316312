"""``sluice ted show FILE``: show the contents of a ``.ted`` file's index (docs/formats.md section 4)."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.session import emit, json_option, out
from cli.tables import pairs, size
from sluice.rules.wording import counted

if TYPE_CHECKING:
    from sluice.formats.ted.index import TedIndex

_NOT_WHOLE = (
    "name a whole .ted file: `sluice revisions NAME` prints the paths; if a Distributor keeps this one, run: sluice store verify --repair"
)


@click.group()
def ted() -> None:
    """Inspect .ted files."""


@ted.command("show")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--verify", is_flag=True, help="Read the whole file and check every block.")
@json_option
def ted_show(file: Path, verify: bool, as_json: bool) -> None:
    """Show the revision, base, sizes and digest of a .ted file.

    The file's own data is shown: only a Subscriber, or `sluice revisions`, compares it with what was signed.
    """
    found = described(file, verify=verify)
    if as_json:
        emit(found)
        return
    out(
        pairs(
            [
                ("Distribution", found["distribution"]),
                ("revision", found["revision"]),
                ("base", found["base"] or "none: it contains everything"),
                ("file", f"{size(found['bytes'])} ({found['bytes']} B)"),
                (
                    "payload",
                    f"{size(found['payload'])} in {counted(found['frames'], 'frame')} and {counted(found['blocks'], 'block')} of 1 MiB",
                ),
                *([("delta", _delta(found["delta"]))] if found["delta"] else []),
                *((kind["kind"], _kind(kind)) for kind in found["kinds"] if found["delta"]),
                ("contents", f"{size(found['plain'])} uncompressed"),
                ("encryption", found["encryption"] or "none"),
                ("index SHA-256", f"{found['index_sha256']}  (what is signed)"),
                ("blocks", "each has its digest" if found["verified"] else "not read; --verify checks them"),
            ]
        )
    )


def _delta(delta: dict[str, Any]) -> str:
    of = "small groups, zstd alone" if delta["small"] else "any groups"
    return f"{of}; recipe of {size(delta['recipe'])}, {size(delta['recipe_plain'])} uncompressed"


def _kind(kind: dict[str, Any]) -> str:
    made_from = f" from {size(kind['reference'])} of old contents" if kind["reference"] else ""
    return f"{counted(kind['frames'], 'frame')}, {size(kind['payload'])}, make {size(kind['plain'])}{made_from}"


def _kinds(index: TedIndex) -> list[dict[str, Any]]:
    """Sum up by kind of frame and by the codec of patches; the largest first."""
    found: dict[str, dict[str, Any]] = {}
    for frame in index.frames:
        kind = f"{frame.kind.value} {frame.codec}".strip()
        sums = found.setdefault(kind, {"kind": kind, "frames": 0, "payload": 0, "plain": 0, "reference": 0})
        for key, number in (("frames", 1), ("payload", frame.length), ("plain", frame.plain), ("reference", frame.reference)):
            sums[key] += number
    return sorted(found.values(), key=lambda sums: (-sums["plain"], sums["kind"]))


def described(file: Path, *, verify: bool = False) -> dict[str, Any]:
    """Make the JSON of ``ted show``. Raises StoreCorruptError, NotFoundError, StoreError."""
    from sluice.errors import NotFoundError, StoreCorruptError, StoreError
    from sluice.formats.ted.file import open_ted, verify_payload

    try:
        index, data = open_ted(file)
        if verify:
            verify_payload(file)
        length = file.stat().st_size
    except StoreCorruptError as error:  # its remedy is for a file of the store; this may be any file
        raise StoreCorruptError(error.message, remedy=_NOT_WHOLE) from error
    except (FileNotFoundError, IsADirectoryError) as error:
        raise NotFoundError(f"there is no file {file}", remedy="`sluice revisions NAME` prints the paths") from error
    except OSError as error:
        raise StoreError(f"{file} cannot be read: {error.strerror}", remedy="check its permissions and its disk") from error
    return {
        "file": str(file.absolute()),
        "distribution": index.distribution,
        "revision": str(index.revision),
        "base": None if index.base is None else str(index.base),
        "encryption": None,
        "bytes": length,
        "payload": index.payload,
        "plain": index.plain,
        "frames": len(index.frames),
        "kinds": _kinds(index),
        "delta": {"small": index.small, "recipe": index.recipe[0], "recipe_plain": index.recipe[1]} if index.recipe else None,
        "blocks": len(index.blocks),
        "index_sha256": hashlib.sha256(data).hexdigest(),
        "verified": verify,
    }
