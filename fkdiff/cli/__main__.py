"""`python -m fkdiff.cli` is `fkdiff`."""

import sys

from fkdiff.cli._main import main

sys.exit(main())
