"""Stand-ins: local servers that speak a provider's real wire protocol, for tests, demonstrations and partners' bots."""
