"""`python3 -m cit_report` from a checkout is the program cit-report."""

from .main import run

run()
