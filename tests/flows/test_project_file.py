"""prefect.yaml and the other generated files, as they are committed."""

import re
from pathlib import Path

import pytest

from infra.generate import PROJECT, generated, main

FILES = generated(PROJECT)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_generated_file_is_up_to_date(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == FILES[path], "run python -m infra.generate"


def test_the_project_file_names_no_path_and_no_host() -> None:
    text = FILES[PROJECT / "prefect.yaml"]
    assert not re.search(r'["\s]/(?!/)\w', text)
    assert "://" not in text


def test_check_names_the_files_that_are_not_up_to_date(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check"]) == 0
    monkeypatch.setattr("infra.generate.project_file", lambda _: "name: other\n")
    assert main(["--check"]) == 1
    assert "prefect.yaml isn't up to date" in capsys.readouterr().out
