"""Examples, whatever holds them, and what is known of each."""
