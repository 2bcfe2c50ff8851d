"""A channel that takes everything, for tests of what comes before it."""

from __future__ import annotations

from alerting.channels import Delivered, Message


class Mail:
    name = "email"
    concurrency = 1

    def __init__(self) -> None:
        self.got: list[str] = []

    def send(self, message: Message) -> Delivered:
        self.got.append(message.text)
        return Delivered()
