"""The secrets of a wallet link: none is stored, all are keyed hashes under the vault, each for one purpose.

- `secret`, in the page's address: whoever has it may look at the page.
- `browser`, in a cookie: which browser pressed Continue. It alone is ever shown a code.
- `nonce`, in the page's form: the form was filled from the page, by the browser that has the cookie.
- `proof`, in the address that the provider sends people back to: whoever has it has approved. The browser that
  began never sees it before, so that it cannot fetch an approval which somebody else gave.
- `code`, shown to the browser that both began and approved, typed into the chat by the person who started.
"""

from __future__ import annotations

import base64

from comptoir_server.domain.wallets import WalletLink
from comptoir_server.vault import Vault

SECRET_BYTES = 32
"""Random bytes of the address's secret and of the cookie."""

CODE_LENGTH = 8
CODE_ALPHABET = "23456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Without 0 and O, 1, I and L, and U: what is read off a screen is typed right."""

_SPACERS = str.maketrans("", "", "- \t\u00a0\u2010\u2011\u2013")


def encode(random: bytes) -> str:
    """Random bytes as text for an address or a cookie: 43 characters for 32 bytes."""
    return base64.urlsafe_b64encode(random).rstrip(b"=").decode()


def page_url(public_url: str, secret: str) -> str:
    """The address of a link's page."""
    return f"{public_url}/link/{secret}"


def url_hash(vault: Vault, secret: str) -> str:
    """By which a link is found from its address."""
    return vault.hash("wallet link address", secret)


def browser_hash(vault: Vault, link_id: str, browser: str) -> str:
    """By which the browser that began is known again; another one for each link."""
    return vault.hash("wallet link browser", f"{link_id} {browser}")


def is_browser(vault: Vault, link: WalletLink, browser: str) -> bool:
    """True for the browser that pressed Continue."""
    return bool(link.browser_hash) and vault.matches("wallet link browser", f"{link.id} {browser}", link.browser_hash)


def form_nonce(vault: Vault, link_id: str, browser: str) -> str:
    """What the page's form carries."""
    return vault.hash("wallet link form", f"{link_id} {browser}")


def is_form_nonce(vault: Vault, link_id: str, browser: str, nonce: str) -> bool:
    """True when the form was given to this browser."""
    return bool(browser) and nonce.isascii() and vault.matches("wallet link form", f"{link_id} {browser}", nonce)


def return_proof(vault: Vault, link: WalletLink) -> str:
    """What the return address carries; the same each time for the same browser, as a provider's key demands."""
    return vault.hash("wallet link return", f"{link.id} {link.browser_hash}")


def is_return_proof(vault: Vault, link: WalletLink, proof: str) -> bool:
    """True for what the provider sends along with whoever approved."""
    if not link.browser_hash or not proof.isascii():
        return False
    return vault.matches("wallet link return", f"{link.id} {link.browser_hash}", proof)


def confirmation_code(vault: Vault, link_id: str, browser: str) -> str:
    """The code of the browser that began, 39 bits: the same at each look, without being stored."""
    digest = vault.hash("wallet link code", f"{link_id} {browser}")
    number = int.from_bytes(base64.urlsafe_b64decode(digest + "="), "big")
    letters = []
    for _ in range(CODE_LENGTH):
        number, index = divmod(number, len(CODE_ALPHABET))
        letters.append(CODE_ALPHABET[index])
    return "".join(letters)


def code_hash(vault: Vault, link_id: str, code: str) -> str:
    """What is stored of a code; case, spaces and hyphens do not matter."""
    return vault.hash("wallet link typed code", f"{link_id} {_normal(code)}")


def is_code(vault: Vault, link: WalletLink, code: str) -> bool:
    """True for the code that the page showed, in constant time."""
    return bool(link.code_hash) and vault.matches(
        "wallet link typed code", f"{link.id} {_normal(code)}", link.code_hash
    )


def _normal(code: str) -> str:
    return code.translate(_SPACERS).upper()
