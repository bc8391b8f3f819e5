"""Bridges to other libraries, a file for each: PyTorch's parameters, Flax's cells."""
