# Every Windsock service is this image with another command. Build it with `docker compose build`.
FROM python:3.11.13-slim-bookworm AS build

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_INPUT=1
WORKDIR /opt/windsock/app
RUN python -m venv /opt/windsock/venv

# The locked dependencies first: they change seldom, so this layer is kept.
COPY requirements.lock ./
RUN /opt/windsock/venv/bin/pip install --require-hashes -r requirements.lock

# As scripts/bootstrap does it, so that what is tested is what runs: the code stays where it is, with its runbooks.
COPY pyproject.toml README.md LICENSE ./
COPY engine engine
COPY alerting alerting
COPY exporters exporters
COPY dashboards dashboards
COPY prometheus prometheus
COPY dags dags
COPY docs/runbooks docs/runbooks
RUN /opt/windsock/venv/bin/pip install --no-deps --no-build-isolation -e . \
  && /opt/windsock/venv/bin/python -m compileall -q /opt/windsock/app


FROM python:3.11.13-slim-bookworm

# A fixed number, so that volumes keep their owner. The code belongs to root: what runs cannot change it.
RUN groupadd --system --gid 10001 windsock \
  && useradd --system --uid 10001 --gid windsock --home-dir /var/lib/windsock --shell /usr/sbin/nologin windsock \
  && install --directory --owner windsock --group windsock --mode 0700 /var/lib/windsock \
  && install --directory --mode 0755 /dags

COPY --from=build /opt/windsock /opt/windsock

ENV PATH=/opt/windsock/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    WINDSOCK_HOME=/var/lib/windsock \
    WINDSOCK__CORE__DAGS_FOLDER=/dags
USER windsock
WORKDIR /var/lib/windsock
VOLUME /var/lib/windsock

HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 CMD ["windsock", "db", "check"]
ENTRYPOINT ["windsock"]
CMD ["--help"]
