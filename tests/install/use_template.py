"""What docs/plugin-author.md shows of the template's plugin, and that nothing is held afterwards."""

import array
import sys

import arraybridge

samples = array.array("f", [1, 2, 3])
references = sys.getrefcount(samples)
shared = arraybridge.convert(samples, "numpy")
shared[0] = 9
assert samples == array.array("f", [9, 2, 3]), samples
assert arraybridge.convert(shared[::-1], "array") == array.array("f", [3, 2, 9])
assert arraybridge.detect_memory_type(samples) == "array"
try:
    arraybridge.convert(shared.reshape(1, 3), "array")
    raise SystemExit("a 2-d array became an array.array")
except arraybridge.MemoryConversionError:
    pass
del shared
arraybridge.drain()
assert sys.getrefcount(samples) == references
