"""Recurrent networks and backpropagation through time, as pure functions."""

__version__ = "0.1.0"
