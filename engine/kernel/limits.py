"""Every bound of the engine, with its unit and reason. None can be configured."""

from __future__ import annotations

from typing import Final

# --- one fact -----------------------------------------------------------------------------------
BODY_BYTES_MAX: Final = 256 * 1024
"""A fact is a few hundred bytes; this leaves room for library users and stops a runaway."""
STREAM_BYTES_MAX: Final = 255
"""PostgreSQL refuses index keys over 2 704 bytes, which would fail a whole group."""
NAME_BYTES_MAX: Final = 255
"""Our stored names are short; module-path topics of library users fit too."""
COMMAND_BYTES_MAX: Final = 32
"""A command id is 16 bytes (128 bits of a keyed digest, or random); a full SHA-256 fits."""
VERSION_MAX: Final = 2**31 - 1
"""Versions are stored in four bytes; at 1 000 facts a second one stream would last 24 days."""

# --- one append ---------------------------------------------------------------------------------
APPEND_FACTS_MAX: Final = 10_000
"""Facts of one append, so that a single caller cannot hold the journal for seconds."""
COMPANIONS: Final = 2
"""First guess of how many facts of its account accompany an order's fact."""
GROUP_FACTS_MAX: Final = 2_000
"""Facts merged into one transaction: by then the commit's cost is shared, and latency grows."""
QUEUE_APPENDS_MAX: Final = 10_000
"""Appends waiting for the writer. Back-pressure: further callers get `Unavailable`."""
APPEND_RETRY_PAUSES_S: Final = (0.0, 0.05, 0.2, 0.5, 1.0, 0.0)
"""Pauses between attempts of a group over a broken connection: a server restart fits within them, and a
caller has its answer long before `2 * WRITE_WAIT_S`."""

# --- trading limits -----------------------------------------------------------------------------
RECENT_ORDERS_MAX: Final = 32
"""Different orders of an account remembered for the duplicate check: more than anyone places within its
window of a few seconds, and each is carried in the account's state."""
ENTITLEMENT_DAYS: Final = 130
"""Days for which an account remembers what its trades settled: coupons and dividends are paid up to
ACTION_DAYS_MAX after their ex date, and an engine may have stood still for some weeks."""
DATED_KEPT_MIN: Final = 8
"""Settlement days of a position remembered however long ago: the clock of a sandbox may leap over a
coupon, and trades come before it is paid."""
ACTION_DAYS_MAX: Final = 90
"""Days between the ex date and the payment of a corporate action: longer than any market takes."""
PAYMENT_WAIT_DAYS_MAX: Final = 21
"""Days that a payment may wait for the next open day: twice the longest closure of a market."""
ACTIONS_OPEN_MAX: Final = 8
"""Open corporate actions of one instrument: a coupon, a maturity, and some that an operator announced.
Each is carried in the instrument's state."""
ACTIONS_OF_TERMS_MAX: Final = 2
"""Places among them kept for what the terms bring, so that announcements never crowd out a coupon."""
SPLIT_RATIO_MAX: Final = 1_000_000
"""Units of a split's ratio: beyond any announced, and exact in any arithmetic."""
ACTIONS_APPLIED_MAX: Final = 2 * ACTIONS_OPEN_MAX
"""Corporate actions that a position remembers: those that are open, and some that just were."""
HELD_BEFORE_MIN: Final = 4
"""Splits and redemptions before which a position's units are remembered however long ago, besides those
of ENTITLEMENT_DAYS, for payments with an earlier ex date. An instrument has one a day at most."""
ROLLOVERS_MAX: Final = 64
"""Rollovers of an account remembered until they are paid: more than there are bills."""
TALLY_HELD_MAX: Final = 100_000
"""Accepted orders not yet read back: ten seconds of a silent journal at 10 000 a second."""
TALLY_LOOK_S: Final = 0.05
"""Interval between reads of the orders that other processes accepted."""

# --- the desk -----------------------------------------------------------------------------------
DECIDE_ATTEMPTS_MAX: Final = 12
"""Decisions of one command before it answers `Unavailable`. Each retry needs another process to have
written to the same account first; with three processes a dozen in a row is one case in a thousand."""
COMMANDS_REMEMBERED_MAX: Final = 20_000
"""Recent repeatable commands known to be committed: a few seconds' worth. An older one that comes again
costs one refused insert."""
CONTESTED_FOR: Final = 8
"""Catch-ups without foreign facts after which a contested stream counts as this process's own again."""
CONTESTED_MAX: Final = 50_000
"""Contested streams remembered: as many as states."""
FOLLOWED_FACTS_MAX: Final = 2_000
"""Facts that one catch-up may read: a fifth of a second of a busy journal, in milliseconds. Beyond that,
accounts are reloaded one by one, once."""
REFERENCE_FRESH_S: Final = 0.5
"""Age after which an instrument, the clock or a halt is re-read, by one of the callers."""
REFERENCE_STALE_S: Final = 0.9
"""Age after which it may no longer be used: a change by another process binds every decision within 1 s.
"""
CLOCK_STEP_MAX_US: Final = 366 * 86_400 * 1_000_000
CLOCK_AHEAD_MAX_US: Final = 100 * 366 * 86_400 * 1_000_000
"""Holiday calendars are known for about this long."""

# --- memory -------------------------------------------------------------------------------------
GC_OBJECTS: Final = 50_000
GC_YOUNG: Final = 20
GC_MIDDLE: Final = 100
"""The collector's thresholds in a serving process: a request makes some hundred objects that die with
it, almost none of them in cycles."""

