"""Where orders are executed. Imports the rules only."""
