"""The rules of the trade, pure: no clock, no randomness, no input or output."""
