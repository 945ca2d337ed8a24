"""Run all benchmarks and print medians and ratios.

The comparison of limiters takes minutes and runs only on request: `python -m bench limiters`.
"""

from __future__ import annotations

import sys

from . import intake, limiters, pages, stream_blob

if sys.argv[1:2] == ["limiters"]:
    limiters.main(sys.argv[2:])
    sys.exit(0)

print("# deliveries (bench/intake.py)")
intake.main()
print("\n# streams (bench/stream_blob.py)")
stream_blob.main()
print("\n# pages (bench/pages.py)")
pages.main()
