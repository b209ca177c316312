"""What a build says of itself in the run's log."""

from __future__ import annotations

from sluice.distributor.build.build import BuildResult
from sluice.model.revision import RevisionNumber
from sluice.rules.wording import unmatched_text
from tasks.build_revision import described


def test_a_build_tells_the_new_content_once_however_many_files_were_made_to_send_it() -> None:
    built = BuildResult("zone", RevisionNumber(1, 2), RevisionNumber(1, 1), True, 1, 1, 0, 3000, bytes_new=2048, files_read=1, modified=1)
    assert described(built) == "zone 1.2: 1 file, 2.9 KiB, 1 read; 0 added, 1 modified, 0 removed; 2 KiB of new content"


def test_excludes_that_matched_nothing_are_told_by_name_and_source() -> None:
    found = (("/srv/a", r"a\\x.mount"), ("/srv/b", "*.tmp"))
    assert unmatched_text(found) == r"exclude 'a\\x.mount' of /srv/a matches nothing; exclude '*.tmp' of /srv/b matches nothing"
