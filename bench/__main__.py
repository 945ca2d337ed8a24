"""Run all benchmarks and print medians and ratios.

Three take minutes and run only on request: `python -m bench limiters`, `bench.at_size` and `bench.ingest`
(docs/benchmarks.md).
"""

from __future__ import annotations

import sys

from . import deliveries, limiters, pages, starving, stream_codec, webhook, work

if sys.argv[1:2] == ["limiters"]:
    limiters.main(sys.argv[2:])
    sys.exit(0)

print("# deliveries (bench/deliveries.py)")
deliveries.main()
print("\n# webhook (bench/webhook.py)")
webhook.main()
print("\n# strangers (bench/starving.py)")
starving.main()
print("\n# work (bench/work.py)")
work.main()
print("\n# streams (bench/stream_codec.py)")
stream_codec.main()
print("\n# pages (bench/pages.py)")
pages.main()
