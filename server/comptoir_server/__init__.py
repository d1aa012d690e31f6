"""The Comptoir server: payments inside a conversation."""
