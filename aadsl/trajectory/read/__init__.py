"""Opens what was recorded, and says what is wrong with it."""
