"""Tests of contexts for CUDA without a GPU: the real provider over a device that computes nothing.

``nox -s cuda`` runs them. They show on which device every node of a model lies, which copies and
waits a step has, and that host code never touches memory of the device. Numbers they cannot show.
"""
