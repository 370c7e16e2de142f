"""The past of one stream, told to people. Reads the journal, writes nothing."""
