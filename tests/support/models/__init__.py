"""Independent models, and the facts and rows that tests are made of."""
