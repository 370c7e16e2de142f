"""`python -m engine.cli`, by which a running `serve` of the former release starts its children."""

from order_engine.main import main

if __name__ == "__main__":
    main()
