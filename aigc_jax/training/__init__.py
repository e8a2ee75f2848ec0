"""One trainer for every method: placement, loop, checkpoints, run folder, guards, report."""
