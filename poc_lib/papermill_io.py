"""Plain papermill's outputs below ``outputs/``: pyproject.toml registers this for them.

It would refuse a missing folder, and warn of every parameter of ours that is not in the notebook's own cell.
"""

import json
import logging
from pathlib import Path

from papermill.iorw import LocalHandler

from poc_lib.params import Params

START = Path.cwd()  # relative paths count from where papermill was started
UNKNOWN = "Passed unknown parameter: "


class RunFolderHandler(LocalHandler):
    """Papermill's own local files, but the output's folder is made, and a finished notebook exported."""

    def write(self, buf: str, path: str) -> None:
        target = START / path
        target.parent.mkdir(parents=True, exist_ok=True)
        super().write(buf, str(target))
        done = json.loads(buf)["metadata"].get("papermill", {})
        if done.get("end_time") and not done.get("exception"):
            from poc_lib.show.pages import export_notebook

            export_notebook(target)


logger, run_folder_handler = logging.getLogger("papermill"), RunFolderHandler()
logger.addFilter(lambda record: record.getMessage().removeprefix(UNKNOWN) not in Params.model_fields)
