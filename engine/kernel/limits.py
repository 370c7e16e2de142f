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
COMPANIONS: Final = 2
"""Facts of its account that an order's fact is recorded with: so many are looked for at first."""
GROUP_FACTS_MAX: Final = 2_000
"""Facts merged into one transaction: commit cost is shared long before, latency is not."""
QUEUE_APPENDS_MAX: Final = 10_000
"""Appends waiting for the writer; a caller beyond gets `Unavailable` instead of more memory."""
APPEND_RETRY_PAUSES_S: Final = (0.0, 0.05, 0.2, 0.5, 1.0, 0.0)
"""Pauses after each try of a group over a broken connection: a server that restarts is back within
them, and a caller has its answer long before `2 * WRITE_WAIT_S`."""

# --- trading limits -----------------------------------------------------------------------------
RECENT_ORDERS_MAX: Final = 32
"""Different orders of an account that a duplicate is looked for among: nobody means to send more within
the few seconds that a window has, and each is carried along in the account's state."""
TALLY_HELD_MAX: Final = 100_000
"""Orders accepted and not read back yet: ten seconds of a silent journal at 10 000 a second."""
TALLY_LOOK_S: Final = 0.05
"""How often the journal is read for what other processes have accepted."""

# --- the desk -----------------------------------------------------------------------------------
DECIDE_ATTEMPTS_MAX: Final = 12
"""Decisions of one command before it answers `Unavailable`: each needs another process to have been
first on the same account, and with three of them a dozen in a row is one case in a thousand."""
COMMANDS_REMEMBERED_MAX: Final = 20_000
"""Repeatable commands that a desk knows to be in the journal: a few seconds' worth. An older one that
comes again is found by the journal itself, at the price of one refused insert."""
CONTESTED_FOR: Final = 8
"""Looks in vain after which a stream that met a conflict is taken to be this process's alone again."""
CONTESTED_MAX: Final = 50_000
"""Streams remembered to have met a conflict: as many as states."""
FOLLOWED_FACTS_MAX: Final = 2_000
"""Facts that one look may pass over: a fifth of a second of a busy journal, read in milliseconds. If
more have come since the look before, accounts are read one by one, once."""
REFERENCE_FRESH_S: Final = 0.5
"""An instrument, the clock or a halt known for longer is looked at again, by one of all who ask."""
REFERENCE_STALE_S: Final = 0.9
"""Longer than this nobody relies on it: a change by another process binds every decision within 1 s."""
CLOCK_STEP_MAX_US: Final = 366 * 86_400 * 1_000_000
CLOCK_AHEAD_MAX_US: Final = 100 * 366 * 86_400 * 1_000_000
"""Holiday calendars are known for about so long."""

# --- memory -------------------------------------------------------------------------------------
GC_OBJECTS: Final = 50_000
GC_YOUNG: Final = 20
GC_MIDDLE: Final = 100
"""The collector's thresholds in a process that serves: a request makes some hundred objects that die
with it, and next to none of them in cycles."""

SWITCH_S: Final = 0.001
"""After which a busy thread lets another have the interpreter (Python's own bound is 5 ms)."""

# --- waiting ------------------------------------------------------------------------------------
WRITE_WAIT_S: Final = 5.0
"""How long a write waits for the database's write lock before it answers `Unavailable`."""
IDLE_IN_TRANSACTION_S: Final = 2.0
"""A frozen writer frees the journal's head after this long (PostgreSQL ends its session)."""
MIGRATION_PAUSE_S: Final = 60.0
"""The same for `migrate`: alembic is loaded in the middle of it, on a busy machine in seconds."""
LOCK_TIMEOUT_S: Final = 4.0
"""Longer than a frozen writer may hold the head, shorter than `WRITE_WAIT_S`."""
CONNECT_TIMEOUT_S: Final = 3.0
POLL_S: Final = 0.02
"""Another process's SQLite appends are noticed this fast; in-process ones in about 1 ms. A look costs
0.1 ms, and what has gathered since the last one is done at once."""
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
SERVE_PROCESSES: Final = 4
"""Processes of one `serve` with all roles: the API and three children."""
STATES_CACHED_MAX: Final = 50_000
"""Folded states kept by a desk, and ends of streams by a journal, least recently used out: 100 MB."""
SNAPSHOT_EVERY: Final = 200
"""Facts after which a folded state is stored, so that a cold load reads at most this many."""
SNAPSHOT_RUNG: Final = 2_000
"""One snapshot of so many facts is kept for good: an account as it was at any time is folded from at
most these and `SNAPSHOT_EVERY` more, in about 50 ms, and all take a hundredth of its facts' room."""

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

