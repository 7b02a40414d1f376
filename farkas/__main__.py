"""`python -m farkas`: the command line, for a checkout without installed scripts."""

import sys

from farkas.cli import main

if __name__ == "__main__":
    sys.exit(main())
