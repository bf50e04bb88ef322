"""The only wiring of the real world: which adapters a gate and a worker are made of."""
