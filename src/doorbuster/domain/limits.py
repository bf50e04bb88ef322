"""Every bound of the engine, in one place, with its owner and its reason.

Owns: the numbers. Keeps: the relations between them, checked when this file is imported.
Read next: `outcomes.py` (what is said when a bound is met).
"""

from typing import Final

# What an operator may ask for.
QUANTITY_MAX: Final = 10_000_000
"""Units in one sale. Every unit is a row in PostgreSQL sooner or later; ten million rows are still one index deep."""
PRICE_CENTS_MAX: Final = 99_999_999_99
"""Ninety-nine million in major units: above what card networks accept, below any integer trouble."""
PER_USER_LIMIT_MAX: Final = 1_000
TITLE_LENGTH_MAX: Final = 200
PRODUCT_ID_LENGTH_MAX: Final = 200
REASON_LENGTH_MAX: Final = 500
CHECKOUT_TTL_SECONDS_DEFAULT: Final = 600
CHECKOUT_TTL_SECONDS_MIN: Final = 1
CHECKOUT_TTL_SECONDS_MAX: Final = 86_400
SALE_WINDOW_SECONDS_MAX: Final = 31 * 86_400
"""A flash sale lasts minutes; a month is a mistyped date."""
PAYMENT_ATTEMPTS_DEFAULT: Final = 3
PAYMENT_ATTEMPTS_MAX: Final = 20
LAPSED_HOLDS_DEFAULT: Final = 2
LAPSED_HOLDS_MAX: Final = 1_000
EXTENSION_SECONDS_MAX: Final = 600
"""By how much a hold may go on in all because its payment could not begin or is not done: bounded, and always shown."""
STANDBY_LIMIT_MAX: Final = 100_000_000
CLAIM_WINDOW_SECONDS_MIN: Final = 5
"""Shorter than a far-away buyer's next poll would take units from people who are there."""
BEACON_ROUND_MAX: Final = 2**53
BLOCKLIST_CHUNK: Final = 10_000
"""Accounts sent to a store in one call: about 400 KB, one call below 20 ms."""

# What a caller may send.
BODY_BYTES_MAX: Final = 16 * 1024
"""Bodies of buyer routes are tens of bytes; anything larger is refused before it is read to the end."""
ADMIN_BODY_BYTES_MAX: Final = 64 * 1024 * 1024
"""A block list of a million accounts is about 40 MB."""
USER_ID_LENGTH_MAX: Final = 200
IDEMPOTENCY_KEY_LENGTH_MAX: Final = 255
TOKEN_BYTES_MAX: Final = 8 * 1024
PAGE_SIZE_DEFAULT: Final = 100
PAGE_SIZE_MAX: Final = 1_000

# The pace of one buyer at one gate (the function decides stock, this only keeps one script from taking a gate).
BUYER_RATE_PER_SECOND: Final = 20.0
BUYER_RATE_BURST: Final = 60
BUYER_RATE_BUCKETS_MAX: Final = 200_000
"""Buckets kept per gate, about 30 MB; the oldest go first."""

# Reserving (R2 to R7 of the protocol).
TAKE_BATCH_MAX: Final = 512
"""Asks in one function call: about 2 ms of Valkey's single thread, so no caller waits long behind a batch."""
COMMIT_BATCH_MAX: Final = 500
"""Holds in one transaction: past 500 the gain flattens and one failure costs more."""
COMMIT_QUEUE_MAX: Final = 20_000
"""Holds waiting for a commit in one gate; at 20,000 orders/s that is one second of work. Full: give back and 503."""
COMMIT_DEADLINE_MS: Final = 5_000
"""How long a buyer's request waits for its commit before it is told to repeat with the same key."""
ORPHAN_AGE_MS: Final = 2 * COMMIT_DEADLINE_MS
"""A hold without an order is an orphan only after no honest committer can still be waiting for it (R7)."""
IMAGE_CHUNK: Final = 5_000
"""Rows written to Valkey in one call while an image is built: about 5 ms of its thread."""

# The line.
NUMBER_BLOCK: Final = 100_000
"""Ticket numbers the ledger sets aside at a time (Q2): one more row written per hundred thousand joiners."""
GRANT_BATCH: Final = 1_000
"""Units granted in one step and one transaction: about 40 ms, so nobody at the head waits long behind it."""
GRANT_INTERVAL_MS: Final = 50
"""How often the head of every moving line is looked at: the greater part of the time a returned unit lies idle."""
LINE_GRACE_MS: Final = 4_000
"""How long a line that was lost waits for its tickets before units are granted again (R9e). Buyers near the front ask
every two seconds or oftener; the first order after a fault is promised within ten."""
NEWS_KEPT: Final = 10_000
"""Changes of a line that a gate may be behind before it asks for every place anew."""
POLL_MS_MIN: Final = 1_000
POLL_MS_MAX: Final = 30_000
"""Bounds of `poll_after_ms`: the front of the line, and the far end of a busy one."""
PLACE_AGE_MS_MAX: Final = 2_000
"""A place that is told is at most this old."""
TICKET_BYTES_MAX: Final = 1_024
DRAW_ENTRY_BATCH: Final = 2_000
"""Entries stored in one transaction."""
DRAW_ENTRIES_MAX: Final = 5_000_000
"""Bounds the memory of one shuffle: about 200 bytes an entry."""

# The workers.
EXPIRY_INTERVAL_MS: Final = 250
EXPIRY_BATCH: Final = 500
RELEASE_BATCH: Final = 500
SWEEP_INTERVAL_MS: Final = 60_000
AUDIT_INTERVAL_MS: Final = 300_000
KEEPER_INTERVAL_MS: Final = 200
"""How often the image of every live sale is looked at: bounds the time to recover from a lost image."""
SNAPSHOT_INTERVAL_MS: Final = 500
"""Age of the sale rows a gate answers from; the public view promises at most one second."""
CLOCK_SYNC_INTERVAL_MS: Final = 5_000
CLOCK_JUMP_MS_MAX: Final = 250
"""A correction larger than this is a jump: the gate is not ready until two measurements agree."""
AUDIT_ROWS_NAMED_MAX: Final = 100
"""Rows named in one audit answer; the counts are always whole."""

RETRY_AFTER_SECONDS_HELD: Final = 5
RETRY_AFTER_SECONDS_UNAVAILABLE: Final = 1
RETRY_AFTER_SECONDS_PAUSED: Final = 5
"""Answers with Retry-After carry these, spread by the caller with jitter of up to as much again."""

assert ORPHAN_AGE_MS >= 2 * COMMIT_DEADLINE_MS
assert COMMIT_BATCH_MAX <= COMMIT_QUEUE_MAX
assert SNAPSHOT_INTERVAL_MS <= 1_000
assert EXPIRY_INTERVAL_MS < 1_000, "a hold has to end within a second of its time"
assert LINE_GRACE_MS >= 2 * PLACE_AGE_MS_MAX, "the head of a lost line has to have the time to come back"
assert GRANT_INTERVAL_MS < 1_000, "a unit that comes back is granted within a second"
