"""Write a new site (``sluice init``) with one of each document, commented, that runs as it is. The repository's ``blueprints/`` is one."""

from __future__ import annotations

import secrets
from importlib.resources import files
from pathlib import Path

from sluice.blueprint.read.files import is_blueprint
from sluice.blueprint.read.site_id import SITE_ID

PAYLOAD = {
    "files/greeting/welcome.txt": "Sluice put this file here.\n",
    ".gitignore": "# State of Distributor and agents when the site runs as it is, and private keys.\n/var/\n/keys/\n",
}
"""The file that the site distributes, and the list of files to keep out of version control."""


def site_files() -> dict[str, str]:
    """Map the path of every file of a new site to its text."""
    templates = files("sluice.blueprint.templates")
    documents = {entry.name: entry.read_text("utf-8") for entry in templates.iterdir() if entry.name.endswith(".yaml")}
    return dict(sorted((documents | PAYLOAD).items()))


def in_the_way(directory: Path) -> str:
    """Return the name of a file for which no new site can be written there; empty if there is none.

    Files of a new site that nobody edited are none: an ``init`` that was interrupted can be repeated.
    """
    texts = site_files()
    taken = [path for path in texts if (directory / path).exists() and not _has_text(directory / path, texts[path])]
    if directory.is_dir():
        taken += [path.name for path in sorted(directory.iterdir()) if is_blueprint(path.name) and path.name not in texts]
    return taken[0] if taken else ""


def init_site(directory: Path) -> list[Path]:
    """Write a new site, or those of its files that are missing.

    Args:
        directory: Created if it doesn't exist; nothing in it is replaced. Nothing is ``in_the_way``.
    Returns:
        The files written.
    """
    made = {SITE_ID: f"{secrets.token_hex(16)}\n", **site_files()}
    wanted = {directory / path: text for path, text in made.items() if not (directory / path).exists()}
    for target, text in wanted.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        unfinished = target.with_name(f".{target.name}.new")  # so that each file is there whole or not at all
        unfinished.write_text(text, encoding="utf-8")
        unfinished.rename(target)
    return list(wanted)


def _has_text(path: Path, text: str) -> bool:
    return path.is_file() and path.read_bytes() == text.encode()
