"""Valkey: the fast filter, reached by one shared connection per server.

Owns: everything that knows Valkey. Knows the port (`engine/ports.py`); no other part of the engine.
Read next: `store.py`, then `functions/take.lua`.
"""
