"""Something that speaks Kafka's protocol over TCP: the mock cluster of librdkafka, in a process of its own."""

import subprocess
import sys
from typing import Self

_SERVE = """
import sys
from confluent_kafka import Producer
mock = Producer({"bootstrap.servers": "nowhere", "test.mock.num.brokers": 1, "log_level": 2})
(broker,) = mock.list_topics(timeout=60).brokers.values()
print(f"{broker.host}:{broker.port}", flush=True)
sys.stdin.read()
"""


class KafkaServer:
    """One broker on loopback without any data; a topic comes to be, with four partitions, when it is first asked for.

    Attributes
    ----------
    servers : str
        ``host:port``.
    """

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SERVE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout
        self.servers = self._process.stdout.readline().strip()
        assert self.servers
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def kill(self) -> None:
        """End it at once, and what it holds with it."""
        self._process.kill()
        self._process.communicate()
