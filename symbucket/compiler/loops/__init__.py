"""Recurrences as loops: equal steps become a Scan, or the operator LSTM; factors are hoisted."""
