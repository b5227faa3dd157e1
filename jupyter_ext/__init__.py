"""The notebook: ``%load_ext aadsl`` gives ``%%aascore`` cells, their completion, display and progress.

This package translates between the notebook and ``aadsl``; it computes nothing.
"""

from __future__ import annotations

from typing import Any


def load_ipython_extension(shell: Any) -> None:
    """Add the magics, the completion and the displays to ``shell``. Loading twice changes nothing."""
    from jupyter_ext import completion, display, inspection
    from jupyter_ext.magic import AascoreMagics

    if "aascore" not in shell.magics_manager.magics["cell"]:
        magics = AascoreMagics(shell)
        shell.register_magics(magics)
        completion.register(shell, magics.current_session, magics.names)
    display.register(shell)
    inspection.register(shell)


def unload_ipython_extension(shell: Any) -> None:
    """Take away everything that loading added; the session's stages and behaviors go with it."""
    from jupyter_ext import completion, display, inspection

    for kind in ("cell", "line"):
        shell.magics_manager.magics[kind].pop("aascore", None)
    shell.magics_manager.registry.pop("AascoreMagics", None)
    display.unregister(shell)
    completion.unregister(shell)
    inspection.unregister(shell)
