"""What plain papermill needs of us; registered in pyproject.toml for paths that begin with ``outputs/``.

It refuses an output in a missing folder: the folder is made. It warns of every parameter that is not in the
notebook's own cell: any parameter of ours may be set. And when a notebook is done, its page is written.
"""

import json
import logging
import os
from pathlib import Path

from papermill.iorw import LocalHandler

from poc_lib.params import Params


class RunFolderHandler(LocalHandler):
    """Papermill's own local files, but the output's folder is made, and a finished notebook exported."""

    def write(self, buf: str, path: str) -> None:
        target = Path(self._cwd or ".", path)
        target.parent.mkdir(parents=True, exist_ok=True)
        super().write(buf, path)
        done = json.loads(buf)["metadata"].get("papermill", {})
        if done.get("end_time") and not done.get("exception"):
            from poc_lib.show import export_page, export_report

            if target.stem == "report" and (target.parent / "run.json").is_file():
                export_report(target.parent)
            else:
                export_page(target, target.parent / "pages" / f"{target.stem}.html")


def _is_no_parameter_of_ours(record: logging.LogRecord) -> bool:
    name = record.getMessage().removeprefix("Passed unknown parameter: ")
    return name not in Params.model_fields


logging.getLogger("papermill").addFilter(_is_no_parameter_of_ours)
run_folder_handler = RunFolderHandler()
run_folder_handler.cwd(os.getcwd())  # relative paths count from where papermill was started
