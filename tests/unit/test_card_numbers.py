"""Card numbers are found when check digit, issuer and length agree, and nothing else is."""

from __future__ import annotations

import pytest

from comptoir_server.domain.card_numbers import contains, mask

CARD_NUMBERS = [
    "4111111111111111",
    "4111 1111 1111 1111",
    "4111-1111-1111-1111",
    "4111.1111.1111.1111",
    "4111\u00a01111\u00a01111\u00a01111",
    "4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1",
    "٤١١١١١١١١١١١١١١١",
    "4222222222222",
    "5555555555554444",
    "2223003122003222",
    "378282246310005",
    "3782 822463 10005",
    "30569309025904",
    "6011111111111117",
    "3530111333300000",
    "6200000000000005",
    "6759649826438453",
    "4000000000000000006",
]

OTHERS = [
    "",
    "4111111111111112",  # the check digit is wrong
    "1234567812345670",  # the check digit is right, but nobody issues under 1234
    "0004111111111111111",  # a part of a longer number
    "41111111111111110000",
    "2302100000009",  # an electronic ticket whose check digit is right
    "421-2345678901",  # one of an airline whose number begins like a card's
    "DE89 3704 0044 0532 0130 00",
    "+49 170 1234567",
    "411111111111",  # 12 digits
    "order 12, seats 4 and 11",
    "1732406400000000",  # microseconds
]


@pytest.mark.parametrize("text", CARD_NUMBERS)
def test_a_card_number_is_found_however_it_is_written(text: str) -> None:
    assert contains(text)
    assert contains(f"my card is {text}, thanks")


@pytest.mark.parametrize("text", OTHERS)
def test_what_is_no_card_number_stays_as_it_is(text: str) -> None:
    assert not contains(text)
    assert mask(text) == text


def test_a_card_number_is_masked_but_for_its_last_four_digits_and_keeps_its_grouping() -> None:
    assert mask("pay with 4111 1111 1111 1111 please") == "pay with •••• •••• •••• 1111 please"
    assert mask("378282246310005") == "•••••••••••0005"


def test_numbers_beside_a_card_number_do_not_hide_it() -> None:
    assert mask("order 12 4111 1111 1111 1111 12/27 123") == "order 12 •••• •••• •••• 1111 12/27 123"


def test_every_card_number_of_a_text_is_masked() -> None:
    text = "4111111111111111 or 5555-5555-5555-4444"

    assert mask(text) == "••••••••••••1111 or ••••-••••-••••-4444"
    assert not contains(mask(text))


def test_the_thirteen_digits_of_a_ticket_with_a_right_check_digit_pass() -> None:
    assert (
        mask("Your e-ticket is 230 2100000009, or 2302100000009.")
        == "Your e-ticket is 230 2100000009, or 2302100000009."
    )
