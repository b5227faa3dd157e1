"""Follows a training loop and writes what it sees."""
