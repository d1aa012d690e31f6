"""A purchase in a chat, played against the real server, a PayPal stand-in and the airline's bot, each in its process.

What plays here is an outsider: it starts the commands that anybody can start, and speaks the public contract.
"""

from __future__ import annotations