# --- bonds --------------------------------------------------------------------------------------
BOND_YEARS: Final = range(1800, 3000)
"""Years of the dates of a bond: consols and bonds of a thousand years are within them."""
COUPON_SCHEDULES_MAX: Final = 4_096
"""Cached schedules, half a kilobyte each: those of every bond that is priced at a time."""
COUPONS_MAX: Final = 1_200
"""Coupons to come that a yield is worked out from: monthly for a hundred years, 20 ms."""
YIELD_STEPS_MAX: Final = 64
"""Steps of a yield's solver, which is done in 5 to 10."""

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

# --- HTTP ---------------------------------------------------------------------------------------
HTTP_BODY_BYTES_MAX: Final = 64 * 1024
"""The longest body that makes sense is a few hundred prices."""
HTTP_HEADER_BYTES_MAX: Final = 8 * 1024
"""One header line, or the request line: a token of ours has under 1 KiB."""
HTTP_HEADERS_MAX: Final = 64
"""Headers of one message: behind two proxies there are about 20."""
HTTP_HEAD_BYTES_MAX: Final = 32 * 1024
"""A whole head, request line and all: what proxies and servers take by default."""
MESSAGE_BYTES_FREE: Final = 4 * 1024
"""What a message may hold in memory uncounted until it is answered: the usual head and a small body."""
MESSAGES_BYTES_MAX: Final = 16 * 1024**2
"""What heads and bodies hold beyond that in a process until they are answered, a quarter of it from one
address: two hundred of the largest at once (`python -m bench.heads`)."""
HTTP_READ_BYTES: Final = 16 * 1024
"""Read from a connection at once: all that it can hold beside the message that is answered."""
HTTP_BODY_BUFFER_BYTES: Final = 8 * 1024
"""Of a body that nobody reads yet; half of where reading pauses."""
HTTP_UNSENT_BYTES_MAX: Final = 128 * 1024**2
"""Answers that clients have not taken, in a process: beyond, the connection with the most is ended."""
HTTP_MESSAGE_S: Final = 10.0
"""From a message's first byte to its last; a 64 KiB body takes this at 52 kbit/s."""
HTTP_IDLE_S: Final = 75.0
"""A connection without a message is kept this long: longer than load balancers keep theirs (60 s), so
that it is them who close, and never we under a request that they are sending."""
HTTP_LINGER_S: Final = 2.0
"""After an answer that came before the end of its request, the rest is read and dropped for this long,
so that the client sees the answer and not a reset."""
HTTP_DRAIN_IDLE_S: Final = 0.5
"""On stopping, a connection is closed when it has been quiet for this long: a request that a client had
sent before it could know is here by then."""
HTTP_STOP_S: Final = 9.0
"""On stopping, requests in flight have this long; the process is then out within 10 s."""
JSON_DEPTH_MAX: Final = 8
"""No body nests deeper than 3."""
PARAM_FAULTS_MAX: Final = 100
"""Faults of one body that are listed; the answer stays under the size of the question."""
PARAM_FAULTS_IN_DETAIL: Final = 3
"""Of them, those that `detail` tells; all stand in `params`."""
CLIENT_REQUEST_ID_CHARACTERS_MAX: Final = 255
"""As for idempotency keys."""
ID_CHARACTERS_MAX: Final = 200
"""Ids of ours have 26 characters; an operator may choose those of instruments. A stream's name may be
255 bytes long."""
REFERENCE_CHARACTERS_MAX: Final = 64
"""A client's own label or id: a UUID has 36."""
NAME_CHARACTERS_MAX: Final = 200
"""Names of people, instruments, issuers."""
LIST_LIMIT: Final = 100
LIST_LIMIT_MAX: Final = 500
"""Rows of one page: 500 orders are about 1 MB."""
HISTORY_PAGE_BYTES: Final = 2 * 1024**2
"""A page of a history ends here if not at its limit: each of its facts brings the whole order along, and
an order of a thousand trades is half a megabyte."""
PRICES_MAX: Final = 500
"""Prices of one request; more fit into another."""
ENTRIES_MAX: Final = 50
"""Entries of an array inside a body, or repetitions of a query parameter."""
VIEW_WAIT_S: Final = 2.0
"""How long a read waits for a view to catch up before it answers `view_behind`."""
ACCOUNTS_REMEMBERED_MAX: Final = 100_000
"""Accounts whose tenant is remembered by a process, least recently used out: 20 MB."""
REFRESH_S: Final = 0.5
"""Prices, disabled clients and signing keys of another process are known here after this long."""
RATE_BUCKETS_MAX: Final = 20_000
"""Clients, or addresses, whose requests are counted, for each of five quotas, least recently used out:
4 MB each. Whoever has more addresses than that is not stopped by counting them."""
ERROR_WAIT_S: Final = 5.0
"""The longest that an error waits for its turn: clients give up after 10 s or more."""
CONNECTIONS_MAX: Final = 8_192
"""Open connections of one process, some 10 KB each; a load balancer keeps a few hundred."""
CONNECTIONS_EACH_MAX: Final = 2_048
"""Those from one address that is no trusted proxy, and those of one client: a quarter of all."""
FILES_KEPT: Final = 256
"""File descriptors that connections leave to databases, logs and child processes."""
FORWARDED_MAX: Final = 16
"""Hops of X-Forwarded-For that are looked at, from the last: more proxies than that are no road."""
CLIENTS_SEEN_MAX: Final = 10_000
"""Clients whose last offset is kept for reading their own writes, least recently used out."""

