"""Published test suites for code outside the engine, such as venue adapters."""