SWITCH_S: Final = 0.001
"""Interval after which a busy thread yields the interpreter (Python's default is 5 ms)."""

# --- waiting ------------------------------------------------------------------------------------
WRITE_WAIT_S: Final = 5.0
"""How long a write waits for the database's write lock before it answers `Unavailable`."""
IDLE_IN_TRANSACTION_S: Final = 2.0
"""PostgreSQL ends the session of a frozen writer after this long, which frees the journal's head."""
MIGRATION_PAUSE_S: Final = 60.0
"""The same during `migrate`, which loads alembic inside the transaction: seconds on a busy machine."""
LOCK_TIMEOUT_S: Final = 4.0
"""Longer than a frozen writer may hold the head, shorter than `WRITE_WAIT_S`."""
STATEMENT_WAIT_S: Final = 8.0
"""How long a statement, or a commit, waits for PostgreSQL before its connection is closed. Longer than
`LOCK_TIMEOUT_S`, shorter than a request may take (`REQUEST_S`)."""
REQUEST_S: Final = 9.0
"""How long a request waits for a database in all. With half a second until that is noticed, it ends
within 10 s whatever the database does."""
CONNECT_TIMEOUT_S: Final = 3.0
POLL_S: Final = 0.02
"""Poll interval for SQLite appends of other processes; those in-process are noticed in about 1 ms. A
poll costs 0.1 ms."""
POLL_IDLE_S: Final = 0.5
"""PostgreSQL wakes followers by NOTIFY; polling is the fallback."""

LEASE_S: Final = 5.0
"""A lease not renewed for this long may be taken over."""

# --- reading ------------------------------------------------------------------------------------
COMMAND_FACTS: Final = 100
"""Facts that are read at once to find those of one command: more than almost any has."""
PAGE_FACTS_MAX: Final = 10_000
"""One page of the log in memory: about 10 MB decoded."""
PAGE_FACTS: Final = 1_000
"""The usual page: a thousand facts amortise a statement and fold in about 10 ms."""
READERS_MAX: Final = 10
"""Pooled reading connections of a process; further readers wait up to `WRITE_WAIT_S`."""
SERVE_PROCESSES: Final = 4
"""Processes of one `serve` with all roles: the API and three children."""
STATES_CACHED_MAX: Final = 50_000
"""LRU bound of each cache of folded states of a desk, and of a journal's stream ends: 100 MB."""
PAST_FACTS_MAX: Final = 50_000
"""Facts that a desk keeps for decisions that ask for an account's trades; of one account, all: 25 MB."""
SNAPSHOT_EVERY: Final = 200
"""Facts after which a folded state is stored, so that a cold load reads at most this many."""
SNAPSHOT_RUNG: Final = 2_000
"""Every snapshot at a multiple of this is kept: any past state of an account is folded from at most this
many facts plus `SNAPSHOT_EVERY`, in about 50 ms, at a hundredth of its facts' size."""

# --- schema -------------------------------------------------------------------------------------
NAMES_MAX: Final = 10_000
"""Distinct stored names; more means that data is being written into names."""

# --- numbers ------------------------------------------------------------------------------------
DECIMAL_DIGITS_MAX: Final = 15
"""Digits before the point of any decimal read from outside: a quadrillion of a currency is enough."""
EXACT_DIGITS: Final = 120
"""Width of exact arithmetic. The widest product, the numerator of a buy's fees (rate x amount x amount),
is under 70 digits; a position's cost times a quantity is under 80."""
QUANTITY_PLACES_MAX: Final = 8
"""Finest `decimal_precision` of an instrument."""
SETTLEMENT_DAYS_MAX: Final = 30
"""Business days between trade and settlement that an instrument may ask for."""

# --- bonds --------------------------------------------------------------------------------------
INSTRUMENTS_EXAMINED: Final = 2_000
"""Instruments whose terms `doctor` examines: 0.2 s."""
BOND_YEARS: Final = range(1800, 3000)
"""Years of a bond's dates: consols and thousand-year bonds fit."""
COUPON_SCHEDULES_MAX: Final = 4_096
"""Cached schedules, half a kilobyte each: every bond priced at the same time."""
COUPONS_MAX: Final = 1_200
"""Coupons in a yield's calculation: monthly for a hundred years, 20 ms."""
YIELD_STEPS_MAX: Final = 64
"""Steps of a yield's solver, which usually needs 5 to 10."""

# --- calendars ----------------------------------------------------------------------------------
CALENDAR_YEARS_MAX: Final = 512
"""Cached (calendar, year) pairs, a few kilobytes each: 50 markets for ten years."""
SETTLEMENT_DATES_MAX: Final = 4_096
"""Cached settlement dates: every kind of instrument for weeks of trade dates."""

TRADING_DAYS_MAX: Final = 4_096
"""Cached days of trading hours: a thousand instruments for several days."""
SESSIONS_MAX: Final = 8
"""Trading sessions of an instrument a day. Markets have one to four."""
CLOSED_DAYS_MAX: Final = 366
"""Longest search for a market's next opening. The longest holidays close a market for two weeks."""

# --- idempotency keys ---------------------------------------------------------------------------
IDEMPOTENCY_KEY_CHARACTERS_MAX: Final = 255
"""A UUID has 36 characters; longer keys belong in a client's own records."""
IDEMPOTENCY_KEY_LIFE_US: Final = 24 * 3600 * 1_000_000
"""A client that repeats later than a day asks by the order's id instead."""