# --- operational tables -------------------------------------------------------------------------
SYMBOLS_MAX: Final = 100_000
"""Symbols whose latest quote is kept in memory, about 600 bytes each: every listing of ten exchanges."""
QUOTES_MAX: Final = 10_000
"""Quotes recorded in one transaction, and read in one page."""
PRICE_AHEAD_MAX_US: Final = 60 * 1_000_000
"""A quote further ahead of our clock is refused: until its time came no true one would replace it."""
PRICE_JUMP_WINDOW_US: Final = 60 * 1_000_000
"""A jump is measured from the price of so long ago too: else many small steps would make a large one."""
CLAIM_ATTEMPTS_MAX: Final = 5
"""Looks at a symbol's owner: each further one means that another process claimed it just before."""
PERSONAL_CHARACTERS_MAX: Final = 255
"""A name or a reference; four bytes each still fit an index key of PostgreSQL."""
SUBJECTS_MAX: Final = 500
"""Subjects whose words are read at once: the longest page of a list."""
KEYS_CLEARED: Final = 100
"""Rows of expired idempotency keys that each new row clears: more than come, and a millisecond."""
REFUSAL_TEXT_BYTES_MAX: Final = 4_096
"""Detail and context of one refusal, each; a request with hundreds of faults must not fill the disk."""
REFUSALS_LINGER_S: Final = 0.02
"""Between commits of refusals that come several at once: orders want the same file, and a flood of
refusals is one commit in so long, not hundreds a second."""

PERSON_CHARACTERS_MAX: Final = 255
"""The id of a person behind a client, which stands in its facts: an employee number or a UUID."""
SETTING_CHARACTERS_SHOWN: Final = 60
"""Of a setting in the act that records it: all of them fit into one act."""
DENIAL_SOURCES_MAX: Final = 100
"""Sources of refused access that are counted apart in one minute of one process: a flood from a
thousand addresses is a hundred of them and `others`, and a few kilobytes of memory."""
DENIALS_WRITTEN_S: Final = 5
"""How often counts of refused access are written, once a source's first refusal of the minute was: what
a process loses that is killed. A source without rest makes thirteen rows a minute."""
DENIAL_MINUTES_MAX: Final = 10
"""Minutes of counts that wait for a database which cannot be written; older ones are forgotten."""

