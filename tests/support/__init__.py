"""What tests share. Holds no test."""
