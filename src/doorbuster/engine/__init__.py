"""Use cases, and the ports they need. Knows no product: neither Valkey nor PostgreSQL nor HTTP."""