REASON_CHARACTERS_MAX: Final = 200
"""Why trading was halted or a loss accepted: a sentence, and the number of a ticket."""

# --- webhooks -----------------------------------------------------------------------------------
URL_CHARACTERS_MAX: Final = 2_048
"""What every server and proxy takes; the path of a webhook holds a token of some hundred at most."""
WEBHOOKS_MAX: Final = 50
"""Webhooks of a tenant: each event is stored and sent once for each of them."""
WEBHOOK_SECRETS_MAX: Final = 3
"""Secrets of a webhook that sign at the same time, should it be given new ones in a row."""
WEBHOOK_OVERLAP_US: Final = 48 * 3600 * 1_000_000
"""How long the secret before signs too: a weekday's work to bring the new one to every receiver."""
WORDS_CLAIM_S: Final = 3_600
"""A reference whose account has no facts after this long is free again: the process that wrote it is
gone. Longer than any request takes, and than clocks of two processes are apart."""
WEBHOOK_CLAIM_S: Final = 60.0
"""A URL whose webhook has no facts after this long is free again: the process that took it is gone."""

ATTEMPT_S: Final = 15.0
"""A receiver has this long for its whole answer: it should note the event, answer, and then work."""
ANSWER_BYTES_MAX: Final = 64 * 1024
"""What is read of an answer, headers included. Nobody looks at it, but reading to its end keeps the
connection."""
ATTEMPTS_MAX: Final = 10
"""Attempts of a delivery before it is `failed`: at the longest pauses that can be drawn, 2.6 days."""
RETRY_AFTER_MAX_US: Final = 24 * 3600 * 1_000_000
"""How long a receiver can have us wait by `Retry-After`."""
WEBHOOK_WIDTH: Final = (4, 32)
"""Requests at once to one receiver: the least, to one that fails, and the most, to one that answers."""
WEBHOOKS_AT_ONCE: Final = 1_024
"""Requests at once in all, a socket each: each receiver has its part, and be it one."""
WEBHOOK_AHEAD: Final = 8
"""Times as many are handed to the sender as it sends at once: it goes on while a commit is made."""
WEBHOOK_FAILURES: Final = 8
"""Failures in a row after which a receiver is given rests: one event that it refuses is no cause."""
WEBHOOK_BACKOFF_S: Final = (0.01, 1.0)
"""Half the first of these rests, and the longest that doubling comes to: four attempts a second then,
which take no processor time from the others."""
BACKLOG_KEPT: Final = 128
"""Events with which a webhook's backlog stays in memory, 30 kB; the rest is read again from the journal,
a page at a time, of which what is not put down yet stays there too."""
BACKLOG_FACTS: Final = 512
"""Facts read at once for one backlog: 4 ms in which all others wait, and as many as its lane takes."""
NOTES_AT_ONCE: Final = 128
"""When many come, the sender lets so many gather before it has them noted: a commit for all."""
NOTES_PACE_S: Final = 0.03
"""Or this time. Where fewer come in it, each is noted at once: the next of its resource waits."""
NOTES_COUNTED_S: Final = 0.1
"""How long is counted to tell the two apart."""
DUE_PAGE: Final = 256
"""Deliveries of one webhook that are fetched at once, and kept ready: eight rounds of the widest."""
DUE_POLL_S: Final = 1.0
"""How often the table is looked at for what others have put there: redelivered, replayed, tests."""
BODIES_CACHED_MAX: Final = 4_000
"""Bodies of events kept, for webhooks that want the same: 6 MB."""
BODIES_FRESH_S: Final = 5.0
"""A body kept for longer is read again: a personal word in it may have been erased."""
BODY_AWAITED_US: Final = 5_000_000
"""When an event that its view cannot show (it rebuilds, or the stream is in quarantine) is looked for
again."""
REPLAY_EVENTS_MAX: Final = 10_000
"""Events of one replay, which are put down in one transaction: 0.2 s. More are several replays."""
DELIVERIES_KEPT_US: Final = 30 * 86_400 * 1_000_000
"""How long finished deliveries are shown: whoever looks for one has noticed by then."""
DELIVERIES_SWEPT: Final = 1_000
"""Older ones removed at once, each minute at most: a transaction of some ms."""
SENDER_STOP_S: Final = 3.0
"""How long a sender that stops waits for answers under way: what is not noted is sent again."""

