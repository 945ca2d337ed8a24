"""`python -m sim`: see docs/simulation.md."""

import sys

from .runner import main

sys.exit(main())
