"""The version of cit: every room's pyproject reads it here, and bin/cit repeats it (tests/rules keeps the two equal)."""

VERSION = "0.1.0"
