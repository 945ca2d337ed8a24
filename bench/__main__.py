"""All benches, one after the other: medians and ratios of one run.

`python -m bench limiters` takes minutes, and so runs only when it is named.
"""

from __future__ import annotations

import sys

from . import deliveries, limiters, pages, stream_blob

if sys.argv[1:2] == ["limiters"]:
    limiters.main(sys.argv[2:])
    sys.exit(0)

print("# deliveries (bench/deliveries.py)")
deliveries.main()
print("\n# streams (bench/stream_blob.py)")
stream_blob.main()
print("\n# pages (bench/pages.py)")
pages.main()
