"""Defects that show what is to stay secret."""

from __future__ import annotations

from comptoir_server import log
from comptoir_server.app import instructions
from comptoir_server.domain import card_numbers
from comptoir_server.transport.boundary import Boundary
from comptoir_server.vault import DataKey
from tests.defects.planting import rewrite, swap
from tests.defects.registry import Kind, defect

SESSIONS = "integration/test_sessions.py::test_"
UNFORESEEN = "unit/test_boundary.py::test_what_nobody_foresaw_reaches_neither_the_caller_nor_the_log"


@defect(Kind.OWN, f"{SESSIONS}card_numbers_in_free_text_are_masked_before_they_are_kept[sqlite]")
def card_number_is_not_masked() -> None:
    """A card number that somebody types is kept."""

    def keep(text: str) -> str:
        return text

    swap(card_numbers, "mask", keep)


@defect(Kind.OWN, "integration/test_log.py::test_an_address_in_which_a_token_stands_is_not_logged")
def library_logs_addresses() -> None:
    """The HTTP library logs every address, and a wallet's token stands in one."""
    rewrite(log.set_up, 'for name in ("httpx", "httpcore", "uvicorn"):', "for name in ():")


@defect(Kind.OWN, "integration/test_log.py::test_a_line_holds_what_is_listed_and_nothing_else")
def everything_may_stand_in_a_line() -> None:
    """What is logged is not held against the list of what may be."""
    rewrite(log._only_allowed, "if key in ALLOWED", "if True")


@defect(Kind.OWN, "integration/test_log.py::test_no_token_stands_in_a_line_of_a_purchase")
def wallet_token_in_a_log() -> None:
    """What a provider is told, the wallet's token in it, is logged."""
    rewrite(
        instructions.instruction_of,
        "    return Instruction(",
        "    import structlog\n"
        '    structlog.get_logger().info("asking", operation_id=operation.id, object_id=token)\n'
        "    return Instruction(",
    )


@defect(Kind.OWN, UNFORESEEN)
def secret_in_an_error() -> None:
    """A caller is told the text of what nobody foresaw."""
    rewrite(Boundary._failed, "failures.internal(reference)", 'failures.internal(f"{reference} {error}")')


@defect(Kind.OWN, UNFORESEEN)
def secret_in_the_log_of_an_error() -> None:
    """The log has the text of what nobody foresaw."""
    rewrite(log.without_texts, "{type(cause).__qualname__}", "{type(cause).__qualname__}: {cause}")


@defect(Kind.OWN, f"{SESSIONS}words_never_stand_readable_in_the_database[sqlite]")
def words_stand_readable() -> None:
    """What people say is kept as they said it."""

    def seal(_key: DataKey, _row_id: str, text: str) -> bytes:
        return text.encode()

    def unsealed(_key: DataKey, _row_id: str, sealed: bytes) -> str:
        return sealed.decode()

    swap(DataKey, "seal", seal)
    swap(DataKey, "open", unsealed)
