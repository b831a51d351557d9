"""`python -m tests.fuzz`: see tests/fuzz/watch.py."""

import sys

from tests.fuzz.watch import main

if __name__ == "__main__":
    sys.exit(main())
