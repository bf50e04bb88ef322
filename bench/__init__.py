"""Measures Doorbuster against its targets and against what a user could have instead. Read next: `__main__.py`."""
