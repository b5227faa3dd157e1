"""What is imported when, and how long it takes; each measured in a fresh interpreter."""

import subprocess
import sys

LOAD = """
import time, sys
{before}
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
start = time.perf_counter()
shell.run_line_magic("load_ext", "aadsl")
print(time.perf_counter() - start)
"""


def python(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    return done.stdout.strip().splitlines()[-1]


def fastest(before, times=3):
    return min(float(python(LOAD.format(before=before))) for _ in range(times))


def test_importing_the_package_loads_no_notebook():
    heavy = "altair", "ipywidgets", "IPython", "anywidget", "torch", "xarray"
    assert python(f"import sys, aadsl; print([name for name in {heavy!r} if name in sys.modules])") == "[]"


def test_loading_is_quick_where_torch_is_there():
    assert fastest("import torch") < 0.5


def test_loading_is_quick_cold():
    assert fastest("", times=2) < 3


def test_loading_leaves_charts_and_widgets_for_later():
    code = LOAD.format(before="") + "print([n for n in ('altair', 'anywidget', 'torch', 'lark') if n in sys.modules])"
    assert python(code) == "[]"