# --- HTTP ---------------------------------------------------------------------------------------
HTTP_BODY_BYTES_MAX: Final = 64 * 1024
"""The longest sensible body is a few hundred prices."""
HTTP_HEADER_BYTES_MAX: Final = 8 * 1024
"""One header line, or the request line: our tokens have under 1 KiB."""
HTTP_HEADERS_MAX: Final = 64
"""Headers of one message: about 20 behind two proxies."""
HTTP_HEAD_BYTES_MAX: Final = 32 * 1024
"""A whole head with its request line: the common default of proxies and servers."""
MESSAGE_BYTES_FREE: Final = 4 * 1024
"""Memory of an unanswered message that is not counted: the usual head and a small body."""
MESSAGES_BYTES_MAX: Final = 16 * 1024**2
"""Memory of heads and bodies beyond that, in a process, until they are answered; a quarter of it for one
address: two hundred of the largest at once (`python -m bench.heads`)."""
HTTP_READ_BYTES: Final = 16 * 1024
"""Bytes read from a connection at once: the most it can hold beside the message being answered."""
HTTP_BODY_BUFFER_BYTES: Final = 8 * 1024
"""Unread bytes of a body; half of the threshold that pauses reading."""
HTTP_UNSENT_BYTES_MAX: Final = 128 * 1024**2
"""Unsent answers in a process: beyond, the connection with the most is closed."""
HTTP_MESSAGE_S: Final = 10.0
"""From a message's first byte to its last: a 64 KiB body at 52 kbit/s."""
HTTP_IDLE_S: Final = 75.0
"""Idle time of a connection: longer than load balancers keep theirs (60 s), so that they close first and
never lose a request in flight."""
HTTP_LINGER_S: Final = 2.0
"""After an early answer the rest of the request is read and dropped for this long, so that the client
sees the answer instead of a reset."""
HTTP_DRAIN_IDLE_S: Final = 0.5
"""During graceful shutdown a connection idle for this long is closed: a request the client had already
sent has arrived by then."""
HTTP_STOP_S: Final = 9.0
"""Graceful shutdown gives requests in flight this long; the process exits within 10 s."""
JSON_DEPTH_MAX: Final = 8
"""No body nests deeper than 3."""
PARAM_FAULTS_MAX: Final = 100
"""Faults of one body that are listed: keeps the answer smaller than the request."""
PARAM_FAULTS_IN_DETAIL: Final = 3
"""Faults that `detail` names; `params` lists all."""
CLIENT_REQUEST_ID_CHARACTERS_MAX: Final = 255
"""As for idempotency keys."""
ID_CHARACTERS_MAX: Final = 200
"""Our ids have 26 characters; an operator may choose those of instruments. A stream's name may have 255
bytes."""
REFERENCE_CHARACTERS_MAX: Final = 64
"""A client's own label or id: a UUID has 36."""
NAME_CHARACTERS_MAX: Final = 200
"""Names of people, instruments, issuers."""
LIST_LIMIT: Final = 100
LIST_LIMIT_MAX: Final = 500
"""Rows of one page: 500 orders are about 1 MB."""
HISTORY_PAGE_BYTES: Final = 2 * 1024**2
"""A page of a history also ends at this size: each fact carries the whole order, and an order of a
thousand trades is half a megabyte."""
PRICES_MAX: Final = 500
"""Prices of one request; send more in further requests."""
ENTRIES_MAX: Final = 50
"""Entries of an array in a body, or repetitions of a query parameter."""
VIEW_WAIT_S: Final = 2.0
"""How long a read waits for a view to catch up before it answers `view_behind`."""
ACCOUNTS_REMEMBERED_MAX: Final = 100_000
"""LRU bound of the accounts whose tenant a process remembers: 20 MB."""
REFRESH_S: Final = 0.5
"""Delay until another process's prices, disabled clients and signing keys are known here."""
RATE_BUCKETS_MAX: Final = 20_000
"""LRU bound of rate-limit buckets (clients or addresses) for each of five quotas: 4 MB each. Rate limits
do not stop an attacker with more addresses."""
ERROR_WAIT_S: Final = 5.0
"""The longest delay of an error answer: clients give up after 10 s or more."""
CONNECTIONS_MAX: Final = 8_192
"""Open connections of one process, some 10 KB each; a load balancer keeps a few hundred."""
CONNECTIONS_EACH_MAX: Final = 2_048
"""Connections from one address that is not a trusted proxy, and of one client: a quarter of all."""
FILES_KEPT: Final = 256
"""File descriptors reserved for databases, logs and child processes."""
FORWARDED_MAX: Final = 16
"""Hops of X-Forwarded-For that are read, from the last: more proxies than any real route has."""
CLIENTS_SEEN_MAX: Final = 10_000
"""LRU bound of the clients whose last offset is kept for read-your-writes."""

