"""No file of the project is so long that a reader loses the overview."""

from pathlib import Path

PROJECT = Path(__file__).parents[2]
ROOMS = ("agents", "bench", "cli", "demo", "flows", "infra", "sluice", "tasks")
LINES_MAX = 300


def test_no_file_outside_tests_is_above_three_hundred_lines() -> None:
    files = [file for room in ROOMS for file in (PROJECT / room).rglob("*.py")]
    lengths = {str(file.relative_to(PROJECT)): len(file.read_text(encoding="utf-8").splitlines()) for file in files}
    assert "sluice/errors.py" in lengths
    assert {name: length for name, length in lengths.items() if length > LINES_MAX} == {}
