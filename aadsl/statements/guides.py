"""What ``help`` says about what is no statement: how far numbers can be trusted, and the explorer."""

from __future__ import annotations

TRUST = """\
How far can a number be trusted? Evidence alone decides, and each number says which it has.

  high    exact (trained again without the stage) and above twice the noise; or an estimate whose 90% interval, from
          exact answers, lies within 15% of it
  medium  an estimate whose 90% interval excludes zero
  low     all else; an estimate that was compared with nothing is never more

To learn more:
  check BEHAVIOR                                      compares estimates of 15 single steps with exact replays
  score STAGE on BEHAVIOR using retraining()          the exact answer
  score STAGE on BEHAVIOR using auto(within="5 min")  exact as far as five minutes go, intervals for the rest
  verify STAGES on BEHAVIOR                           an estimator beside the truth
  verify trajectory                                   is the recording what happened?
Before any of these, `explain` says how long it takes."""

EXPLORER = """\
The explorer is a timeline to drag over: it sums the effects of the steps that you select while you drag, and trains
again without them for the exact answer. In a notebook, on the first line of a cell that asks a question:

  %%aascore --explore
  score STAGES on BEHAVIOR

or, of the newest answer, `%aascore explore`; of a result, `result.explore()`. Legend, stages, conditions and arrow keys
select, too; the wheel zooms; the examples of the selected steps stand below. A stage made there is put into a cell in
this language. `save "report.html"` writes a page with a timeline to drag over, for readers without a kernel."""

GUIDES = {"trust": TRUST, "explorer": EXPLORER}
"""The texts by their topics."""
