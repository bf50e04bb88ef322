"""The workers: each is one class with `run_once(now_ms) -> counts`, safe to crash at any line and safe to run twice."""
