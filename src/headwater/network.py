"""Who may reach a server of ours: this machine alone, unless a token guards it."""

from __future__ import annotations

import hmac
import ipaddress

from headwater.errors import ConfigError

TOKEN_VARIABLE = "HEADWATER_TOKEN"


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens on `host`, a name or an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def require_guard(host: str, token: str | None) -> None:
    """Raise `ConfigError` where `host` is reached from other machines and no token is demanded of them."""
    if not is_loopback(host) and not token:
        raise ConfigError(
            f"{host} can be reached from other machines: set {TOKEN_VARIABLE} to a secret that callers must send, "
            f"or listen on 127.0.0.1"
        )


def is_bearer(header: str, token: str) -> bool:
    """Whether an `Authorization` header carries the token."""
    return hmac.compare_digest(header.encode(), f"Bearer {token}".encode())
