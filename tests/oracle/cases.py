"""What cases are made of: tables with random rows, and times of which the difficult ones are not rare."""
import datetime as dt
from zoneinfo import ZoneInfo

import servers

# Zones whose clocks are set by an hour in spring and in autumn, by half an hour, in the other hemisphere, at midnight.
ZONES = ["America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "America/Sao_Paulo", "Pacific/Apia", "Asia/Kolkata"]
UTC = dt.timezone.utc


class Question:
    """The same in both servers' words."""

    def __init__(self, tidemill, postgres, parameters=(), compare=servers.difference):
        self.tidemill, self.postgres, self.parameters, self.compare = tidemill, postgres, parameters, compare


class Case:
    def __init__(self, tables, questions):
        """tables: name → (columns with their types, rows of literals)."""
        self.questions = questions
        self.setup = []
        for name, (columns, rows) in tables.items():
            self.setup.append(f"CREATE TABLE {name} ({', '.join(columns)})")
            if rows:
                values = ", ".join(f"({', '.join(map(literal, row))})" for row in rows)
                self.setup.append(f"INSERT INTO {name} VALUES {values}")
        self.teardown = [f"DROP TABLE {name}" for name in tables]


def literal(value):
    if value is None:
        return "NULL"
    if isinstance(value, (int, float)):
        return f"'{value}'" if isinstance(value, float) else str(value)
    return f"'{text(value)}'"


def text(value):
    """As both servers read it."""
    if isinstance(value, dt.datetime):
        return value.isoformat(" ")
    return str(value)


def shift(rng, zone):
    """A time at which a zone's clock is set, as UTC; or None if it found none."""
    zone = ZoneInfo(zone)
    at = dt.datetime(rng.randrange(1975, 2024), rng.randrange(1, 13), 1, tzinfo=UTC)
    for _ in range(370):
        later = at + dt.timedelta(days=1)
        if at.astimezone(zone).utcoffset() != later.astimezone(zone).utcoffset():
            while True:
                later = at + dt.timedelta(minutes=30)
                if at.astimezone(zone).utcoffset() != later.astimezone(zone).utcoffset():
                    return later
                at = later
        at = later
    return None


def moment(rng):
    """Some time, on the calendar without a zone."""
    year = rng.choice([50, 1583, 1899, 1965, 1969, 1970, 1999, 2000, 2024, 2026, 2026, 2026, 2101])
    base = dt.datetime(year, rng.randrange(1, 13), rng.randrange(1, 29), rng.randrange(24), rng.randrange(60))
    return rng.choice([base, base + dt.timedelta(microseconds=rng.randrange(60_000_000)),
                       dt.datetime(year, rng.choice([1, 3, 12]), 1), dt.datetime(1970, 1, 1), dt.datetime(2000, 1, 3)])
