"""The recorded run joined with the model, the loss and the data that made it."""
