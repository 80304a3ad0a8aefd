"""What every test may count on: bytecode is cached, no setting of the caller's cit is inherited, bin/ leads PATH."""

from __future__ import annotations

import os
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent

sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
for name in [name for name in os.environ if name.startswith("CIT_")]:
    del os.environ[name]
os.environ["PATH"] = os.pathsep.join([str(CHECKOUT / "bin"), os.path.dirname(sys.executable), os.environ["PATH"]])
