"""Finds the use case behind every method of the contract, and holds the two together before the server starts."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message

from comptoir_server.app.call import Caller
from comptoir_server.transport import fields, policy
from comptoir_server.transport.answers import Answers
from comptoir_server.transport.arguments import compile_arguments, compile_requests
from comptoir_server.transport.policy import ContractError, Method

SERVICES: dict[str, str] = {
    "UserService": "users",
    "PartnerService": "partners",
    "SessionService": "sessions",
    "EventService": "event_log",
    "WalletService": "wallets",
    "CheckoutService": "checkouts",
    "OrderService": "orders",
    "PaymentService": "payments",
    "LedgerService": "ledgers",
}
"""The module of `app` that holds the use cases of each service."""


@dataclass(frozen=True, slots=True)
class Bound:
    """A method with all that runs it: `check` on the request, `convert` to what `function` takes, and a writer of
    answers for each kind of caller."""

    method: Method
    function: Callable[..., Any]
    check: fields.Check
    convert: Callable[[Message], Any]
    writers: Mapping[Caller, Callable[[dict[str, Any]], bytes]]


def modules() -> dict[str, Any]:
    """The modules that hold the use cases, by service."""
    return {service: importlib.import_module(f"comptoir_server.app.{name}") for service, name in SERVICES.items()}


def bind(mode: str, found: Mapping[str, Any] | None = None) -> dict[str, Bound]:
    """Every method that a server in `mode` (`test` or `live`) has, by path. Raises ContractError.

    `found` gives the modules by service; by default those of `app`.
    """
    services = modules() if found is None else found
    answers = {caller: Answers(caller) for caller in Caller}
    return {
        method.path: _bound(method, services, answers)
        for method in policy.methods()
        if mode == "test" or not method.test_only
    }


def _bound(method: Method, services: Mapping[str, Any], answers: Mapping[Caller, Answers]) -> Bound:
    module = services.get(method.service)
    if module is None:
        raise ContractError(f"{method.service} has no module: add one to SERVICES in transport/binding.py.")
    name = snake(method.name)
    function = getattr(module, name, None)
    if function is None:
        raise ContractError(f"{method.path} has no use case: write {name} in app/{SERVICES[method.service]}.py.")
    right = inspect.isasyncgenfunction if method.gives_stream else inspect.iscoroutinefunction
    if not right(function):
        kind = "an async generator" if method.gives_stream else "a coroutine function"
        raise ContractError(f"{name} in app/{SERVICES[method.service]}.py must be {kind}, as {method.path} asks.")
    return Bound(
        method=method,
        function=function,
        check=fields.compile_check(method.request_type),
        convert=(compile_requests if method.takes_stream else compile_arguments)(method, function),
        writers={caller: answers[caller].compile(method) for caller in method.callers},
    )


def snake(name: str) -> str:
    """`ConfirmCheckout` as `confirm_checkout`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