# --- clients and tokens -------------------------------------------------------------------------
TENANT_CHARACTERS_MAX: Final = 64
"""A tenant's name stands in every fact of its accounts."""
TOKEN_LIFE_S: Final = 900
"""A leaked token is of use for so long; a client asks for the next one with its secret."""
SECRET_OVERLAP_MAX_US: Final = 31 * 86_400 * 1_000_000
"""How long a client's former secret may stay good: whoever needs longer needs another client."""
ROTATE_ATTEMPTS_MAX: Final = 5
"""Tries to throw signing keys away: each further one means that another process rotated just before."""
TOKEN_BYTES_MAX: Final = 8 * 1024
"""As long as a header line may be; ours are about 500."""
TOKENS_CACHED_MAX: Final = 10_000
"""Verified tokens kept until they expire, least recently used out: a kilobyte each."""
CLOCKS_APART_S: Final = 60
"""Wall clocks of processes that share an installation may differ this much when tokens are judged."""

# --- files that are imported --------------------------------------------------------------------
IMPORT_BYTES_MAX: Final = 64 * 1024**2
"""A file is checked as a whole before a line of it is recorded, so it is held in memory."""
IMPORT_TEXT_CHARACTERS_MAX: Final = 255
"""One cell: as long as the API takes a name."""
IMPORT_FAULTS_MAX: Final = 1_000
"""Faults that are listed; a file with more has the wrong columns, not a thousand slips."""

# --- audit --------------------------------------------------------------------------------------
DAMAGE_POLL_S: Final = 0.5
"""How often a process that writes looks whether another has found the journal damaged."""
FILE_CHECK_S: Final = 0.5
"""How often a SQLite file is looked at, whether it is still the one that is open: 2 us each time."""
VIEWS_RETRY_S: Final = 1.0
"""Between two tries to make unusable views again: where the first does not help, the second will not."""
VIEWS_CHECKED_BYTES_MAX: Final = 64 * 1024**2
"""A views file up to this size is checked by SQLite when an engine starts: about 0.2 s."""
TRAIL_POINTS_MAX: Final = 256
"""Points of the journal that a process, or a view, remembers to have passed: then it keeps two of each
power of two of the distance, about 60 of a journal of a billion facts."""
AUDIT_STEP_FACTS: Final = 200
AUDIT_STEP_S: Final = 0.2
"""The background audit's pace: 1 000 facts a second, half a percent of a core. Each step is about a
millisecond, so whoever shares its interpreter does not notice; a nice value would only have a slow
thread hold what fast ones wait for."""
AUDIT_PAUSE_S: Final = 60.0
"""Before it begins again."""
AUDIT_SAVE_S: Final = 10.0
"""How often its place is kept: what a restart costs it at most."""
AUDIT_PAGE_FACTS: Final = 2_000
"""Rows fetched at once: about 1 MB, and a stop or a resume point comes soon after."""
AUDIT_FINDINGS_MAX: Final = 100
"""Findings after which a walk ends: a journal with more has one cause, not a hundred."""
AUDIT_POINT_S: Final = 10.0
"""How often a resume point is kept: what a kill costs at most."""
AUDIT_POINT_SHARE: Final = 20
"""A resume point that took a second is kept again after so many."""
AUDIT_POINT_AGE_US: Final = 24 * 3600 * 1_000_000
"""What was looked at longer ago is looked at again."""

# --- backups ------------------------------------------------------------------------------------
BACKUP_PAGES: Final = 2_560
"""Pages of SQLite that are copied at once, 10 MB: between them others get the interpreter."""

