"""Whole engines on one journal, in one thread, where a seed decides everything that can differ.

    database   the journal's database in memory: locks, unique keys, lost answers, late statements
    process    an engine process: its caches, its queue, its clocks, the commands it is handling
    people     who asks: clients with keys and retries, a venue, the followers that execute and settle
    audit      what must hold in the end, by the integer model and by what everybody was told
    run        the seed, the schedule, the faults

The decider, the appender, the writer's grouping, the journal's folding and the rules are the real ones.
Simulated are the threads (`desk.Desk` and `api.http.bridge` drive the same generators), the database
behind `sessions.Session` and `pages.Pages`, the clocks, the network and the venue.
"""
