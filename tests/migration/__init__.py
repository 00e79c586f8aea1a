"""What sends mail by another way."""
