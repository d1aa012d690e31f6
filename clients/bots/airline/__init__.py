"""An airline that sells seats in a chat."""
