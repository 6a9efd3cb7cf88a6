"""``python -m pynst``."""

import sys

from pynst.cli import main

sys.exit(main())
