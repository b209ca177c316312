"""Which Sluice this is. Said in ``hello`` by both ends; a test keeps it equal to the project file."""

VERSION = "0.1.0"
