"""The work of ``fit``: its loop, who watches it, and checkpoints to go on from."""
