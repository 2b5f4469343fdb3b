"""Shards: a training step over parts of the batch's rows, which run at the same time."""
