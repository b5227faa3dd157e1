"""Stands before the package of this name, from which jsonschema compiles 38 grammars of addresses as it is imported.

Altair imports jsonschema, and neither needs these: where there is no such package, jsonschema goes on without. In each
process of the tests that draws a chart, every kernel among them, this saves 1.3 seconds of computing.
"""

raise ImportError("not in the tests")