# --- dumps --------------------------------------------------------------------------------------
KEY_FILE_BYTES_MAX: Final = 64 * 1024
"""Of a public key in PEM, and of a list of public keys: each is a few hundred bytes."""
DUMP_LINE_BYTES_MAX: Final = 1024 * 1024
"""One line: a body of `BODY_BYTES_MAX` in base64, and room around it."""
DUMP_ROWS_PER_STATEMENT: Final = 1_000
"""Facts or rows that are read, or restored, at once."""
PASSPHRASE_CHARACTERS_MIN: Final = 12
"""A dump can be attacked at leisure by whoever has it."""

# --- views --------------------------------------------------------------------------------------
TIMES_CACHED_MAX: Final = 16_384
"""Printed times, and as many seconds, 150 bytes each: a resource shows the same few times again in each
of its events."""
VIEW_PAGE_FACTS: Final = 2_000
"""Facts folded into one transaction of the views: rows touched often are written once, and readers of
a catching-up view still see it move several times a second."""
VIEW_PACE_S: Final = 0.05
"""From the beginning of one page to that of the next, while pages are not full: each costs some twenty
statements, whether it has one fact or a hundred. Who reads his own writes from a list waits as long."""
VIEW_SHARE: Final = 3
VIEW_PAUSE_S: Final = 0.1
"""Views that have much to do take one part in so many of the time, and rest this long at most between
pages: an order that goes through its life within one page is written once, and not three times."""
VIEW_ROWS_PER_STATEMENT: Final = 1_000
"""Rows of one statement: enough to amortise it, small enough to need no memory worth counting."""
POSITIONS_LOOKED_FOR_MAX: Final = 10_000
"""Facts of an account that are looked through, about 20 ms, for a position that is in no state any more.
In a longer one a view that has come to its end says that there never was such a position."""
VIEW_POLL_S: Final = 0.01
"""How often a reader who waits for a view looks again: the wait itself is a few of these."""
CLAIM_WAIT_S: Final = 0.5
"""How long a rebuild waits for a claim: within this a server notices that its holder was killed."""
REBUILD_PAGE_FACTS: Final = 5_000
"""Facts of a page of a rebuild: no reader waits for it, and most orders are begun and filled within one,
so that their rows are written once. 15 MB in memory."""
REBUILD_STATES_MAX: Final = 4_000
"""Folded states that a process of a rebuild keeps: orders of two busy days, 30 MB. Others are read again
when they move."""
REBUILD_LATE_ROWS: Final = 4_000
"""Rows of a table that a process of a rebuild writes later, once for all pages that touch them: those of
the states that it keeps. 6 MB of orders."""
REBUILD_PROCESSES_MAX: Final = 8
"""Processes of one rebuild: for each the database goes through the whole journal to pick its share."""
REBUILD_ALONE_FACTS: Final = 20_000
"""Facts up to which a rebuild is quicker in one process: starting another takes half a second."""
REBUILD_TRIES_MAX: Final = 100
"""Tries to find the live view where the rebuilt one stands: a page of the live view takes longer than
the moment between two looks, so that a few are enough."""
REBUILD_REPORT_S: Final = 0.5
"""How often a rebuild shows how far it has come: each time is a commit."""
REBUILD_POLL_S: Final = 0.5
"""How often those who keep views look whether a rebuild was asked for."""
REBUILD_AGAIN_S: Final = 60.0
"""Pause before views of another release's shape are rebuilt again, if that failed."""
REBUILDS_KEPT: Final = 100
"""Rebuilds that are remembered."""
FINDINGS_SHOWN_MAX: Final = 100
"""Differing rows that are shown with the facts behind them: a hundred are one bug."""
QUARANTINED_SHOWN_MAX: Final = 100
"""Quarantined streams of a view that are listed: one is a bug, a hundred are one bug."""
RELEASES_KEPT: Final = 1_000
"""Streams that came out of quarantine and are remembered, for readers of events who were away: they are
few, and a reader is back within minutes."""
FAULT_CHARACTERS_MAX: Final = 500
"""Of the words of the error that quarantined a stream: enough to find the line of code."""

