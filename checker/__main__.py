"""`python -m farkas.checker`: the check from the command line."""

import sys

from farkas.checker.check import main

if __name__ == "__main__":
    sys.exit(main())
