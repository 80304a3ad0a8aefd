"""`python3 -m cit_format` from a checkout is the program cit-format."""

from .main import run

run()
