"""A seeded world around the real engine: virtual time, crashes, lost replies, a store thrown back. One integer replays
a world. Read `world.py` first."""
