"""Whether anything is lost when the world does its worst: ``python -m tests.soak [minutes] [seed]``."""
