"""A real JupyterLab in a real browser that cannot reach the internet."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import wraps
from pathlib import Path

LIMIT = 180
"""Seconds after which what is waited for will not come, however slow the machine is."""
DIGITS = 0.006
"""How far, relatively, a number that is shown with three digits may be from the one that is meant."""
# What notebooks begin with, no more than they use: PyTorch alone takes a new kernel seconds.
WITH_LANGUAGE = "%load_ext aadsl"
WITH_CHARTS = f"""import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from tests.charts.answers import answer
from aadsl.charts import CHARTS
{WITH_LANGUAGE}"""
WITH_RUNS = f"""{WITH_CHARTS}
from tests.digits import images_and_labels, loss_fn, network
digits, net = images_and_labels(), network()
test = (digits[0][:20], digits[1][:20])"""
METADATA = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
SCREENSHOTS = Path(__file__).parents[2] / "screenshots"
FLAGS = [
    "--no-sandbox",
    "--headless",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# Moves of the brush: the milliseconds that each takes to reach the page, and how many changed the numbers by the very
# next frame.
BRUSH = """async moves => {
  const canvas = document.querySelector('.aadsl-explorer canvas'), box = canvas.getBoundingClientRect();
  const shown = document.querySelector('.aadsl-effects');
  const fire = (kind, x) => canvas.dispatchEvent(new PointerEvent(kind,
    { clientX: box.left + x, clientY: box.top + 50, pointerId: 1, bubbles: true }));
  canvas.setPointerCapture = () => {};
  fire('pointerdown', 200);
  const taken = []; let before = shown.textContent, changes = 0;
  for (let k = 1; k <= moves; k++) {
    const start = performance.now();
    fire('pointermove', 200 + 500 * k / moves);
    await new Promise(done => requestAnimationFrame(() => setTimeout(done)));
    taken.push(performance.now() - start);
    if (shown.textContent !== before) changes += 1;
    before = shown.textContent;
  }
  fire('pointerup', 700);
  fire('pointerleave', 700);
  return [taken, changes];
}"""
PACKAGES = ("chromium", "fonts-dejavu-core")
SETTINGS = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "completer-extension/manager": {"providerTimeout": 1000 * LIMIT},  # a slow kernel's proposals are waited for, too
}


def chromium() -> str:
    """Return the browser's path, or an empty string; as root on Debian it is installed when missing."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        for command in (["apt-get", "update", "-qq"], ["apt-get", "install", "-y", "-qq", *PACKAGES]):
            environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
            with suppress(subprocess.TimeoutExpired):
                subprocess.run(command, check=False, env=environment, capture_output=True, timeout=600)
        found = shutil.which("chromium")
    return found or ""


def apart(test):
    """Let a test start a browser of its own in another thread: that which others share has the loop of this one."""

    @wraps(test)
    def alone(*given, **fixtures):
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(test, *given, **fixtures).result()

    return alone


def number(shown: str) -> float:
    """Return the number that a cell of the explorer begins with."""
    return float(shown.split()[0].replace("−", "-"))


def until(condition, pause=time.sleep):
    """Wait until ``condition()`` is true, and return what it gave; ``pause(seconds)`` in between."""
    end = time.monotonic() + LIMIT
    while not (found := condition()):
        assert time.monotonic() < end, f"waited {LIMIT} seconds in vain"
        pause(0.1)
    return found


@contextmanager
def running_lab(root: Path, data: Path):
    """Serve ``root`` from a JupyterLab on loopback with a configuration of its own; yield its address."""
    folders = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    own = {name: str(data / name.lower()) for name in folders}
    own |= {f"JUPYTERLAB_{name}_DIR": str(data / name.lower()) for name in ("SETTINGS", "WORKSPACES")}
    own["JUPYTER_PREFER_ENV_PATH"] = "0"  # the extension of this working tree goes before an installed one
    for name, settings in SETTINGS.items():
        file = data / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(settings))
    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root", "--ServerApp.port_retries=0"]
    command += ["--ip=127.0.0.1", "--IdentityProvider.token=", "--ServerApp.disable_check_xsrf=True"]
    command += ["--LabApp.expose_app_in_browser=True", f"--ServerApp.root_dir={root}"]
    for _ in range(5):  # another program may take the port before the server does
        port = _free_port()
        address = f"http://127.0.0.1:{port}"
        with (data / "lab.log").open("w") as log:
            server = subprocess.Popen([*command, f"--port={port}"], env={**os.environ, **own}, stdout=log, stderr=log)
        try:
            # Where the port is another's, somebody answers there, too: a server that has one says so in a file.
            told = data / "jupyter_runtime_dir" / f"jpserver-{server.pid}.json"
            until(lambda s=server, t=told, a=address: s.poll() is not None or (t.exists() and _answers(a)))
            if server.poll() is None:
                yield address
                return
        finally:
            _end(server)
    raise RuntimeError((data / "lab.log").read_text())


