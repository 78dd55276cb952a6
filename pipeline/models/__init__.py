"""Networks only; imports nothing of this project."""
