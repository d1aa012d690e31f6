"""A channel in the terminal: talk to a bot, link a wallet, pay, without leaving the conversation.

`conversation` acts for one person through the public contract, `render` draws what they see, `command` reads what
they type.
"""

from __future__ import annotations

from comptoir.chat.command import command
from comptoir.chat.conversation import Conversation
from comptoir.chat.render import draw

__all__ = ["Conversation", "command", "draw"]
