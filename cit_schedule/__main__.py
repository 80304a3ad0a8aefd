"""`python3 -m cit_schedule` from a checkout is the program cit-schedule."""

from .main import run

run()
