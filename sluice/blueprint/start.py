"""Write a new site (``sluice init``) with one of each document, commented, that runs as it is. The repository's ``blueprints/`` is one."""

from __future__ import annotations

import secrets
from importlib.resources import files
from pathlib import Path

from sluice.blueprint.read.site_id import SITE_ID
from sluice.errors import BlueprintError

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


def init_site(directory: Path) -> list[Path]:
    """Write a new site.

    Args:
        directory: Created if it doesn't exist; nothing in it is replaced.
    Returns:
        The files written.
    Raises:
        BlueprintError: The directory has blueprints already, or one of the files.
    """
    wanted = {SITE_ID: f"{secrets.token_hex(16)}\n", **site_files()}
    taken = [path for path in wanted if (directory / path).exists()]
    taken += [p.name for p in sorted(directory.glob("*.y*ml"))] if directory.is_dir() else []
    if taken:
        raise BlueprintError(
            f"the directory already contains {taken[0]}",
            file=str(directory),
            line=0,
            remedy="name a new directory, or add to this one by hand",
        )
    for path, text in wanted.items():
        target = directory / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("x", encoding="utf-8") as file:
            file.write(text)
    return [directory / path for path in wanted]
