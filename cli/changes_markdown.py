"""Write the changes of an apply as Markdown, for a comment on the change of the blueprints that makes them.

Names and texts come from whoever proposes that change. They stand in a block of code, in which nothing is a link, a mention or HTML, and
whose fence is longer than any in them; what isn't printable is escaped. Deletions come first, so that no text before them, however long,
has them left out.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from cli.changes_text import changes_text
from sluice.errors import escaped
from sluice.rules.wording import counted

if TYPE_CHECKING:
    from infra.orchestrator.changes import Changes

MAX_BYTES = 60_000
"""A comment of GitHub's takes 65,536 characters, one of GitLab's more."""
_MARKS = {"create": "+", "update": "!", "delete": "-"}
"""What colours a line in a block of the language diff."""


def changes_markdown(changes: Changes, digest: str) -> str:
    """Write what would be changed, old -> new for each field, in at most ``MAX_BYTES`` of UTF-8; it says how many lines are left out."""
    others = tuple(change for change in changes.changes if change not in changes.deletions)
    *lines, numbers = changes_text(replace(changes, changes=(*changes.deletions, *others)), done=False).split("\n")
    shown, room = list[str](), MAX_BYTES - 1000
    for line in lines:
        marked = f"{_MARKS.get(line.split(' ')[0], ' ')} {escaped(line)}"
        room -= len(marked.encode()) + 1 + 2 * marked.count("`")  # each may make both fences longer
        if room < 0:
            break
        shown.append(marked)
    fence = "`" * (1 + max((len(run) for run in re.findall("`{2,}", "\n".join(shown))), default=2))
    parts = [f"### Sluice: {numbers}"]
    if shown:
        parts.append("\n".join([f"{fence}diff", *shown, fence]))
    if left_out := len(lines) - len(shown):
        parts.append(f"**{counted(left_out, 'more line')} left out: the job's log has them, and so has `sluice plan`.**")
    if changes:
        parts.append(f"Plan `{digest}`")
    return "\n\n".join(parts) + "\n"
