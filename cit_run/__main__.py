"""`python3 -m cit_run` from a checkout is the program cit-run."""

from .main import run

run()
