"""Real Valkey and real PostgreSQL from their wheels, for one machine: trying, testing, a small shop.

For anything bigger give the addresses of servers that are run for their own sake.
"""
