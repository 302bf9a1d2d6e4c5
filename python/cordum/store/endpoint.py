"""Address, credentials and TLS of a Redis deployment, as arguments for the client library's connections."""

from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import unquote, urlsplit

from redis.asyncio import Connection, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from cordum.config.redis import RedisSettings
from cordum.domain.errors import ConfigError

__all__ = ["Endpoint"]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What `REDIS_URL` and its neighbours say (configuration spec §2.9)."""

    host: str
    port: int
    database: int
    username: str | None
    password: str | None = field(repr=False)
    tls: bool
    seeds: tuple[tuple[str, int], ...]
    settings: RedisSettings = field(repr=False)

    @classmethod
    def parse(cls, settings: RedisSettings) -> Self:
        """Read the settings. Raises ConfigError on a URL that cannot be used."""
        parts = urlsplit(settings.url)
        seeds = tuple(_host_port(address) for address in settings.cluster_addresses)
        path = parts.path.strip("/")
        if path and not path.isdigit():
            raise ConfigError("REDIS_URL: expected a database number as path, got other text")
        if seeds and path not in {"", "0"}:
            raise ConfigError("REDIS_URL: a redis cluster has database 0 only")
        return cls(
            host=parts.hostname or "localhost",
            port=parts.port or 6379,
            database=int(path or 0),
            username=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password or "") or settings.password.get_secret_value() or None,
            tls=parts.scheme == "rediss",
            seeds=seeds,
            settings=settings,
        )

    def connection_arguments(self, host: str, port: int) -> dict[str, Any]:
        """Return the keyword arguments of a connection pool for one server of this deployment.

        The library's own retries are off: it would repeat a whole pipeline whose first copy may have been
        applied, and our
        callers have their own way to try again.
        """
        arguments: dict[str, Any] = {
            "connection_class": Connection,
            "host": host,
            "port": port,
            "db": self.database,
            "username": self.username,
            "password": self.password,
            "protocol": 2,
            "socket_timeout": None,
            "socket_connect_timeout": self.settings.dial_timeout_s,
            "socket_keepalive": True,
            "retry": Retry(NoBackoff(), 0),
            "client_name": "cordum",
        }
        if self.tls:
            arguments |= self._tls_arguments()
        return arguments

    def _tls_arguments(self) -> dict[str, Any]:
        settings = self.settings
        return {
            "connection_class": _named_connection(settings.tls_server_name),
            "ssl_ca_certs": settings.tls_ca or None,
            "ssl_certfile": settings.tls_cert or None,
            "ssl_keyfile": settings.tls_key or None,
            "ssl_cert_reqs": "none" if settings.tls_insecure else "required",
            "ssl_check_hostname": not settings.tls_insecure,
        }


def _named_connection(server_name: str) -> type[SSLConnection]:
    """Return a connection class that checks the certificate against `server_name` instead of the host, if
    one is given."""
    if not server_name:
        return SSLConnection

    class NamedConnection(SSLConnection):
        def _connection_arguments(self) -> dict[str, Any]:
            return {**super()._connection_arguments(), "server_hostname": server_name}

    return NamedConnection


def _host_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)