# --- operational tables -------------------------------------------------------------------------
SYMBOLS_MAX: Final = 100_000
"""Symbols with their latest quote in memory, about 600 bytes each: every listing of ten exchanges."""
INSTRUMENTS_KEPT_MAX: Final = 20_000
"""LRU bound of instruments whose state is kept for batches of prices, about 2 KB each: what a feed of an
exchange names in turn."""
QUOTES_MAX: Final = 10_000
"""Quotes recorded in one transaction, or read in one page."""
ORDER_QUOTES_MAX: Final = 1_000
"""Quotes of orders kept for one account, 33 a second of the default lifetime: the oldest makes room."""
ORDER_QUOTE_LIFETIME_MAX_US: Final = 3_600 * 1_000_000
"""Longest lifetime of a quote: the price of an hour ago says nothing about an order of now."""
ORDER_QUOTE_KEPT_US: Final = 600 * 1_000_000
"""How long an expired quote is kept, so that the refusal of a late order names its expiry."""
ORDER_QUOTES_PURGED: Final = 100
"""Expired quotes deleted with each new one: more than arrive, in a millisecond."""
PRICE_AHEAD_MAX_US: Final = 60 * 1_000_000
"""A quote further ahead of our clock is refused: it would block true quotes until its time."""
PRICE_JUMP_WINDOW_US: Final = 60 * 1_000_000
"""Jumps are also measured against the price this long ago: else many small steps would add up unnoticed.
"""
CLAIM_ATTEMPTS_MAX: Final = 5
"""Attempts to read a symbol's owner: each retry means that another process claimed it just before."""
PERSONAL_CHARACTERS_MAX: Final = 255
"""A name or a reference; at four bytes a character it still fits an index key of PostgreSQL."""
SUBJECTS_MAX: Final = 500
"""Subjects whose words are read at once: the longest page of a list."""
KEYS_CLEARED: Final = 100
"""Expired idempotency keys deleted with each insert: more than arrive, in a millisecond."""
REFUSAL_TEXT_BYTES_MAX: Final = 4_096
"""Detail and context of one refusal, each: a request with hundreds of faults must not fill the disk."""
REFUSALS_LINGER_S: Final = 0.02
"""Interval between commits of refusals: orders compete for the same file, and a flood of refusals
becomes one commit per interval instead of hundreds a second."""

PERSON_CHARACTERS_MAX: Final = 255
"""Id of the person behind a client, stored in facts: an employee number or a UUID."""
SETTING_CHARACTERS_SHOWN: Final = 60
"""Characters of a setting in the act that records it: all settings fit into one act."""
DENIAL_SOURCES_MAX: Final = 100
"""Sources of denied access counted separately per minute and process: a flood from a thousand addresses
becomes a hundred of them and `others`, in a few kilobytes."""
DENIALS_WRITTEN_S: Final = 5
"""Interval between writes of denial counts, after a source's first denial of the minute: a killed
process loses this much. A persistent source makes thirteen rows a minute."""
DENIAL_MINUTES_MAX: Final = 10
"""Minutes of counts kept while the database cannot be written; older ones are dropped."""

REASON_CHARACTERS_MAX: Final = 200
"""Reason of a halt or of an accepted loss: a sentence and a ticket number."""

# --- webhooks -----------------------------------------------------------------------------------
URL_CHARACTERS_MAX: Final = 2_048
"""Every server and proxy accepts this length; a token in a webhook's path has some hundred characters.
"""
WEBHOOKS_MAX: Final = 50
"""Webhooks of a tenant: each event is stored and sent once for each."""
WEBHOOK_SECRETS_MAX: Final = 3
"""Secrets of a webhook that sign at the same time, after several rotations in a row."""
WEBHOOK_OVERLAP_US: Final = 48 * 3600 * 1_000_000
"""Overlap of a webhook's old and new secret: a weekday to update every receiver."""
WORDS_CLAIM_S: Final = 3_600
"""A reference whose account has no facts after this long is free again: its writer is gone. Longer than
any request, and than two processes' clocks differ."""
WEBHOOK_CLAIM_S: Final = 60.0
"""A URL whose webhook has no facts after this long is free again: the process that claimed it is gone.
"""

ATTEMPT_S: Final = 15.0
"""Deadline for a receiver's whole answer: it should store the event, answer, and then work."""
ANSWER_BYTES_MAX: Final = 64 * 1024
"""Bytes read of an answer, headers included. The content is ignored; reading to the end keeps the
connection."""
ATTEMPTS_MAX: Final = 10
"""Attempts of a delivery before it is `failed`: 2.6 days with the longest possible back-offs."""
RETRY_AFTER_MAX_US: Final = 24 * 3600 * 1_000_000
"""The longest `Retry-After` that is honoured."""
WEBHOOK_WIDTH: Final = (4, 32)
"""Concurrent requests to one receiver: the least, to a failing one, and the most, to a healthy one."""
WEBHOOKS_AT_ONCE: Final = 1_024
"""Concurrent requests in all, a socket each: each receiver has its share, at least one."""
WEBHOOK_AHEAD: Final = 8
"""Multiple of the concurrent requests that is handed to the sender, so that it stays busy during a
commit."""
WEBHOOK_FAILURES: Final = 8
"""Failures in a row before a receiver backs off: a single refused event is no cause."""
WEBHOOK_BACKOFF_S: Final = (0.01, 1.0)
"""Back-off of a receiver: twice the first value, doubled up to the second: then four attempts a second,
which take no processor time from the others."""
BACKLOG_KEPT: Final = 128
"""Events of a webhook's backlog kept in memory, 30 kB. The rest is re-read from the journal a page at a
time; events of a page not yet enqueued stay in memory too."""
BACKLOG_FACTS: Final = 512
"""Facts read at once for one backlog: 4 ms during which all others wait, and as many as its lane takes.
"""
NOTES_AT_ONCE: Final = 128
"""Batch of outcomes that the sender collects under load before one commit records them."""
NOTES_PACE_S: Final = 0.03
"""Or this time. At a lower rate each is recorded at once: the next event of its resource waits."""
NOTES_COUNTED_S: Final = 0.1
"""Window in which the rate is measured."""
DUE_PAGE: Final = 256
"""Deliveries of one webhook fetched at once and kept ready: eight rounds of the widest."""
DUE_POLL_S: Final = 1.0
"""Poll interval for deliveries enqueued by others: redelivered, replayed, tests."""
BODIES_CACHED_MAX: Final = 4_000
"""Cached bodies of events, for webhooks that subscribe to the same: 6 MB."""
BODIES_FRESH_S: Final = 5.0
"""Age after which a cached body is read again: its personal data may have been erased."""
BODY_AWAITED_US: Final = 5_000_000
"""Retry interval for an event that its view cannot show yet (rebuilding, or in quarantine)."""
REPLAY_EVENTS_MAX: Final = 10_000
"""Events of one replay, enqueued in one transaction: 0.2 s. Split larger replays."""
DELIVERIES_KEPT_US: Final = 30 * 86_400 * 1_000_000
"""Retention of finished deliveries: any question about one comes sooner."""
DELIVERIES_SWEPT: Final = 1_000
"""Older deliveries deleted at once, at most each minute: a transaction of some ms."""
SENDER_STOP_S: Final = 3.0
"""Graceful shutdown of a sender waits this long for answers; unrecorded deliveries are sent again."""

