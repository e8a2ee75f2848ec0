"""`python -m aigc_jax ...` is the command `aigc ...`."""

import sys

from aigc_jax.cli import main

if __name__ == "__main__":
    sys.exit(main())
