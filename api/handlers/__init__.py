"""One file per resource: from a request to an answer."""
