"""Crowds over real HTTP: who comes when and does what, drawn from a seed; what they saw, measured honestly."""
