"""Every bound of the engine, with its unit and its reason. Nothing here is read from outside."""

from __future__ import annotations

from typing import Final

# --- one fact -----------------------------------------------------------------------------------
BODY_BYTES_MAX: Final = 256 * 1024
"""A fact is a few hundred bytes; this leaves room for library users and stops a runaway one."""
STREAM_BYTES_MAX: Final = 255
"""PostgreSQL refuses index keys over 2 704 bytes and would take a whole group along."""
NAME_BYTES_MAX: Final = 255
"""Stored names of ours are short; module-path topics of library users fit too."""
COMMAND_BYTES_MAX: Final = 32
"""A command id is 16 bytes (128 bits of a keyed digest, or random); a full SHA-256 fits."""
VERSION_MAX: Final = 2**31 - 1
"""Versions are stored in four bytes; at 1 000 facts a second one stream would last 24 days."""

# --- one append ---------------------------------------------------------------------------------
APPEND_FACTS_MAX: Final = 10_000
"""Facts of one append, so that one caller cannot hold the journal for seconds."""
GROUP_FACTS_MAX: Final = 2_000
"""Facts merged into one transaction: commit cost is shared long before, latency is not."""
QUEUE_APPENDS_MAX: Final = 10_000
"""Appends waiting for the writer; a caller beyond gets `Unavailable` instead of more memory."""
APPEND_RETRY_PAUSES_S: Final = (0.0, 0.05, 0.2, 0.5, 1.0, 0.0)
"""Pauses after each try of a group over a broken connection: a server that restarts is back within
them, and a caller has its answer long before `2 * WRITE_WAIT_S`."""

# --- the desk -----------------------------------------------------------------------------------
DECIDE_ATTEMPTS_MAX: Final = 12
"""Decisions of one command before it answers `Unavailable`: each needs another process to have been
first on the same account, and with three of them a dozen in a row is one case in a thousand."""
COMMANDS_REMEMBERED_MAX: Final = 20_000
"""Repeatable commands that a desk knows to be in the journal: a few seconds' worth. An older one that
comes again is found by the journal itself, at the price of one refused insert."""
REFERENCE_FRESH_S: Final = 0.5
"""An instrument or the clock, changed by another process, binds decisions here after this long."""
CLOCK_STEP_MAX_US: Final = 366 * 86_400 * 1_000_000
CLOCK_AHEAD_MAX_US: Final = 100 * 366 * 86_400 * 1_000_000
"""Holiday calendars are known for about so long."""

# --- waiting ------------------------------------------------------------------------------------
WRITE_WAIT_S: Final = 5.0
"""How long a write waits for the database's write lock before it answers `Unavailable`."""
IDLE_IN_TRANSACTION_S: Final = 2.0
"""A frozen writer frees the journal's head after this long (PostgreSQL ends its session)."""
LOCK_TIMEOUT_S: Final = 4.0
"""Longer than a frozen writer may hold the head, shorter than `WRITE_WAIT_S`."""
CONNECT_TIMEOUT_S: Final = 3.0
POLL_S: Final = 0.05
"""Another process's SQLite appends are noticed this fast; in-process ones in about 1 ms."""
POLL_IDLE_S: Final = 0.5
"""PostgreSQL wakes followers by NOTIFY; polling is only the net below it."""

LEASE_S: Final = 5.0
"""A holder that has not been seen alive for this long has lost its lease to the next who asks."""

# --- reading ------------------------------------------------------------------------------------
PAGE_FACTS_MAX: Final = 10_000
"""One page of the log is held in memory: about 10 MB decoded."""
PAGE_FACTS: Final = 1_000
"""The usual page: a thousand facts amortise a statement, and fold in about 10 ms."""
READERS_MAX: Final = 10
"""Pooled reading connections a process; more waits up to `WRITE_WAIT_S`."""
STATES_CACHED_MAX: Final = 50_000
"""Folded states kept by a desk, and ends of streams by a journal, least recently used out: 100 MB."""
SNAPSHOT_EVERY: Final = 200
"""Facts after which a folded state is stored, so that a cold load reads at most this many."""

# --- schema -------------------------------------------------------------------------------------
NAMES_MAX: Final = 10_000
"""Distinct stored names; more means that someone writes data into names."""

# --- numbers ------------------------------------------------------------------------------------
DECIMAL_DIGITS_MAX: Final = 15
"""Digits before the point of any decimal that is read: a quadrillion of a currency is enough."""
EXACT_DIGITS: Final = 120
"""Width of exact arithmetic. The widest product is numerator of a buy's fees: rate x amount x amount,
under 70 digits; a position's cost times a quantity is under 80."""
QUANTITY_PLACES_MAX: Final = 8
"""Finest `decimal_precision` of an instrument."""
SETTLEMENT_DAYS_MAX: Final = 30
"""Business days between trade and settlement that an instrument may ask for."""

# --- calendars ----------------------------------------------------------------------------------
CALENDAR_YEARS_MAX: Final = 512
"""Cached (calendar, year) pairs, a few kilobytes each: 50 markets for ten years."""
SETTLEMENT_DATES_MAX: Final = 4_096
"""Cached settlement dates: every kind of instrument for weeks of trade dates."""

# --- idempotency keys ---------------------------------------------------------------------------
IDEMPOTENCY_KEY_CHARACTERS_MAX: Final = 255
"""A UUID has 36; longer ones belong in a client's own records."""
IDEMPOTENCY_KEY_LIFE_US: Final = 24 * 3600 * 1_000_000
"""A client that has not repeated within a day asks by the order's id instead."""

# --- operational tables -------------------------------------------------------------------------
SYMBOLS_MAX: Final = 100_000
"""Symbols whose latest quote is kept in memory, about 600 bytes each: every listing of ten exchanges."""
QUOTES_MAX: Final = 10_000
"""Quotes recorded in one transaction, and read in one page."""
PRICE_AHEAD_MAX_US: Final = 60 * 1_000_000
"""A quote further ahead of our clock is refused: until its time came no true one would replace it."""
PERSONAL_CHARACTERS_MAX: Final = 255
"""A name or a reference; four bytes each still fit an index key of PostgreSQL."""
SUBJECTS_MAX: Final = 500
"""Subjects whose words are read at once: the longest page of a list."""
REFUSAL_TEXT_BYTES_MAX: Final = 4_096
"""Detail and context of one refusal, each; a request with hundreds of faults must not fill the disk."""
