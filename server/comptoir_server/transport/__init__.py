"""The door: bytes and credentials in, bytes and statuses out."""
