"""`python -m order_engine`, which is `order-engine` without the script."""

from order_engine.main import main

main()
