"""A Redis or Valkey server, by its URL; whatever goes wrong there is one of the store's errors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from urllib.parse import urlsplit

from headwater.errors import StoreAway, StoreError, StoreFull

SCHEMES = ("redis", "rediss", "unix")

_CONNECT_SECONDS = 2.0
_ANSWER_SECONDS = 10.0

_Result = TypeVar("_Result")


class Connection:
    """Commands to one server. Threads share one; it survives a fork and a restart of the server.

    A command is never sent twice: whether a lost answer may be asked for again is for the caller to know.

    Parameters
    ----------
    url : str
        ``redis://[[user]:password@]host[:port][/database]``, ``rediss://`` for TLS, or ``unix://path?db=0``.

    Attributes
    ----------
    name : str
        The URL without user, password and options, as messages show it.

    Raises
    ------
    StoreError
        The URL cannot be read, or the package `redis` is not installed. The server is not asked before a command.
    """

    def __init__(self, url: str) -> None:
        try:
            import redis
            import redis.exceptions
            from redis.backoff import NoBackoff
            from redis.retry import Retry
        except ImportError as error:
            raise StoreError("the package redis is not installed: pip install 'headwater[redis]'") from error
        self._exceptions: Any = redis.exceptions
        try:
            self.name = _without_secrets(url)
            client: Any = redis.Redis
            self._client: Any = client.from_url(
                url,
                protocol=2,
                socket_connect_timeout=_CONNECT_SECONDS,
                socket_timeout=_ANSWER_SECONDS,
                retry=Retry(NoBackoff(), 0),
            )
        except (ValueError, TypeError):
            # The reason may quote the password, so it is not passed on.
            raise StoreError(
                f"the URL of the server cannot be read; it is {' or '.join(f'{scheme}://' for scheme in SCHEMES)} "
                "and then [user:password@]host:port/database, with special characters of the password as %XX"
            ) from None
        self._scripts: dict[str, Any] = {}
        self._is_open = True

    def command(self, *words: bytes | str | float) -> Any:
        """The answer to one command."""
        return self._guarded(lambda: self._client.execute_command(*words))

    def pipeline(self, commands: Sequence[Sequence[bytes | str | float]], *, atomic: bool = False) -> list[Any]:
        """The answers to several commands in one round trip; `atomic`: with nobody else's in between, all or none."""

        def run() -> list[Any]:
            with self._client.pipeline(transaction=atomic) as pipe:
                for words in commands:
                    pipe.execute_command(*words)
                return pipe.execute()

        return self._guarded(run) if commands else []

    def script(self, text: str, keys: Sequence[bytes], arguments: Sequence[bytes | str | float]) -> Any:
        """The answer of a Lua script, which runs with nobody else's commands in between."""
        if text not in self._scripts:
            self._scripts[text] = self._client.register_script(text)
        return self._guarded(lambda: self._scripts[text](keys=keys, args=arguments))

    def close(self) -> None:
        """Let go of the connection. Any later call raises `StoreError`."""
        self._is_open = False
        self._client.close()

    def _guarded(self, ask: Callable[[], _Result]) -> _Result:
        if not self._is_open:
            raise StoreError(f"{self.name} is closed here: open the store again")
        exceptions = self._exceptions
        try:
            return ask()
        except (exceptions.AuthenticationError, exceptions.NoPermissionError) as error:
            raise StoreError(f"{self.name} refuses: {error}. Check user and password of the URL.") from error
        except (exceptions.ConnectionError, exceptions.TimeoutError, exceptions.ReadOnlyError) as error:
            raise StoreAway(
                f"{self.name} cannot be reached: {error}. Check that the server runs there; try again later."
            ) from error
        except exceptions.RedisError as error:
            if "OOM command not allowed" in str(error) or "MISCONF" in str(error):
                raise StoreFull(
                    f"{self.name}: {error} Nothing was written; give the server room, and write again."
                ) from error
            raise StoreError(f"{self.name}: {error}") from error


def _without_secrets(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES:
        raise ValueError
    if parts.scheme == "unix":
        return f"unix://{parts.path}"
    return f"{parts.scheme}://{parts.hostname or 'localhost'}:{parts.port or 6379}/{parts.path.strip('/') or 0}"
