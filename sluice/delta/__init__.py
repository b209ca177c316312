"""Deltas: new contents made from old ones, in groups that bound memory on both sides (docs/formats.md section 4).

Rules: the same inputs give the same bytes; applying trusts no figure that wasn't signed. ``make.py`` and the modules that it imports run
at the Distributor; an agent needs only ``apply.py`` and ``patch.py``. Left out: the bytes of frames, index and recipe (``formats/ted``)."""
