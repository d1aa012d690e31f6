"""Defects in who may see and do what."""

from __future__ import annotations

from comptoir_server.app import access, credentials
from comptoir_server.store.direct import DirectReader
from comptoir_server.store.reads import pages
from tests.defects.planting import rewrite
from tests.defects.registry import Kind, defect

KEYS = "unit/test_boundary_credentials.py::test_"
ORDERS = "integration/test_orders.py::test_"


@defect(Kind.OWN, f"{ORDERS}an_order_is_absent_for_strangers[sqlite]")
def ownership_is_not_asked_for() -> None:
    """Whoever knows an id may read what it names."""
    rewrite(access.owned, "if not mine:", "if False:")


@defect(Kind.OWN, f"{ORDERS}checkouts_are_listed_by_state_session_and_reference[sqlite]")
def list_shows_what_is_somebody_elses() -> None:
    """A list has the rows of everybody."""
    rewrite(pages.shown_to, "    columns = table.c\n", "    columns = table.c\n    return []\n")


@defect(Kind.OWN, f"{ORDERS}an_order_is_absent_for_strangers[sqlite]")
def bot_sees_its_sisters() -> None:
    """A key of one bot reads what belongs to another bot of its partner."""
    rewrite(access.owned, ' and call.bot_id in ("", found.bot_id)', "")


@defect(Kind.OWN, "integration/test_wallet_links.py::test_another_persons_link_looks_absent[sqlite]")
def what_is_personal_is_shared() -> None:
    """What is one person's own is anybody's in the same channel."""
    rewrite(access._of_user, "found.user_id == call.user_id or", "True or")


@defect(Kind.OWN, f"{KEYS}a_revoked_key_is_invalid_from_the_next_call_on[inline]")
def revoked_key_is_accepted() -> None:
    """A key works on after it was revoked."""
    rewrite(credentials._require_working, "key is None or key.state != KeyState.ACTIVE", "key is None")


@defect(Kind.OWN, f"{KEYS}a_key_has_expired_at_its_time_and_not_before[inline]")
def expired_key_is_accepted() -> None:
    """A key works on after its time."""
    rewrite(credentials._require_working, "if key.expire_time and now >= key.expire_time:", "if False:")


@defect(Kind.OWN, f"{KEYS}a_revoked_key_is_invalid_from_the_next_call_on[shared]")
def caller_is_known_for_ever() -> None:
    """Who was let in once is let in again, whatever was committed since."""
    rewrite(DirectReader._forget, "        self._conclusions = {}\n", "")


@defect(
    Kind.OWN,
    f"{KEYS}whom_the_database_was_asked_for_is_known_until_something_is_committed_or_time_is_up",
)
def known_caller_outstays_its_time() -> None:
    """Who was let in once is let in again after its credential's time."""
    rewrite(credentials.authenticate, "0 < principal.expire_time <= deps.runtime.now()", "False")


@defect(Kind.OWN, f"{KEYS}a_token_speaks_for_its_user_for_fifteen_minutes[inline]")
def expired_token_is_accepted() -> None:
    """A person's token works for ever."""
    rewrite(credentials._verified, "if deps.runtime.now() >= expire * MICROSECONDS:", "if False:")


@defect(Kind.OWN, f"{KEYS}a_channel_speaks_for_its_own_user_only[inline]")
def channel_speaks_for_anybody() -> None:
    """A channel may name the people of another."""
    rewrite(credentials._channel, "user is not None and user.channel_id == key.owner_id", "user is not None")


@defect(Kind.OWN, f"{KEYS}a_key_needs_the_scope_of_the_method")
def scope_is_not_asked_for() -> None:
    """A key may do what it was not made for."""
    rewrite(
        credentials.admit, "if scope and scope not in principal.scopes", "if False and scope not in principal.scopes"
    )


@defect(Kind.OWN, f"{KEYS}a_key_of_the_other_mode_is_invalid_even_where_it_is_stored[inline]")
def key_of_the_other_mode_is_accepted() -> None:
    """A test key works on a live server."""
    rewrite(credentials._by_key, "if match[1] != deps.settings.mode:", "if False:")


@defect(Kind.OWN, f"{KEYS}permission_is_checked_before_existence")
def existence_is_told_before_permission() -> None:
    """Whoever may not call learns what exists."""
    rewrite(
        credentials.admit,
        "    if principal.caller not in callers:",
        "    if principal.absent:\n        raise not_found()\n    if principal.caller not in callers:",
    )
