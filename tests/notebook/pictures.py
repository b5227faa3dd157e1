"""Draws the pictures of jupyter_ext/README.md: a real run in a real JupyterLab, in both themes.

python -m tests.notebook.pictures      (or: make pictures)
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat

from tests.notebook.lab import Notebook, browser_page, chromium, end_kernels, running_lab

ROOT = Path(__file__).parents[2]
PICTURES = ROOT / "jupyter_ext" / "pictures"
SETUP = f"""\
import sys; sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "tutorials")!r}]
from pathlib import Path
import torch, demo
torch.set_num_threads(1)
given = demo.material()
train, test, triggered, loss_fn = given.train, given.test, given.triggered, demo.loss_fn
net = demo.train(Path("runs/first"), given)
%load_ext aadsl"""
NAMES = """\
%%aascore
load "runs/first" with model=net, loss=loss_fn, data=train
stage poisoned = batches where tag=="badnet"
stage mislabeled = batches where tag=="shifted"
stages window every 20 steps
behavior backdoor = log_likelihood(target=7) on triggered
behavior reading = accuracy on test
behavior digits = log_likelihood on test"""
CELLS = {
    "score": "%%aascore\nscore poisoned, mislabeled on backdoor, reading\nplot bars",
    "explorer": "%%aascore --explore\nscore poisoned, mislabeled on backdoor, digits",
    "trust": "%%aascore\nscore window on digits using first_order()",
    "check": "%%aascore\ncheck digits\nexplain score window on digits using retraining()",
    "shares": "%%aascore\nshares poisoned, mislabeled on backdoor, reading\nplot waterfall",
}
"""What is asked in each picture, by its name."""


def main() -> None:
    """Run the cells, and take a picture of each in both themes."""
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        root, data = Path(folder, "work"), Path(folder, "lab")
        root.mkdir()
        # The extension of this working tree, not one that is installed: with all words of the language.
        subprocess.run([sys.executable, ROOT / "jupyter_ext" / "lab" / "build.py"], check=True)
        shutil.copytree(ROOT / "jupyter_ext" / "labextension", data / "jupyter_data_dir" / "labextensions" / "aadsl")
        cells = [nbformat.v4.new_code_cell(source) for source in (SETUP, NAMES, *CELLS.values())]
        kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
        nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), root / "pictures.ipynb")
        with running_lab(root, data) as address, browser_page(chromium()) as page:
            page.set_viewport_size({"width": 1150, "height": 1900})
            book = Notebook(page, address).open("pictures.ipynb")
            book.run_all()
            page.wait_for_selector(".aadsl-explorer canvas")
            book.brush(20)
            page.get_by_text("exact, by retraining").first.wait_for()  # it follows the brush by itself
            for theme in ("Light", "Dark"):
                book.theme(theme)
                for place, name in enumerate(CELLS, start=2):
                    cell = page.locator(".jp-Notebook .jp-CodeCell").nth(place)
                    cell.scroll_into_view_if_needed()
                    page.wait_for_timeout(1000)
                    shown = cell.locator(".aadsl-explorer") if name == "explorer" else cell
                    shown.screenshot(path=PICTURES / f"{name}-{theme.lower()}.png")
            end_kernels(address)


if __name__ == "__main__":
    main()
