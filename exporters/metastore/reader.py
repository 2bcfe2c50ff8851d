"""One read: a transaction, the statements of the product, what they found."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from exporters.metastore.airflow import AirflowMetastore
from exporters.metastore.database import ReadOnlyDatabase
from exporters.metastore.errors import ReadError, UnknownSchemaError
from exporters.metastore.samples import Samples
from exporters.metastore.windsock import WindsockMetastore

if TYPE_CHECKING:
    from collections.abc import Mapping

    from exporters.metastore.samples import LabelValues
    from exporters.metastore.service import MetastoreConfig


class MetastoreReader:
    """One read after the other, never two at once."""

    def __init__(self, config: MetastoreConfig) -> None:
        """Understand the URL; raises DatabaseUrlError."""
        self._database = ReadOnlyDatabase(config.url, config.timeout_seconds)
        self._product = (AirflowMetastore if config.airflow else WindsockMetastore)(config.dags_folder)
        self._max_series = config.max_series
        self._checked = False

    def __call__(self) -> Mapping[str, Mapping[LabelValues, float]]:
        """Read; raises ReadError, UnknownSchemaError. A schema that failed us is looked at anew the next time."""
        began = time.monotonic()
        try:
            samples = self._read()
        except UnknownSchemaError as error:
            raise UnknownSchemaError(f"{self._database} cannot be read: {error}") from error
        except ReadError:
            self._checked = False
            raise
        samples.set("metastore.read_duration_seconds", time.monotonic() - began)
        samples.set("metastore.read_timestamp_seconds", samples.now.timestamp())
        return samples.capped(self._max_series)

    def _read(self) -> Samples:
        with self._database.read() as (connection, now):
            samples = Samples(now)
            if not self._checked:
                self._product.check(connection)
                self._checked = True
            self._product.read(connection, samples)
            return samples
