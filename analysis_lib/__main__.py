"""``python -m analysis_lib``: the command line, which ``ui.command_line`` holds; make's are run by ``common.warm``."""

import os
import sys

if sys.flags.hash_randomization:  # an order of sets that differs between runs
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | {"PYTHONHASHSEED": "0"})

from analysis_lib.common.warm import run_warm
from analysis_lib.ui.interrupts import stop_with_make

if __name__ == "__main__":
    status = run_warm(sys.argv[1:], stop_with_make)
    if status is None:
        from analysis_lib.ui.command_line import main

        status = main()
    sys.exit(status)
