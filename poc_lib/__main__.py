"""``python -m poc_lib``: see poc_lib.cli."""

import sys

from poc_lib.cli import main

if __name__ == "__main__":
    sys.exit(main())
