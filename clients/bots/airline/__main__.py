"""Runs the airline until it is asked to end."""

from __future__ import annotations

from airline.bot import bot

bot.run()
