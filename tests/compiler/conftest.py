"""Makes ``verify_graph`` known to the tests in the folders beneath."""
