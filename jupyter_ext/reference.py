"""The language on one screen, as ``%%aascore?`` shows it."""

from __future__ import annotations

from pathlib import Path

from jupyter_core.paths import jupyter_path

from jupyter_ext.options import HELP

NO_EXTENSION = (
    "The colors of %%aascore cells and tables that sort are missing, because aadsl was installed without Node.js. All "
    "else works. To get them, install Node.js and install aadsl again."
)

PROGRAM = """\
load "runs/badnet" with model=net, loss=loss_fn, data=train     # a recorded run; or: load study
#   … as first, then: load "runs/other" with … as second          # runs beside each other, asked together
stage poisoned  = batches where tag == "badnet"                 # any set of steps
stage warmup    = steps[0:100]                                  # Python slices; -200: counts from the end
stage rest      = not poisoned and not warmup
stages source by tag                                            # a family: source[badnet], source[clean], …
stages window every 50 steps within rest
behavior backdoor = log_likelihood(target=7) on triggered       # names of the notebook
behavior digits = log_likelihood on test where label in [4, 9] by label
score steps[30:50], (poisoned and not warmup) on backdoor       # steps may stand for a stage
score poisoned, source on backdoor                              # effect = with the stage − without it
verify poisoned on backdoor under skip()                        # estimate beside retraining
check backdoor                                                  # how far are estimates of single steps off?
verify trajectory                                               # is the recording what happened?
rank steps on backdoor top 10
shares source on backdoor                                       # parts of what all do together, which add up
examples of poisoned on backdoor top 5                          # the training examples that did most
plot timeline of backdoor by source
explain score source on digits                                  # what would be computed and what it costs
save "scores.nc"                                                # or .csv, .parquet; the chart: .svg, .png
save "report.html"                                              # a page to hand on: question, numbers, charts, trust
save "clean.safetensors" without poisoned                       # the model as it would be without the stage
help score"""


def reference() -> str:
    """Return the text of ``%%aascore?``: what the magic is for, its options, every statement once."""
    width = max(map(len, HELP)) + 2
    options = "\n".join(f"    {name:{width}}{words}" for name, words in HELP.items())
    program = "\n".join(f"    {line}" for line in PROGRAM.splitlines())
    missing = "" if _has_extension() else f"\n{NO_EXTENSION}\n"
    return (
        "Ask which stage of its training made a model behave as it does.\n\n"
        "%%aascore [options] runs the statements of the cell; %aascore runs one statement. Stages, behaviors and the "
        "last answer live on to the next cell.\n\n"
        f"Options:\n\n{options}\n\nEvery statement, by example:\n\n{program}\n{missing}"
    )


def _has_extension() -> bool:
    return any(Path(folder).is_dir() for folder in jupyter_path("labextensions", "aadsl"))
