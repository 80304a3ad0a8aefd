"""`python3 -m cit_trigger` from a checkout is the program cit-trigger."""

from .main import run

run()
