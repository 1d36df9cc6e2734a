"""``python -m veridnet`` is the ``veridnet`` command."""

import sys

from veridnet.cli import main

sys.exit(main())
