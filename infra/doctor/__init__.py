"""Observe a site for ``sluice doctor``, one file for each part. Nothing is changed; ``sluice/rules/diagnosis.py`` judges the findings."""
