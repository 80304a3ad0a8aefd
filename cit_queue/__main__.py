"""`python3 -m cit_queue` from a checkout is the program cit-queue."""

from .main import run

run()
