"""What everything else stands on: errors, names, units, the state of a run. It imports no other layer."""
