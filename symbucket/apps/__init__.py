"""Ready programs over the library, which the command line and the examples start."""
