"""Recording where people train: a module that is named after a library needs it, and nothing else does.

* :mod:`aadsl.integrations.transformers`: ``Trainer(…, callbacks=[RecorderCallback("runs/name")])``, also with PEFT
* :mod:`aadsl.integrations.lightning`: ``Trainer(…, callbacks=[RecorderCallback("runs/name")])``

Accelerate needs no more than the recorder itself: give it the prepared model and optimizer, and announce each
micro-batch.
"""
