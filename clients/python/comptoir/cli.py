"""The command `comptoir`. What it needs beyond the client comes with the extra `chat`: this file works without."""

from __future__ import annotations

import sys

USAGE = 2


def main() -> None:
    """Runs the command; says what to install where something is missing."""
    try:
        from comptoir import commands
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] == "comptoir":
            raise
        print(missing_extra("comptoir", missing), file=sys.stderr)
        sys.exit(USAGE)
    commands.run()


def missing_extra(command: str, missing: ModuleNotFoundError) -> str:
    """What to do about a package that a command needs and that is not installed."""
    return f"{command}: {missing.name} is not installed; run: pip install 'comptoir[chat]'"
