"""Measure feedzone beside other programs; `python -m bench limiters` compares rate limiters.

The other modules measure one part each: `python -m bench.deliveries`, and so on (docs/benchmarks.md).
"""

from __future__ import annotations

import sys

from . import compare, limiters

if __name__ == "__main__":
    if sys.argv[1:2] == ["limiters"]:
        limiters.main(sys.argv[2:])
    else:
        sys.exit(compare.main(sys.argv[1:]))
