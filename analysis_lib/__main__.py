"""``python -m analysis_lib``: the command line, which ``ui.command_line`` holds."""

import sys

from analysis_lib.ui.command_line import main

if __name__ == "__main__":
    sys.exit(main())
