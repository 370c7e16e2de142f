"""`python -m engine.cli`, which is `order-engine` without the script."""

from engine.cli.main import main

main()
