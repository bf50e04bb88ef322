"""Properties are checked with a fresh choice of examples each time; nothing is written to disk."""

from hypothesis import settings

settings.register_profile("domain", database=None, deadline=None, max_examples=100)
settings.load_profile("domain")
