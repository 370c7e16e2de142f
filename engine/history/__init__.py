"""The history of a stream, for people. Reads the journal, writes nothing."""
