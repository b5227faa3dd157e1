"""Over the wire: a real kernel, saved notebooks and exported pages."""

from pathlib import Path

import nbformat
import pytest
from jupyter_client.manager import start_new_kernel
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbconvert import HTMLExporter

from tests.notebook.lab import LIMIT, until

ROOT = Path(__file__).parents[2]
MIME = "application/vnd.vegalite.v5+json"

SETUP = """
import sys, time, torch
sys.path.insert(0, {root!r})
from tests.digits import images_and_labels, loss_fn, network
digits, net = images_and_labels(), network()
test = (digits[0][:20], digits[1][:20])
%load_ext aadsl
"""
ASK = """%%aascore --out r
load "{path}" with model=net, loss=loss_fn, data=digits, device="cpu"
stage b = steps where tag == "b"
behavior seven = log_likelihood(target=7) on test
score b on seven
plot timeline
"""
# Says that it has come to step 20, in the middle of a sweep, and stays there.
ENDLESS = """
late = digits[0][200:210]
def endless_loss(model, batch):
    if torch.equal(batch[0], late):
        open({begun!r}, "w").close()
        while True:
            time.sleep(0.1)
    return loss_fn(model, batch)
"""


def setup():
    return SETUP.format(root=str(ROOT))


def ask(recorded):
    return ASK.format(path=recorded.path)


@pytest.fixture(scope="module")
def kernel():
    manager, client = start_new_kernel(startup_timeout=LIMIT)
    run(client, setup())
    yield client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def run(client, code):
    options = {"stop_on_error": False}  # a kernel that stops for a mistake drops what it is asked meanwhile
    return client.execute_interactive(code, timeout=LIMIT, output_hook=lambda message: None, **options)["content"]


def complete(client, code):
    reply = client.complete(code, len(code), reply=True, timeout=LIMIT)["content"]
    return reply["matches"], code[reply["cursor_start"] : reply["cursor_end"]]


def inspect(client, code):
    return client.inspect(code, len(code), reply=True, timeout=LIMIT)["content"]


def test_help_on_a_call_over_the_wire(kernel):
    reply = inspect(kernel, "%%aascore\nscore b on seven using linearized(")
    assert reply["found"]
    assert "linearized(" in reply["data"]["text/plain"]
    assert "read" in reply["data"]["text/plain"]
    assert not inspect(kernel, "%%aascore\nscore b on ")["found"]
    assert "print(" in inspect(kernel, "print(")["data"]["text/plain"]
    run(kernel, "%unload_ext aadsl")
    assert not inspect(kernel, "%%aascore\nscore b on seven using linearized(")["found"]
    run(kernel, "%load_ext aadsl")
    assert inspect(kernel, "%aascore score b on seven using linearized(")["found"]


def test_completion_over_the_wire(kernel):
    matches, replaced = complete(kernel, "%%aascore\nstage x = st")
    assert (matches, replaced) == (["steps"], "st")
    assert complete(kernel, "%%aascore --expl")[0] == ["--explore", "--explain"]
    matches, _ = complete(kernel, "%%aascore\nbehavior x = log")
    assert matches[0].startswith("log_likelihood")
    assert "digits" in complete(kernel, "%%aascore\nbehavior x = margin on ")[0]
    assert "print" in complete(kernel, "prin")[0]


def test_mistakes_arrive_as_a_caret_without_frames(kernel):
    reply = run(kernel, "%%aascore\nscore a on")
    assert reply["status"] == "error"
    assert "Traceback" not in "\n".join(reply["traceback"])
    assert any(set(line.strip()) == {"^"} for line in reply["traceback"])


def test_interrupting_keeps_the_notebook_usable(kernel, recorded, tmp_path):
    begun = tmp_path / "begun"
    run(kernel, ENDLESS.format(begun=str(begun)))
    assert run(kernel, ask(recorded))["status"] == "ok"  # everything is imported: no import is torn apart
    done = []
    program = ask(recorded).replace("loss=loss_fn", "loss=endless_loss")
    message = kernel.execute(program, stop_on_error=False)
    until(begun.exists)
    kernel.parent.interrupt_kernel()
    while not done:
        reply = kernel.get_shell_msg(timeout=LIMIT)
        if reply["parent_header"].get("msg_id") == message:
            done.append(reply["content"])
    assert done[0]["ename"] == "Interrupted"
    assert "run the cell again to go on" in done[0]["evalue"]
    assert "Traceback" not in "\n".join(done[0]["traceback"])
    again = run(kernel, ask(recorded))
    assert again["status"] == "ok", again


@pytest.fixture(scope="module")
def executed(recorded):
    cells = [nbformat.v4.new_code_cell(source) for source in (setup(), ask(recorded), "%%aascore\nscore b on seven")]
    notebook = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(notebook, timeout=LIMIT, startup_timeout=LIMIT, kernel_name="python3").execute()
    return notebook


def test_saved_notebook_holds_chart_picture_and_text(executed):
    outputs = executed.cells[1].outputs
    (chart,) = [output for output in outputs if MIME in output.get("data", {})]
    assert set(chart.data) == {MIME, "image/png", "text/plain"}
    assert "widgets" not in executed.metadata
    assert len(nbformat.writes(executed)) < 400_000


def test_exported_page_shows_the_picture_and_the_table(executed):
    page, _ = HTMLExporter().from_notebook_node(executed)
    (picture,) = [o.data["image/png"] for o in executed.cells[1].outputs if "image/png" in o.get("data", {})]
    assert f"data:image/png;base64,{picture.strip()}" in page.replace("\n", "")
    assert "<table" in page


def test_a_mistake_stops_run_all():
    cells = [nbformat.v4.new_code_cell(source) for source in ("%load_ext aadsl", "%%aascore\nscore a on b", "1")]
    notebook = nbformat.v4.new_notebook(cells=cells)
    with pytest.raises(CellExecutionError):
        NotebookClient(notebook, timeout=LIMIT, startup_timeout=LIMIT, kernel_name="python3").execute()
    assert notebook.cells[2].execution_count is None
