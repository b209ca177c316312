"""prefect.yaml and the other generated files, as they are committed."""

import re

import pytest

from infra.generate import PROJECT, main
from infra.orchestrator.server_schema import SCHEMA_FILE


def test_the_project_file_names_no_path_and_no_host() -> None:
    text = (PROJECT / "prefect.yaml").read_text(encoding="utf-8")
    assert not re.search(r'["\s]/(?!/)\w', text)
    assert "://" not in text


@pytest.mark.slow
def test_check_names_the_files_that_are_not_up_to_date(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check"]) == 0, "run python -m infra.generate"
    monkeypatch.setattr("infra.generate.project_file", lambda _: "name: other\n")
    monkeypatch.setattr("infra.generate.migrated_schema", lambda: SCHEMA_FILE.read_text(encoding="utf-8"))
    assert main(["--check"]) == 1
    assert "prefect.yaml isn't up to date" in capsys.readouterr().out
