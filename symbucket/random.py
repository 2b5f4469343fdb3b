"""Random numbers by MXNet's names (``mx.random``), and the one seed of the library.

What ``symbucket.seeding`` explains holds for all of them: until :func:`seed` is called the seed is
0, so a program repeats exactly from run to run.
"""

from symbucket.seeding import generator, next_stream, seed, stream

__all__ = ["generator", "next_stream", "seed", "stream"]
