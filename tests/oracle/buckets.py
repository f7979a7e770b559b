"""time_bucket: of one time in all its forms."""
import datetime as dt

from cases import UTC, ZONES, Case, Question, literal, moment, shift, text

WIDTHS = ["1 us", "7 ms", "1 s", "5 s", "90 s", "15 min", "45 min", "1 hour", "5 hours", "1 day", "3 days", "1 week",
          "1 day 6 hours", "1 month", "3 months", "7 months", "1 year", "5 years", "30 hours"]
OFFSETS = ["1 s", "-1 s", "3 hours", "-2 days", "5 days 1 hour", "100 hours"]
DAYS = ["1 day", "2 days", "1 week", "48 hours", "1 month", "5 months", "2 years"]


def case(rng):
    return Case({}, [question(rng) for _ in range(8)])


def question(rng):
    kind = rng.choice(["int2", "int4", "int8", "date", "timestamp", "timestamptz", "zone", "zone"])
    if kind.startswith("int"):
        return integers(rng, kind)
    if kind == "zone":
        return zone(rng)
    width = rng.choice(DAYS if kind == "date" else WIDTHS)
    at = f"{kind} {literal(moment(rng))}"
    form = rng.choice(["", "origin", "offset"])
    if form == "origin":
        origin = f"{kind} {literal(moment(rng))}"
        named = rng.choice(["", "origin => "])
        return Question(f"SELECT time_bucket('{width}', {at}, {named}{origin})", f"SELECT bucket('{width}', {at}, {origin})")
    if form == "offset":
        by = rng.choice(["1 day", "-3 days"] if kind == "date" else OFFSETS)
        named = rng.choice(["interval ", '"offset" => '])
        return Question(f"SELECT time_bucket('{width}', {at}, {named}'{by}')", f"SELECT shifted('{width}', {at}, '{by}')")
    if rng.random() < 0.3:
        return Question(f"SELECT time_bucket($1::interval, $2::{kind})", f"SELECT bucket('{width}', {at})",
                        (width, at.split("'")[1]))
    return Question(f"SELECT time_bucket('{width}', {at})", f"SELECT bucket('{width}', {at})")


def integers(rng, kind):
    width, at = rng.randrange(1, 60), rng.choice([rng.randrange(-200, 200), rng.randrange(-32000, 32000)])
    if rng.random() < 0.5:
        by = rng.randrange(-100, 100)
        return Question(f"SELECT time_bucket({width}::{kind}, ({at})::{kind}, ({by})::{kind})", f"SELECT bucket({width}, {at}, {by})::{kind}")
    return Question(f"SELECT time_bucket({width}::{kind}, ({at})::{kind})", f"SELECT bucket({width}, {at})::{kind}")


def zone(rng):
    name = rng.choice(ZONES)
    set_at = shift(rng, name)
    at = moment(rng).replace(year=rng.randrange(1975, 2024), tzinfo=UTC)
    if set_at and rng.random() < 0.8:
        at = set_at + dt.timedelta(minutes=rng.choice([0, 1, rng.randrange(-200, 200), rng.randrange(-3000, 3000)]))
    width = rng.choice(WIDTHS[2:])
    origin, by = "NULL", "NULL"
    named = ""
    if rng.random() < 0.3:
        origin = f"timestamptz {literal(moment(rng).replace(year=2000, tzinfo=UTC))}"
        named += f", origin => {origin}"
    if rng.random() < 0.3:
        by = f"interval '{rng.choice(OFFSETS)}'"
        named += f', "offset" => {by}'
    return Question(f"SELECT time_bucket('{width}', timestamptz '{text(at)}', '{name}'{named})",
                    f"SELECT bucket_in('{name}', '{width}', '{text(at)}', {origin}, {by})")
