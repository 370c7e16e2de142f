"""The public address of the recorder: `PERSISTENCE_MODULE=engine.recorder`."""

from engine.journal.recorder import (
    JournalAggregateRecorder,
    JournalApplicationRecorder,
    JournalFactory,
    JournalProcessRecorder,
    JournalTrackingRecorder,
)

__all__ = [
    "JournalAggregateRecorder",
    "JournalApplicationRecorder",
    "JournalFactory",
    "JournalProcessRecorder",
    "JournalTrackingRecorder",
]
