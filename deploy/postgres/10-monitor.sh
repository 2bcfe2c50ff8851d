#!/bin/sh
# Run once by the postgres image, when its volume is empty: a role that may read statistics and nothing else.
set -eu

psql --no-psqlrc --set=ON_ERROR_STOP=1 --set=password="$MONITOR_PASSWORD" \
  --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" <<'SQL'
CREATE ROLE monitor LOGIN PASSWORD :'password' IN ROLE pg_monitor;
SQL
