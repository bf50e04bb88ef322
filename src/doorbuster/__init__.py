"""Doorbuster: a flash-sale engine that sells exactly what it has."""

__version__ = "0.1.0"
