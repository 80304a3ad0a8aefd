"""The second half of .stage: `python -E .stage.py cit-run ARGS...` runs ROOM.main:run of this checkout as cit-run.

The checkout takes the place of this folder at the head of the module path, so no file beside the caller is ever imported.
Exits as the program does; 78 with a hint where a dependency is not installed. Page: docs/decisions/layout.md.
"""

import gc
import sys
from importlib import import_module
from os.path import abspath, dirname

SECOND = {"cit-deliver": "cit_schedule.deliver", "cit-sync": "cit_run.sync"}  # the rooms' other programs

gc.disable()  # until the program starts: loading modules makes no garbage, and looking for it takes a tenth of the start
checkout = dirname(dirname(abspath(__file__)))
sys.path[0] = checkout
program = sys.argv[1]
sys.argv[:2] = [program]
try:
    module = import_module(SECOND.get(program) or f"cit_{program[4:]}.main")
except ModuleNotFoundError as error:
    if (error.name or "").startswith("cit_"):
        raise
    sys.stderr.write(f"{program}: error: {sys.executable} has no module {error.name}\n")
    sys.stderr.write(f"hint: {checkout}/bin/cit-setup installs what cit needs into {checkout}/.venv\n")
    sys.exit(78)
module.run()
