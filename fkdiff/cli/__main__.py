"""`python -m fkdiff.cli` is `fkdiff`."""

import sys

from fkdiff.cli.main import main

sys.exit(main())