# --- clients and tokens -------------------------------------------------------------------------
TENANT_CHARACTERS_MAX: Final = 64
"""A tenant's name is stored in every fact of its accounts."""
TOKEN_LIFE_S: Final = 900
"""Lifetime of a leaked token; a client gets the next one with its secret."""
SECRET_OVERLAP_MAX_US: Final = 31 * 86_400 * 1_000_000
"""The longest overlap of a client's old secret: beyond it, create another client."""
ROTATE_ATTEMPTS_MAX: Final = 5
"""Attempts to drop signing keys: each retry means that another process rotated just before."""
TOKEN_BYTES_MAX: Final = 8 * 1024
"""The longest header line; our tokens have about 500."""
SCOPES_CHARACTERS_MAX: Final = 4_000
"""All scopes of a client, written out: a token of theirs, base 64, stays within TOKEN_BYTES_MAX. That is
room for 250 symbols of a feed."""
TOKENS_CACHED_MAX: Final = 10_000
"""LRU bound of verified tokens, kept until they expire: a kilobyte each."""
CLOCKS_APART_S: Final = 60
"""Tolerated clock difference of an installation's processes when tokens are verified."""

# --- files that are imported --------------------------------------------------------------------
IMPORT_BYTES_MAX: Final = 64 * 1024**2
"""The whole file is held in memory: it is checked completely before any line is recorded."""
IMPORT_TEXT_CHARACTERS_MAX: Final = 255
"""One cell: the API's bound on a name."""
IMPORT_FAULTS_MAX: Final = 1_000
"""Faults listed; a file with more has the wrong columns."""

# --- audit --------------------------------------------------------------------------------------
DAMAGE_POLL_S: Final = 0.5
"""Interval at which a writing process checks whether another found the journal damaged."""
FILE_CHECK_S: Final = 0.5
"""Interval of the check that the open SQLite file is still the one at its path: 2 us each."""
VIEWS_RETRY_S: Final = 1.0
"""Interval between attempts to rebuild unusable views: where the first does not help, the second will
not."""
VIEWS_CHECKED_BYTES_MAX: Final = 64 * 1024**2
"""A views file up to this size is checked by SQLite at start: about 0.2 s."""
TRAIL_POINTS_MAX: Final = 256
"""Points of the journal remembered by a process or a view. When thinned, two of each power of two of the
distance remain: about 60 for a journal of a billion facts."""
AUDIT_STEP_FACTS: Final = 200
AUDIT_STEP_S: Final = 0.2
"""Pace of the background audit: 1 000 facts a second, half a percent of a core. Each step takes about a
millisecond, so other threads do not notice; a nice value would let a slow thread hold locks that fast
ones need."""
AUDIT_PAUSE_S: Final = 60.0
"""Pause before the next round."""
AUDIT_SAVE_S: Final = 10.0
"""Interval at which its position is saved: the most a restart repeats."""
AUDIT_PAGE_FACTS: Final = 2_000
"""Rows fetched at once: about 1 MB, so that a stop or a resume point comes soon."""
AUDIT_FINDINGS_MAX: Final = 100
"""Findings that end a walk: a journal with more has one cause, not a hundred."""
AUDIT_POINT_S: Final = 10.0
"""Interval between resume points: the most a kill repeats."""
AUDIT_POINT_SHARE: Final = 20
"""Ratio between the interval and the time a resume point took: one that took a second is next written
after this many seconds."""
AUDIT_POINT_AGE_US: Final = 24 * 3600 * 1_000_000
"""Age after which a verified part is verified again."""

# --- backups ------------------------------------------------------------------------------------
BACKUP_PAGES: Final = 2_560
"""Pages of SQLite copied at once, 10 MB: between them other threads run."""

# --- dumps --------------------------------------------------------------------------------------
KEY_FILE_BYTES_MAX: Final = 64 * 1024
"""A public key in PEM, or a list of public keys: each has a few hundred bytes."""
DUMP_LINE_BYTES_MAX: Final = 1024 * 1024
"""One line: a body of `BODY_BYTES_MAX` in base64, and room around it."""
DUMP_ROWS_PER_STATEMENT: Final = 1_000
"""Facts or rows read, or restored, at once."""
PASSPHRASE_CHARACTERS_MIN: Final = 12
"""A stolen dump can be attacked offline."""

