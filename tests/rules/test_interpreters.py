"""What a ``#!`` line names, and whether it fits a script's type."""

from __future__ import annotations

import pytest

from sluice.model.action import ScriptType
from sluice.rules.interpreters import foreign_interpreter, interpreter


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("#!/bin/sh\necho", "sh"),
        ("#! /usr/bin/perl -w", "perl"),
        ("#!/usr/bin/env python3\nprint()", "python3"),
        ("#!/usr/bin/env -S LANG=C python3 -I", "python3"),
        ("#!/usr/bin/env", ""),
        ("#!", ""),
        ("echo '#!/bin/sh'", ""),
        (" #!/bin/sh", ""),
        ("", ""),
        ("#!/opt/" + "x" * 300, "x" * 249),
    ],
)
def test_the_name_in_a_first_line(text: str, expected: str) -> None:
    assert interpreter(text) == expected


@pytest.mark.parametrize(
    ("type_", "line", "foreign"),
    [
        (ScriptType.SHELL, "#!/bin/bash", ""),
        (ScriptType.SHELL, "#!/usr/bin/fish", "fish"),
        (ScriptType.PYTHON, "#!/usr/bin/python3.11", ""),
        (ScriptType.PYTHON, "#!/usr/bin/pythonista", "pythonista"),
        (ScriptType.PERL, "#!/usr/bin/perl5.36", ""),
        (ScriptType.PERL, "#!/bin/sh", "sh"),
        (ScriptType.PERL, "print 1", ""),
    ],
)
def test_a_line_fits_its_type_or_names_who_else(type_: ScriptType, line: str, foreign: str) -> None:
    assert foreign_interpreter(type_, line) == foreign
