"""``python -m poc_lib``: see cli."""

import sys

from poc_lib.cli import main

sys.exit(main())