# --- events to others, and offsets --------------------------------------------------------------
BROKER_WAIT_S: Final = 10.0
"""How long a message broker may take for a page of events: then it is asked anew."""
BROKER_DUPLICATES_S: Final = 120.0
"""How long a broker shall know an event again that is sent twice: a restart and a retry take seconds."""
OUTLET_POLL_S: Final = 0.05
"""How often the view is asked for events to publish."""
OFFSET_MAX: Final = 10**18 - 1
"""The highest offset that is read from outside: 18 digits, which both databases' integers hold."""
EVENT_STREAMS_MAX: Final = 2_000
"""Streams of events that are open at once in a process: 12 to 25 kB for an idle one with its
connection, 40 to 142 kB for one that is behind and not read, so 50 MB when all are idle
(docs/benchmarks.md)."""
EVENT_STREAMS_BYTES_MAX: Final = 64 * 1024**2
"""Pages of events that were read for streams that are behind and are not sent yet, in a process; for one
client a quarter of it. Others wait for room, and streams that are not behind need none."""
EVENT_STREAM_READS: Final = 2
"""Pages read at once for streams that are behind, one for each client: a crowd of them waits for itself,
and not the reader that all others share."""
EVENT_STREAM_READ_SHARE: Final = 4
"""Of its turn a client reads one part in so many and rests the others: a quarter of a core at most."""
EVENT_STREAM_RETRY_S: Final = 10
"""When to ask again for a stream where too many are open: they are, or they end, for minutes."""
EVENT_STREAM_LOOK_S: Final = 0.05
"""How often the view is asked for new events, once for all streams of a process."""
EVENT_STREAM_CHECK_S: Final = 1.0
"""How often each stream is asked whether it may go on: a revoked client must be gone within 5 s."""
EVENT_STREAM_BEAT_S: Final = 15.0
"""A stream that says nothing for so long says so: proxies close what is quiet for 30 to 60 s."""
EVENT_STREAM_STALL_S: Final = 5.0
"""A reader who takes nothing for so long is disconnected; `Last-Event-ID` brings it back."""
EVENT_STREAM_PAGE: Final = 200
"""Events read at once for all streams, and at most for one that is behind."""
EVENT_STREAM_PAGE_FIRST: Final = 16
"""Events read at first for a stream that is behind: whether they are large is not known yet."""
EVENT_STREAM_PIECE_BYTES: Final = 16 * 1024
"""Sent at once to one client, and waited for: what a client does not take is no more than this."""
EVENT_STREAM_SOCKET_BYTES: Final = 32 * 1024
"""What the system keeps of a stream that is not taken, which it doubles: it would take megabytes."""
EVENT_STREAM_KEPT_MAX: Final = 4_096
"""Newest events that all streams share in memory, a kilobyte each; older ones are read from the view."""
EVENT_STREAM_KEPT_S: Final = 30.0
"""And how long: personal words that are erased must not be sent from memory."""

# --- seals --------------------------------------------------------------------------------------
SEAL_FACTS: Final = 1_000
SEAL_S: Final = 10.0
"""A seal is made after so many facts, or when the first unsealed one is seen for so long: what a forger
who comes later can still change unnoticed is no more than that."""
SEAL_POLL_S: Final = 0.25
"""How often it is looked whether a seal is due: each is a commit, and a busy journal has four a second
of them."""
SEAL_PIECE_FACTS: Final = 50_000
"""Facts of one seal at most: an old journal that was never sealed is caught up with in pieces of a
second, and begins again where it was stopped."""
SEAL_BYTES_MAX: Final = 4_096
"""A checkpoint is 250 bytes; one that others have signed too is a few times that."""
SEAL_WAIT_S: Final = 15.0
"""How long a command waits until the newest facts are sealed by whoever does that: over `SEAL_S`."""
PUBLISH_S: Final = 3.0
"""How long a receiver of seals may take: a beat of the lease before it, and it is held still."""
PUBLISH_POLL_S: Final = 1.0
"""How often a new seal is looked for, should nothing have rung."""

