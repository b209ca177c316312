"""What is said of an action where anybody may read it."""

from __future__ import annotations

from sluice.model.action import Script, ScriptType


def test_a_label_says_nothing_of_a_scripts_text() -> None:
    assert Script(ScriptType.SHELL, "none", run="curl -u admin:hunter2 https://db\n").label == "script (shell)"


def test_a_label_names_the_path_of_a_script_that_is_a_file() -> None:
    assert Script(ScriptType.PYTHON, "none", path="/opt/restart.py").label == "script (python): /opt/restart.py"
