"""Situations of real training runs, each tried against a plain loop; ``python -m tests.situations`` prints them all."""
