"""The notebooks in a real JupyterLab, driven in a browser with every cell queued at once, as Run All does."""

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import time

import psutil
import pytest

from poc_lib.measure.experiment import run_all
from poc_lib.params import PROJECT_ROOT, validate_params
from poc_lib.runs import list_runs, read_events
from tests.demo_kit import demo
from tests.lean import LEAN, is_measuring

sync_api = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")
CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
pytestmark = pytest.mark.skipif(not os.path.exists(CHROMIUM), reason="needs /usr/bin/chromium")
WAIT_S = 240
VERDICT = "vllm-mlx at 8 in flight is"
PROMPTS = "[...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')].map(cell => cell.textContent)"
ERRORS = ", ".join(f"[data-mime-type='application/vnd.jupyter.{kind}']" for kind in ("stderr", "error"))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """The notebooks, in each of which the one line is edited that names the params file of a quick run."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copytree(PROJECT_ROOT / "notebooks", folder / "notebooks", ignore=shutil.ignore_patterns(".*"))
    (folder / "outputs").mkdir()
    (folder / "outputs" / "demo-data").symlink_to(demo().database.parent.parent)
    (folder / "lean.yaml").write_text(json.dumps(LEAN | {"outputs_dir": str(folder / "outputs")}))
    for path in (folder / "notebooks").glob("*.ipynb"):
        source, line = path.read_text(encoding="utf-8"), r"params_file: str = \"\""
        assert line in source
        source = source.replace(line, rf"params_file: str = \"{folder / 'lean.yaml'}\"")
        path.write_text(source, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def lab(root, tmp_path_factory):
    """The address of a JupyterLab on a free port, rooted at the project; no kernel outlives it."""
    home = tmp_path_factory.mktemp("home")
    settings = home / "settings" / "@jupyterlab" / "notebook-extension" / "tracker.jupyterlab-settings"
    settings.parent.mkdir(parents=True)
    settings.write_text('{"windowingMode": "none"}')  # every cell is on the page, not only those in sight
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1"]
    command += ["--port=0", f"--ServerApp.root_dir={root}", f"--LabApp.user_settings_dir={home / 'settings'}"]
    with (home / "log").open("w") as log:
        environment = os.environ | {"HOME": str(home)}
        server = subprocess.Popen(command, cwd=root, env=environment, stdout=log, stderr=log)
    try:
        address = r"http://127\.0\.0\.1:[1-9]\d*/lab\?token=\w+"
        while not (found := re.search(address, (home / "log").read_text())):
            assert server.poll() is None, (home / "log").read_text()
            time.sleep(0.1)
        yield found[0]
    finally:
        started = psutil.Process(server.pid).children(recursive=True)
        server.terminate()
        server.wait()
        _, left = psutil.wait_procs(started, timeout=30)
        for process in left:
            process.kill()
    assert not left


@pytest.fixture(scope="module")
def page(lab):
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(WAIT_S * 1000)
        yield page
        browser.close()


def open_notebook(page, lab, name):
    page.goto(lab.replace("/lab?", f"/lab/tree/notebooks/{name}.ipynb?reset&"))
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()


def choose(page, menu, command):
    page.locator(f"#jp-MainMenu .lm-MenuBar-itemLabel:text-is('{menu}')").click()
    page.locator(f".lm-Menu li[data-command='{command}']").click()


def queue_all_cells(page):
    choose(page, "Run", "runmenu:run-all")
    page.wait_for_function(f"{PROMPTS}.includes('[*]:')")


def wait_for_the_end(page):
    """Wait until no cell is queued any more; the errors that are shown."""
    page.wait_for_function(f"!{PROMPTS}.includes('[*]:')")
    return page.locator(ERRORS).all_text_contents()


def run_all_cells(page):
    queue_all_cells(page)
    assert wait_for_the_end(page) == []
    assert all(re.fullmatch(r"\[\d+\]:", prompt) for prompt in page.evaluate(PROMPTS))


def test_setup_check_runs_to_its_end_and_says_ready(page, lab):
    open_notebook(page, lab, "setup_check")
    run_all_cells(page)
    assert page.get_by_text(re.compile("^READY")).count()


def test_the_benchmark_is_interrupted_in_one_line_goes_on_and_ends_in_a_verdict(page, lab, root):
    open_notebook(page, lab, "benchmark")
    queue_all_cells(page)
    while not any(is_measuring(run.folder, sitting=0) for run in list_runs(root / "outputs")):
        assert "[*]:" in page.evaluate(PROMPTS)
        page.wait_for_timeout(20)
    choose(page, "Kernel", "kernelmenu:interrupt")
    (error,) = wait_for_the_end(page)
    assert re.fullmatch(r"stopped after \d+ requests of this sitting; .* go on\s*", error)
    run_all_cells(page)
    (run,) = list_runs(root / "outputs")
    assert page.get_by_text(f"continuing run {run.run_id}, which was not finished").count() == 1
    assert page.get_by_text(VERDICT).count()
    sittings = [event["sitting"] for event in read_events(run) if event["event"] == "sitting_started"]
    assert (sittings, read_events(run)[-1]["event"]) == ([0, 1], "finished")


@pytest.mark.parametrize("name", ["accuracy", "report"])
def test_what_reads_a_run_runs_to_its_end_and_shows_the_verdict(page, lab, root, name):
    if not list_runs(root / "outputs"):  # this test runs alone
        values = json.loads((root / "lean.yaml").read_text())
        asyncio.run(run_all(validate_params(values | {"run_id": "run"})))
    open_notebook(page, lab, name)
    run_all_cells(page)
    assert page.get_by_text(VERDICT).count()
