"""Make the terminal's screenshots for docs/terminal.md, out of a real run of the demo's site: ``python -m demo.screenshots``.

One host is down while the others are sent a large file. All files but the pictures are in a
temporary directory, whose name is short enough for a picture.
"""

from __future__ import annotations

import io
import random
import re
import tempfile
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from rich.text import Text

from demo import releases
from demo.__main__ import DISTRIBUTION, LATE, Demo
from demo.screen import Screen, Terminal

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
LARGE = 600
"""MiB of the large file: enough to be seen on its way."""


class Screenshots(Demo):
    """One run of it."""

    def take(self) -> None:
        """Take all pictures."""
        with ExitStack() as stack:
            self._prepare(stack)
            up, _ = self._start_prefect(stack)
            self.narrator.wait_until("Prefect answers", lambda: up.has_printed("Prefect: "))
            self._bootstrap()
            releases.replace_tree(self.released[releases.RELEASES[0]], self.source)
            self.narrator.run("distribute", DISTRIBUTION)
            blueprint = self.site / "timezones.yaml"
            text = blueprint.read_text().replace('at: "22:00"', 'at: "23:15"').replace("priority: high", "priority: high\neffort: fast")
            blueprint.write_text(text)
            releases.replace_tree(self.released[releases.RELEASES[1]], self.source)
            self.narrator.run("build", DISTRIBUTION)
            self._shot("plan", "plan")
            self.hosts[LATE].stop()
            self._shot("doctor", "doctor")
            made = random.Random(1)  # it doesn't compress
            (self.source / "large").write_bytes(b"".join(made.randbytes(1 << 20) for _ in range(LARGE)))
            sending = self._typed("distribute", DISTRIBUTION)
            screen = sending.wait_for(lambda screen: re.search(r"sending +\d+ %.* left.*of 3 done", screen.text, re.DOTALL) is not None)
            _save("send", f"sluice distribute {DISTRIBUTION}", screen)
            self._shot("status", "status")
            self.hosts[LATE].start()
            sending.end()

    def _typed(self, *words: str) -> Terminal:
        environment = self.narrator.environment | {"TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}
        environment.pop("CI", None)
        return Terminal([self.narrator.command, *words], columns=100, rows=24, environment=environment)

    def _shot(self, name: str, *words: str) -> None:
        terminal = self._typed(*words)
        terminal.end()
        _save(name, f"sluice {' '.join(words)}", terminal.screen)


def _save(name: str, title: str, screen: Screen) -> None:
    console = Console(record=True, width=screen.columns, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(Text.from_ansi(screen.coloured))
    IMAGES.mkdir(exist_ok=True)
    svg = console.export_svg(title=title, unique_id=f"sluice-{name}")
    # A picture in the documentation loads nothing from elsewhere.
    (IMAGES / f"terminal-{name}.svg").write_text(re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="demo-") as made:
        (Path(made) / "releases").mkdir()
        Screenshots(Path(made), keep=False).take()