# --- views --------------------------------------------------------------------------------------
TIMES_CACHED_MAX: Final = 16_384
"""Cached texts of times, and of seconds, 150 bytes each: a resource repeats the same few in each of its
events."""
VIEW_PAGE_FACTS: Final = 2_000
"""Facts folded into one transaction of the views: frequently touched rows are written once, and readers
of a view that catches up still see it move several times a second."""
VIEW_PACE_S: Final = 0.05
"""Interval between the starts of two pages that are not full: each costs some twenty statements, whether
it has one fact or a hundred. It bounds the delay of reading one's own writes from a list."""
VIEW_SHARE: Final = 3
VIEW_PAUSE_S: Final = 0.1
"""Busy views use at most this share of the time, and pause at most this long between pages: an order
that completes within one page is written once instead of three times."""
VIEW_ROWS_PER_STATEMENT: Final = 1_000
"""Rows of one statement: enough to amortise it, in negligible memory."""
POSITIONS_LOOKED_FOR_MAX: Final = 10_000
"""Facts of an account searched, in about 20 ms, for a position missing from its state. In a longer
stream a complete view decides whether it ever existed."""
VIEW_POLL_S: Final = 0.01
"""Poll interval of a reader that waits for a view: the wait itself is a few of these."""
CLAIM_WAIT_S: Final = 0.5
"""Deadline of a rebuild's claim: within this a server notices that the holder was killed."""
REBUILD_PAGE_FACTS: Final = 5_000
"""Facts of a rebuild's page: no reader waits for it, and most orders start and complete within one, so
that their rows are written once. 15 MB in memory."""
REBUILD_STATES_MAX: Final = 4_000
"""Folded states kept by a process of a rebuild: orders of two busy days, 30 MB. Others are reloaded when
they change."""
REBUILD_LATE_ROWS: Final = 4_000
"""Rows of a table that a process of a rebuild defers, to write each once for several pages: those of the
states it keeps. 6 MB of orders."""
REBUILD_PROCESSES_MAX: Final = 8
"""Processes of one rebuild: the database scans the whole journal for each shard."""
REBUILD_ALONE_FACTS: Final = 20_000
"""Facts up to which a rebuild is faster in one process: starting another takes half a second."""
REBUILD_TRIES_MAX: Final = 100
"""Attempts to find the live view at the rebuilt one's offset: a page of the live view takes longer than
the interval between two polls, so a few are enough."""
REBUILD_REPORT_S: Final = 0.5
"""Interval at which a rebuild reports progress: each is a commit."""
REBUILD_POLL_S: Final = 0.5
"""Interval at which the owner of the views checks for a requested rebuild."""
REBUILD_AGAIN_S: Final = 60.0
"""Back-off before views of another release's shape are rebuilt again after a failure."""
REBUILDS_KEPT: Final = 100
"""Rebuilds remembered."""
FINDINGS_SHOWN_MAX: Final = 100
"""Differing rows shown with their facts: a hundred are one bug."""
QUARANTINED_SHOWN_MAX: Final = 100
"""Quarantined streams of a view that are listed: a hundred are one bug."""
RELEASES_KEPT: Final = 1_000
"""Streams released from quarantine that are remembered for readers of events who were disconnected: they
are few, and a reader reconnects within minutes."""
FAULT_CHARACTERS_MAX: Final = 500
"""Characters of the error that quarantined a stream: enough to find the line of code."""

# --- events to others, and offsets --------------------------------------------------------------
BROKER_WAIT_S: Final = 10.0
"""Deadline of a message broker for a page of events; then it is retried."""
BROKER_DUPLICATES_S: Final = 120.0
"""Deduplication window of a broker: a restart and a retry take seconds."""
OUTLET_POLL_S: Final = 0.05
"""Interval at which the view is polled for events to publish."""
OFFSET_MAX: Final = 10**18 - 1
"""The highest offset accepted from outside: 18 digits, which both databases' integers hold."""
EVENT_STREAMS_MAX: Final = 2_000
"""Event streams open at once in a process: 12 to 25 kB for an idle one with its connection, 40 to 142 kB
for one that lags and is not read, so 50 MB if all are idle (docs/benchmarks.md)."""
EVENT_STREAMS_BYTES_MAX: Final = 64 * 1024**2
"""Pages of events read for lagging streams and not sent yet, in a process; a quarter of it for one
client. Others wait for room; streams without lag need none."""
EVENT_STREAM_READS: Final = 2
"""Concurrent reads of pages for lagging streams, one for each client: a crowd of them queues behind
itself, not before the reader that all others share."""
EVENT_STREAM_READ_SHARE: Final = 4
"""Fraction of its turn that a client reads, and pauses for the rest: a quarter of a core at most."""
EVENT_STREAM_RETRY_S: Final = 10
"""`Retry-After` when too many streams are open: they stay open for minutes."""
EVENT_STREAM_LOOK_S: Final = 0.05
"""Interval at which the view is polled for new events, once for all streams of a process."""
EVENT_STREAM_CHECK_S: Final = 1.0
"""Interval at which each stream's permission is checked: a revoked client must be disconnected within 5
s."""
EVENT_STREAM_BEAT_S: Final = 15.0
"""Heartbeat of an idle stream: proxies close quiet connections after 30 to 60 s."""
EVENT_STREAM_STALL_S: Final = 5.0
"""A reader that takes nothing for this long is disconnected; `Last-Event-ID` resumes."""
EVENT_STREAM_PAGE: Final = 200
"""Events read at once for all streams, and at most for a lagging one."""
EVENT_STREAM_PAGE_FIRST: Final = 16
"""Events of the first read for a lagging stream: their size is not known yet."""
EVENT_STREAM_PIECE_BYTES: Final = 16 * 1024
"""Bytes sent to one client before waiting: bounds what a client does not take."""
EVENT_STREAM_SOCKET_BYTES: Final = 32 * 1024
"""The socket's send buffer for a stream, which the system doubles: its default would be megabytes."""
EVENT_STREAM_KEPT_MAX: Final = 4_096
"""Newest events shared by all streams in memory, a kilobyte each; older ones are read from the view."""
EVENT_STREAM_KEPT_S: Final = 30.0
"""And their age: erased personal data must not be sent from memory."""

