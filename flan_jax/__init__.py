"""Instruction tuning, native to JAX and TPU."""

__version__ = '0.1.0'
