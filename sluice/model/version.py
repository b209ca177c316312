"""The version of Sluice. Both ends send it in ``hello``; a test keeps it equal to the project file."""

VERSION = "0.1.0"
