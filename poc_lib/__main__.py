"""``python -m poc_lib``: see cli."""

from poc_lib.cli import main

raise SystemExit(main())