# --- followers ----------------------------------------------------------------------------------
FOLLOW_RETRY_S: Final = (0.1, 5.0)
"""Pause before a failed follower starts over: the first, and the longest that doubling comes to, for
which orders may still stand when the cause is over."""
LEASE_POLL_S: Final = 0.5
"""How often a follower without its lease looks whether it is free."""
OFFSET_SAVE_S: Final = 0.5
"""A follower's offset is saved this often: a commit each, and what is seen twice is done once."""
TENANTS_CACHED_MAX: Final = 50_000
"""Orders whose tenant a follower remembers: a few megabytes, and looked up again beyond."""
EXECUTION_BATCH: Final = 256
"""Orders worked through at once: one commit for all, and a stop or a beat comes soon after."""
BURST_MIN: Final = 4
"""The same where another process keeps writing to the account: so few fit between two commits."""
VENUE_REPORTS: Final = 1_000
"""Reports fetched from a venue at once."""
VENUE_POLL_S: Final = 0.05
"""How often a venue is asked for news."""
RECONCILE_S: Final = 5.0
"""How often each order at a venue is asked about by name, should its report have been lost."""
WAITING_S: Final = 0.5
"""How often new prices are looked for on behalf of orders that wait for one."""
WAITING_ALL_S: Final = 5.0
"""How often every waiting order is tried, new prices or not."""
SETTLE_S: Final = 0.1
"""How often it is asked what is due: views follow the journal, and settlement follows views."""
SETTLE_BATCH: Final = 256
"""Trades settled at once, as `EXECUTION_BATCH`."""
FRESH_TRADES_MAX: Final = 10_000
"""Trades handed from execution to settlement; should nobody settle here, the oldest are forgotten."""
FAULTS_SHOWN_MAX: Final = 1_000
"""Orders whose fault a follower shows by name; beyond, the log says that there are more."""
SANDBOX_REST_DAYS: Final = 40
"""Business days without any other fact after which the sandbox's clock waits for one: settlement takes
30 at most, and one day every ten seconds would be 24 years by the end of a night."""
SANDBOX_DAY_MIN_US: Final = 50_000
"""Each day is an append; a clock faster than this would be the journal's main writer."""
STOP_S: Final = 8.0
"""How long a stopping process waits for its followers and its children: `serve` is out within 10."""
CHILD_RETRY_S: Final = (0.2, 10.0)
"""Pause before the background process is started again: the first, and the longest."""

# --- health -------------------------------------------------------------------------------------
HEALTH_POLL_S: Final = 1.0
"""How often a process looks at what it rests on, by a few reads: a fault is told within this."""
HEALTH_SILENT_S: Final = 5.0
"""What has not answered, or shown life, for so long is said to be silent: as long as a lease lasts, and
whoever looks within ten seconds is told, on a busy machine too."""
HEARTBEAT_S: Final = 2.0
"""How often a process says that it lives: a commit each, and two may be missed before it is silent."""
HEARTBEAT_ROWS_KEPT_US: Final = 24 * 3600 * 1_000_000
"""How long a process that is gone without a word is remembered: longer than clocks are apart."""
PARTS_START_S: Final = 15.0
"""Processes that are started together take so long at most to come to life, beside `HEALTH_SILENT_S`:
four interpreters on two busy processors took ten."""
PART_FAILING_S: Final = 3.0
"""A follower that has started over for so long is told of; most faults are over by then."""
PART_STUCK_S: Final = 10.0
"""A piece of a follower's work takes no longer: the longest wait within one is for a message broker."""
METRICS_RETRY_S: Final = 5.0
"""How often a port for figures that was taken is tried again."""
FREE_BYTES_MIN: Final = 100 * 1024**2
"""Room on the disk below which people are told: about 400 000 facts."""

# --- prices -------------------------------------------------------------------------------------
PRICE_MAX_AGE_US: Final = 15 * 60 * 1_000_000
"""An order that finds an older price waits for a new one."""
SANDBOX_PRICE_MAX_AGE_US: Final = 24 * 3600 * 1_000_000
"""A sandbox has nobody who sends prices all day."""
SANDBOX_PRICES_POLL_S: Final = 600.0
"""How often a sandbox looks whether its own prices grow old: they are good for a day."""

TRACES_SHOWN: Final = 20
"""Clock advances, and simulated trades, that `migrate --live` lists of an older journal: enough to
recognise what it was used for, and one screen."""
