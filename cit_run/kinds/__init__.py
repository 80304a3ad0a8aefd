"""Who runs the jobs of a build account, where that is not cit-run itself: one module for each kind (docs/stages/run.md, Kinds).

Imports nothing: alone.py, the bare process beside a job, is part of this package.
"""
