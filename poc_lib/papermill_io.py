"""Let papermill write into a run folder that does not exist yet.

Papermill refuses an output path in a missing folder. This handler, registered in pyproject.toml for paths
that begin with ``outputs/``, makes the folder first, so that a new run needs no mkdir.
"""

import os
from pathlib import Path

from papermill.iorw import LocalHandler


class RunFolderHandler(LocalHandler):
    """Papermill's own local files, but the output's folder is made."""

    def write(self, buf: str, path: str) -> None:
        Path(self._cwd or ".", path).parent.mkdir(parents=True, exist_ok=True)
        super().write(buf, path)


run_folder_handler = RunFolderHandler()
run_folder_handler.cwd(os.getcwd())  # relative paths count from where papermill was started
