"""What is imported when; each looked at in a fresh interpreter."""

import subprocess
import sys

# Prints which packages loading the extension imports, apart from Python's own.
LOAD = """
import sys
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
before = {*sys.modules}
shell.run_line_magic("load_ext", "aadsl")
print(*{name.split(".")[0] for name in {*sys.modules} - before} - sys.stdlib_module_names)
"""


def python(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600, check=True)
    return done.stdout.strip().splitlines()[-1]


def test_importing_the_package_loads_no_notebook():
    heavy = "altair", "ipywidgets", "IPython", "anywidget", "torch", "xarray"
    assert python(f"import sys, aadsl; print([name for name in {heavy!r} if name in sys.modules])") == "[]"


def test_loading_leaves_charts_widgets_and_torch_for_later():
    """``python -m tests.benchmarks.waiting`` says how long it takes."""
    small = {"IPython", "jupyter_core", "platformdirs", "numpy"}
    assert set(python(LOAD).split()) - small == {"aadsl", "jupyter_ext"}
