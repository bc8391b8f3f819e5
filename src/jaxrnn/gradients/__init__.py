"""Gradient estimators: how credit flows back (or forward) through time, as values."""