# --- seals --------------------------------------------------------------------------------------
SEAL_FACTS: Final = 1_000
SEAL_S: Final = 10.0
"""A seal is due after this many facts, or when the oldest unsealed one has this age: the window in which
a later forgery goes unnoticed."""
SEAL_POLL_S: Final = 0.25
"""Interval at which a due seal is checked for: each seal is a commit, at most four a second on a busy
journal."""
SEAL_PIECE_FACTS: Final = 50_000
"""Facts of one seal at most: an unsealed old journal is caught up in pieces of a second, and resumes
where it was stopped."""
SEAL_BYTES_MAX: Final = 4_096
"""A checkpoint has 250 bytes; with further signatures a few times that."""
SEAL_WAIT_S: Final = 15.0
"""Deadline of a command that waits for the newest facts to be sealed: over `SEAL_S`."""
PUBLISH_S: Final = 3.0
"""Deadline of a receiver of seals: one heartbeat less than the lease."""
PUBLISH_POLL_S: Final = 1.0
"""Poll interval for a new seal, in case a wake-up was missed."""

# --- followers ----------------------------------------------------------------------------------
FOLLOW_RETRY_S: Final = (0.1, 5.0)
"""Back-off of a failed follower: the first, and the longest after doubling, for which orders may still
wait once the cause is over."""
LEASE_POLL_S: Final = 0.5
"""Poll interval of a follower that waits for its lease."""
OFFSET_SAVE_S: Final = 0.5
"""Interval at which a follower's offset is saved: a commit each; facts seen twice are handled once."""
TENANTS_CACHED_MAX: Final = 50_000
"""LRU bound of the orders whose tenant a follower remembers: a few megabytes."""
EXECUTION_BATCH: Final = 256
"""Orders processed in one commit; a stop or a heartbeat waits no longer than this."""
BURST_MIN: Final = 4
"""The same while another process writes to the account: so few fit between two of its commits."""
VENUE_CLOCK_US: Final = 300_000_000
"""Difference allowed between a venue's clock and ours, 5 minutes: a trade of another time is parked."""
VENUE_SETTLEMENT_DAYS: Final = 30
"""Days from trade to settlement that a venue may name: no market takes as long."""
GATEWAY_S: Final = 10.0
"""Longest silence of a gateway within an answer. After it the outcome is unknown."""
GATEWAY_BYTES_MAX: Final = 1024 * 1024
"""Bytes of an answer about one order: thousands of reports."""
VENUE_CALLS_MAX: Final = 2_000
"""Calls that wait for one venue, a few megabytes. Beyond it no further order is started there: such an
order is not with a venue yet, and can be cancelled at once."""
VENUE_CONCURRENCY_MAX: Final = 64
"""Calls to one venue at once, each in a thread: enough for 500 orders a second at 50 ms each."""
VENUE_REPORTS: Final = 1_000
"""Reports fetched from a venue at once."""
FIX_FIELDS: Final = 2_000
"""Fields of one FIX message: an execution report has some 40, a long one with groups a few hundred."""
FIX_NUMBER_CHARS: Final = 40
"""Characters of a FIX number: twice the 15 digits of the standard, and no time lost on a million."""
FIX_ID_CHARS: Final = 200
"""Characters of a venue's ids: most send 10 to 40, and a report's key must fit the journal."""
FIX_TEXT_CHARS: Final = 200
"""Characters of a venue's own words that a fault repeats."""
FIX_REPLAY_BYTES: Final = 32 << 20
"""Messages that a FIX session reads again at its start: some 50,000 orders, and a few seconds."""
FIX_PACKING_S: Final = 2.0
"""Time that a stop waits for the compression of yesterday's FIX messages; the next start repeats it."""
FIX_ORDERS_MAX: Final = 100_000
"""Orders that a FIX session remembers, those that are over included: some 100 MB."""
FIX_INBOX_MAX: Final = 10_000
"""Messages of a FIX venue that wait to be read: the venue waits then."""
FIX_ANSWER_S: Final = 5.0
"""Time for a FIX venue to answer a status request; the outcome is unknown then, and asked again."""
FIX_RECONNECT_S: Final = 2
"""Interval between a FIX session's attempts to log on."""
SCRIPT_STEPS_MAX: Final = 32
"""Steps of a script of the simulated venue: each venue fault at once takes half of them, and they are
part of the fact of the order's start."""
SCRIPTS_OPEN_MAX: Final = 1_000
"""Scripts that no order has taken yet: more than any test prepares. All are in one state."""
SCRIPT_FILE_BYTES_MAX: Final = 4 << 20
"""A file of scripts: as many as may be open, of some 4 KiB each."""
SCRIPT_DELAY_DAYS_MAX: Final = 366
"""Business days after which the last step of a script comes: a year, as far as the sandbox's clock is
moved at once."""
VENUE_POLL_S: Final = 0.05
"""Poll interval of a venue."""
VENUE_CLOSE_S: Final = 3.0
"""Time for venues to end their connections; a stop has to end within 10 s."""
RECONCILE_S: Final = 5.0
"""Interval at which each order at a venue is queried by name, in case its report was lost."""
RESTING_WALKS_MAX: Final = 64
"""Intervals of RECONCILE_S between two queries about a limit order that rests: thousands may, and a lost
report of theirs is found within five minutes."""
WAITING_S: Final = 0.5
"""Poll interval for new prices on behalf of waiting orders."""
WAITING_ALL_S: Final = 5.0
"""Interval at which every waiting order is retried, new prices or not."""
EXPIRY_S: Final = 60.0
"""Interval at which expired orders at a venue are looked at again: a venue that refused to cancel one is
asked once more."""
EXPIRY_REQUESTS_MAX: Final = 5
"""Requests to cancel one expired order: a venue that refuses them all has to be called by a person."""
WAITING_RECENT_MAX: Final = 4_096
"""Orders that began to wait last, kept in memory as the view may lack them: a second of many."""
OPENING_SOON_US: Final = 1_000_000
"""Orders that arrive within this time before an opening follow the older ones: the recording of a batch
takes no longer."""
SETTLE_S: Final = 0.1
"""Poll interval for due trades: views follow the journal, and settlement follows views."""
SETTLE_BATCH: Final = 64
"""Trades settled in one commit. Its 250 facts hold SQLite's only write lock for some 5 ms, which an
order placed at this moment waits for."""
SERVICE_S: Final = 0.25
"""Interval between polls of instruments with a coupon, dividend, split or maturity due."""
UNITS_QUIET_S: Final = 2.0
"""Seconds from the begin of the day of a split or redemption to the last look at open orders: the
instruments and clocks of other processes are up to REFERENCE_STALE_S old, and wall clocks differ."""
SERVICE_RETRY_S: Final = 2.0
"""Pause before accounts that have to wait are served again: most wait for a settlement."""
SERVED_BATCH: Final = 64
"""Accounts served in one commit, as `SETTLE_BATCH`."""
SERVED_BLOCKED_MAX: Final = 4_096
"""Accounts with a corporate action to come that are kept in memory; with more, all are visited again."""
QUARANTINED_SERVED_MAX: Final = 10_000
"""Quarantined accounts that are served one by one, as their positions cannot be shown."""
ROLL_S: Final = 0.25
"""Interval between polls of bills to be rolled over."""
ROLL_RETRY_S: Final = 2.0
"""Pause before positions are looked at again that could not be rolled over, as `SERVICE_RETRY_S`."""
ROLL_LEAD_US: Final = 3_600_000_000
"""An hour before the day of a rollover ends in UTC it is decided whether a bill follows, if the market
has not closed before: enough for the positions of a large issue, before they may be repaid."""
ROLLED_BATCH: Final = 64
"""Positions rolled over in one commit, as `SERVED_BATCH`."""
BILLS_CONSIDERED_MAX: Final = 64
"""Bills from which a rollover chooses, the latest maturity first: a weekly bill of a year has 52."""
FRESH_TRADES_MAX: Final = 10_000
"""Trades handed from execution to settlement; if no settlement runs here, the oldest are dropped."""
FAULTS_SHOWN_MAX: Final = 1_000
"""Blocked orders that a follower lists by name; beyond, the log says that there are more."""
SANDBOX_REST_DAYS: Final = 40
"""Idle business days after which the sandbox's clock pauses: settlement takes 30 at most, and one day
every ten seconds would be 24 years by the end of a night."""
SANDBOX_DAY_MIN_US: Final = 50_000
"""Each day is an append; a faster clock would dominate the journal."""
STOP_S: Final = 8.0
"""Graceful shutdown of followers and children; `serve` exits within 10."""
CHILD_RETRY_S: Final = (0.2, 10.0)
"""Back-off before the background process is restarted: the first, and the longest."""

