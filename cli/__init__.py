"""The sluice command, one file per noun; Prefect is imported late."""

from cli.surroundings import settle

settle()