def _answers(address: str) -> bool:
    try:
        urllib.request.urlopen(f"{address}/api/status", timeout=LIMIT).close()
    except OSError:
        return False
    return True


def _end(server: subprocess.Popen) -> None:
    server.terminate()
    try:
        server.wait(LIMIT)
    except subprocess.TimeoutExpired:
        server.kill()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def end_kernels(address: str) -> None:
    """End every kernel of the server at ``address``."""
    with urllib.request.urlopen(f"{address}/api/sessions") as reply:
        sessions = json.load(reply)
    for session in sessions:
        urllib.request.urlopen(urllib.request.Request(f"{address}/api/sessions/{session['id']}", method="DELETE"))


@contextmanager
def browser_page(executable: str):
    """Yield a page on which every request but loopback's is aborted and noted in ``page.aborted``."""
    from playwright.sync_api import expect, sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=executable, args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 1400})
        page.aborted = []

        def gate(route):
            if route.request.url.startswith(("http://127.0.0.1", "data:", "blob:", "file:")):
                route.continue_()
            else:
                page.aborted.append(route.request.url)
                route.abort()

        page.route("**/*", gate)
        page.set_default_timeout(1000 * LIMIT)
        expect.set_options(timeout=1000 * LIMIT)
        yield page
        browser.close()


class Notebook:
    """What a person does with one notebook in JupyterLab."""

    def __init__(self, page, address: str):
        self.page, self.address = page, address

    def open(self, name: str):
        self.page.goto(f"{self.address}/doc/tree/{name}?reset")
        self.page.wait_for_selector(".jp-Notebook")
        self.page.wait_for_function("window.jupyterapp !== undefined")
        return self

    def execute(self, command: str, **arguments):
        return self.page.evaluate(
            "([name, args]) => window.jupyterapp.commands.execute(name, args).then(() => null)", [command, arguments]
        )

    def theme(self, name: str):
        self.execute("apputils:change-theme", theme=f"JupyterLab {name}")
        light = "true" if name == "Light" else "false"
        self.page.wait_for_selector(f"body[data-jp-theme-light={light}]", state="attached")

    def run_all(self):
        self.page.wait_for_function(
            "window.jupyterapp.shell.currentWidget.sessionContext.session?.kernel?.status === 'idle'"
        )
        self.execute("notebook:run-all-cells")
        idle = (
            "() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.status === 'idle' && "
            "!Array.from(document.querySelectorAll('.jp-InputPrompt')).some(p => p.textContent.includes('[*]'))"
        )
        self.page.wait_for_function(idle)

    def brush(self, moves: int) -> tuple[list[float], int]:
        """Drag over an explorer; return each move's milliseconds to the page, and how many moves changed numbers."""
        taken, changes = self.page.evaluate(BRUSH, moves)
        return taken, changes

    def start_cell(self, source: str):
        """Add a cell at the end, start it, and return it."""
        self.page.locator(".jp-Notebook .jp-CodeCell").last.locator(".cm-content").click()
        self.execute("notebook:insert-cell-below")
        self.execute("notebook:replace-selection", text=source)
        self.page.evaluate("() => void window.jupyterapp.commands.execute('notebook:run-cell')")  # not waited for
        return self.page.locator(".jp-Notebook .jp-CodeCell").last

    def run_cell(self, source: str) -> str:
        """Add a cell at the end, run it, and return what it prints."""
        cell = self.start_cell(source)
        cell.locator(".jp-InputPrompt", has_text=re.compile(r"\[\d+\]")).wait_for()
        return "\n".join(cell.locator(".jp-OutputArea-output").all_inner_texts()).strip()

    def save(self, path: Path):
        """Save the notebook, and wait until its file at ``path`` is written."""
        before = path.stat().st_mtime_ns
        self.execute("docmanager:save")
        # The page's requests pass through this process, so it may not sleep meanwhile.
        until(lambda: path.stat().st_mtime_ns != before, lambda seconds: self.page.wait_for_timeout(1000 * seconds))

    def picture(self, name: str, **options):
        """Take a picture, where there is a folder for them."""
        if SCREENSHOTS.is_dir():
            self.page.wait_for_timeout(300)
            self.page.screenshot(path=SCREENSHOTS / f"{name}.png", **options)

    def both_themes(self, name: str):
        for theme in ("Dark", "Light") if SCREENSHOTS.is_dir() else ():
            self.theme(theme)
            self.picture(f"{name}-{theme.lower()}")
