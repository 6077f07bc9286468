"""``python -m analysis_lib``: the command line, which ``ui.command_line`` holds; make's are run by ``common.warm``."""

import sys

from analysis_lib.common.warm import run_warm
from analysis_lib.ui.interrupts import stop_with_make

if __name__ == "__main__":
    status = run_warm(sys.argv[1:], stop_with_make)
    if status is None:
        from analysis_lib.ui.command_line import main

        status = main()
    sys.exit(status)
