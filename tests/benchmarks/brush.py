"""How long a move of the explorer's brush takes to reach the numbers on the page, in a real browser.

``python -m tests.benchmarks.brush [--steps N]`` opens such an answer in JupyterLab and prints milliseconds.
A browser draws 60 times a second, so nothing is faster than 17 ms.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

import nbformat

from tests.notebook import lab

MOVES = 50
CELL = """from jupyter_ext.explorer import explore
explore(answer(steps={steps}, behaviors=("backdoor", "digits")))"""


def main(steps: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root, data = Path(folder, "notebooks"), Path(folder, "jupyter")
        root.mkdir()
        data.mkdir()
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        book = nbformat.v4.new_notebook(metadata={"kernelspec": kernel})
        book.cells = [nbformat.v4.new_code_cell(source) for source in (lab.WITH_CHARTS, CELL.format(steps=steps))]
        nbformat.write(book, root / "brush.ipynb")
        with lab.running_lab(root, data) as address, lab.browser_page(lab.chromium()) as page:
            notebook = lab.Notebook(page, address).open("brush.ipynb")
            notebook.run_all()
            page.wait_for_selector(".aadsl-explorer canvas")
            page.wait_for_timeout(2000)
            print(f"{steps:,} steps, milliseconds from a move of the brush to the numbers, of {MOVES} moves:")
            report("the sums alone", notebook)
            page.get_by_text("The steps one by one").click()
            report("the steps listed", notebook)
            page.get_by_role("button", name="loss", exact=True).click()
            report("the steps listed by loss", notebook)
            notebook.picture("brush")


def report(what: str, notebook: lab.Notebook) -> None:
    notebook.page.get_by_role("button", name="Select all").click()
    taken, changes = notebook.brush(MOVES)
    print(f"  {what:<26} median {statistics.median(taken):5.0f}   worst {max(taken):5.0f}   ({changes} moves in time)")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=100_000)
    main(parser.parse_args().steps)
