"""In-memory stores: the oracle that the real ones are compared with, and the ground of the simulated worlds.

They implement the ports of `engine/ports.py` as its docstrings say, in the shortest way that can be read, and pass the
same conformance suite as Valkey and PostgreSQL. No method waits between looking and writing, so each is atomic.
Read `stock.py`, then `ledger.py`.
"""
