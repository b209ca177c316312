"""Build revisions, sign them, withdraw what left the site, and notify people of the last revisions."""
