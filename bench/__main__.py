"""All benches, one after the other: medians and ratios of one run."""

from __future__ import annotations

from . import intake, pages, stream_blob

print("# deliveries (bench/intake.py)")
intake.main()
print("\n# streams (bench/stream_blob.py)")
stream_blob.main()
print("\n# pages (bench/pages.py)")
pages.main()