# --- health -------------------------------------------------------------------------------------
HEALTH_POLL_S: Final = 1.0
"""Poll interval of a process's health probes, a few reads each: a fault is reported within this."""
HEALTH_SILENT_S: Final = 5.0
"""Silence after which a probe or process is reported: as long as a lease, and soon enough to be reported
within ten seconds on a busy machine."""
HEARTBEAT_S: Final = 2.0
"""Interval between heartbeats of a process: a commit each; two may be missed before it counts as silent.
"""
HEARTBEAT_ROWS_KEPT_US: Final = 24 * 3600 * 1_000_000
"""Retention of a process that vanished without a last heartbeat: longer than clocks differ."""
PARTS_START_S: Final = 15.0
"""Extra time for processes that start together, beside `HEALTH_SILENT_S`: four interpreters on two busy
processors took ten."""
PART_FAILING_S: Final = 3.0
"""A follower that keeps failing for this long is reported; most faults are over by then."""
PART_STUCK_S: Final = 10.0
"""The longest step of a follower's work: a message broker may take this long."""
METRICS_RETRY_S: Final = 5.0
"""Interval at which a busy metrics port is retried."""
FREE_BYTES_MIN: Final = 100 * 1024**2
"""Free disk space below which a warning is reported: about 400 000 facts."""

# --- prices -------------------------------------------------------------------------------------
PRICE_MAX_AGE_US: Final = 15 * 60 * 1_000_000
"""An order with an older price waits for a new one."""
SANDBOX_PRICE_MAX_AGE_US: Final = 24 * 3600 * 1_000_000
"""In a sandbox prices arrive once a day at most."""
SANDBOX_PRICES_POLL_S: Final = 600.0
"""Interval at which a sandbox checks the age of its own prices: they are good for a day."""

TRACES_SHOWN: Final = 20
"""Clock advances, and simulated trades, that `migrate --live` lists of an older journal: enough to
recognise its use, on one screen."""
