"""The bytes of a trajectory: sealed netCDF files, and what lies in each."""
