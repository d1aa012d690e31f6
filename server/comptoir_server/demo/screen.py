"""What is printed: headings, what the person does, and how long the waiting took."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.text import Text

from comptoir_server.runtime import Runtime

WIDTH = 80
"""Beyond this many columns the two sides of a conversation drift apart."""


class Screen:
    """Rich in a terminal, plain where the output goes to a file or another program."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._console = Console(width=min(WIDTH, Console().width), highlight=False)

    def heading(self, words: str) -> None:
        """Begins an act."""
        self._console.print()
        self._console.rule(Text(words, style="bold"), align="left")

    def tell(self, words: str) -> None:
        """Says what the person does or what happens behind the scenes."""
        self._console.print(Padding(Text(words, style="dim italic"), (0, 0, 0, 2)))

    def show(self, drawing: RenderableType) -> None:
        """Prints a message, a table, or a line."""
        self._console.print(drawing)

    def line(self, words: str, style: str = "") -> None:
        """Prints words that may be copied: never folded, never interpreted."""
        self._console.print(Text(words, style=style), soft_wrap=True)

    def complain(self, words: str) -> None:
        """Prints what went wrong."""
        self.line(words, "bold red")

    @contextmanager
    def step(self, words: str) -> Iterator[None]:
        """A part of the set-up: a spinner in a terminal while it lasts, then a line with its seconds."""
        begun = self._runtime.monotonic()
        with self._console.status(words):
            yield
        self.line(f"✓ {words} ({self._runtime.monotonic() - begun:.1f} s)", "green")

    @contextmanager
    def waiting(self, words: str) -> Iterator[None]:
        """A spinner in a terminal while something is awaited; nothing else."""
        with self._console.status(Text(words, style="dim")):
            yield
