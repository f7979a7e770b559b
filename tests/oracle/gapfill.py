"""time_bucket_gapfill and what fills gaps, against a grid joined with the groups and a look at the neighbours."""
import datetime as dt

from cases import UTC, ZONES, Case, Question, literal, moment, shift, text

# Kinds of time: columns' type → widths, and how long they are in days, about.
CLOCK = [("1 us", 1e-6 / 86400), ("20 ms", 0.02 / 86400), ("5 s", 5 / 86400), ("1 min", 1 / 1440), ("45 min", 0.75 / 24), ("1 hour", 1 / 24),
         ("7 hours", 7 / 24), ("1 day", 1), ("3 days", 3), ("1 week", 7), ("1 month", 30), ("5 months", 150), ("2 years", 730)]
DAYS = [("1 day", 1), ("3 days", 3), ("1 week", 7), ("72 hours", 3), ("1 month", 30), ("2 months", 60), ("1 year", 365)]
LOCAL = [("15 min", 1 / 96), ("30 min", 1 / 48), ("45 min", 0.75 / 24), ("1 hour", 1 / 24), ("2 hours", 2 / 24), ("4 hours", 4 / 24), ("12 hours", 0.5),
         ("1 day", 1), ("2 days", 2), ("1 week", 7), ("1 month", 30)]


class Series:
    """A table `g (t, k, d, v, n, q)` and how its time is divided."""

    def __init__(self, rng):
        self.rng = rng
        self.kind = rng.choice(["int2", "int4", "int8", "date", "timestamp", "timestamp", "timestamptz", "zone", "zone", "zone"])
        self.zone = rng.choice(ZONES) if self.kind == "zone" else None
        self.type = "timestamptz" if self.zone else self.kind
        self.integer = self.kind.startswith("int")
        if self.integer:
            self.width = rng.randrange(1, 25)
            self.unit = self.width
            self.start = rng.choice([-rng.randrange(200), rng.randrange(100), 0, rng.randrange(-20000, 20000)])
        else:
            self.width, days = rng.choice(DAYS if self.kind == "date" else LOCAL if self.zone else CLOCK)
            self.unit = max(dt.timedelta(days=days), dt.timedelta(microseconds=1))
            if self.zone:
                at = shift(rng, self.zone) or moment(rng).replace(year=2022, tzinfo=UTC)
                self.start = at - rng.randrange(0, 12) * self.unit - dt.timedelta(minutes=rng.choice([0, 0, rng.randrange(600)]))
            else:
                self.start = moment(rng)
                if self.type == "timestamptz":
                    self.start = self.start.replace(tzinfo=UTC)
        self.buckets = rng.choice([0, 1, 3, 8, 20])
        self.finish = self.at(self.buckets)
        self.by_month = not self.integer and ("month" in self.width or "year" in self.width)
        self.origin = self.by = None
        if self.integer:
            self.by = rng.randrange(-30, 30) if rng.random() < 0.3 else None
        else:
            if rng.random() < 0.2:
                self.origin = moment(rng).replace(year=2000, tzinfo=UTC if "z" in self.type else None)
            if rng.random() < 0.2:
                self.by = rng.choice(["1 day", "-3 days"] if self.kind == "date" or self.by_month else ["1 s", "-90 min", "1 day", "5 hours"])
                if self.zone:
                    self.by = rng.choice(["15 min", "-90 min", "5 hours"])

    def at(self, buckets):
        return self.value(self.start, buckets)

    def value(self, start, buckets):
        if self.integer:
            return start + int(self.unit * buckets)
        at = start + self.unit * buckets
        return at if self.type != "date" else dt.datetime(at.year, at.month, at.day)

    def time(self):
        return self.at(self.rng.uniform(-2, self.buckets + 2) if self.rng.random() < 0.5 else self.rng.randrange(-2, self.buckets + 3))

    def literal(self, value):
        """A bound as a query has it."""
        if value is None:
            return "NULL"
        return f"{value}" if self.integer else f"{self.type} '{self.show(value)}'"

    def show(self, value):
        return str(value.date()) if self.kind == "date" else text(value)

    def rows(self):
        rng = self.rng
        times = [self.time() for _ in range(rng.choice([0, 1, 2, 5, 20, 40]))]
        times += rng.sample(times, len(times) // 5)
        value = lambda make, nulls=0.25: None if rng.random() < nulls else make()
        return [(time if self.integer else self.show(time), value(lambda: rng.randrange(3), 0.1), value(lambda: rng.choice("ab"), 0.1),
                 value(lambda: rng.choice([rng.uniform(-1e3, 1e3), float(rng.randrange(5))])),
                 value(lambda: rng.randrange(-100, 100)), value(lambda: rng.randrange(-10000, 10000) / 100)) for time in times]


def case(rng):
    series = Series(rng)
    columns = [f"t {series.type}" + rng.choice(["", " NOT NULL"]), "k int", "d text", "v float8", "n int", "q numeric(10,2)"]
    tables = {"g": (columns, series.rows())}
    return Case(tables, [question(rng, series) for _ in range(4)])


def question(rng, series):
    keys = rng.choice([[], ["k"], ["k"], ["d"], ["k", "d"]])
    bounds = Bounds(rng, series)
    cast = f"::{series.type}" if series.integer else ""
    width = f"{series.width}{cast}" if series.integer else f"'{series.width}'"
    # The bucket with the arguments as they are named.
    named = [f"start => {bounds.given_start}", f"finish => {bounds.given_finish}"] if bounds.given_start else []
    if series.origin:
        named.append(f"origin => {series.literal(series.origin)}")
    if series.by is not None:
        named.append(f'"offset" => {series.by}{cast}' if series.integer else f"\"offset\" => '{series.by}'")
    zone = [f"'{series.zone}'"] if series.zone else []
    call = f"time_bucket_gapfill({', '.join([width, 't', *zone, *named])})"
    columns, fills = zip(*[fill(rng, keys, series, bounds) for _ in range(rng.randrange(1, 5))])
    having = rng.choice([""] * 5 + [" HAVING count(*) > 1"])
    group = ", ".join(["1", *map(str, range(2, len(keys) + 2))])
    where = f" WHERE {bounds.where}" if bounds.where else ""
    tidemill = f"SELECT {', '.join([call + ' AS b', *keys, *columns])} FROM g{where} GROUP BY {group}{having}"
    if bounds.outer:
        tidemill = f"SELECT inside.* FROM (VALUES ({bounds.outer})) outside(bound), LATERAL ({tidemill}) inside"

    # What PostgreSQL is asked: a bucket, the grid, groups a, series s, rows f of all buckets, j with what the groups have.
    origin, by = series.literal(series.origin), "NULL" if series.by is None else f"'{series.by}'"
    first, last = bounds.first, bounds.last
    if series.integer:
        bucket = f"bucket({series.width}, t, {series.by or 0})"
        grid = f"grid({series.width}, {first}, {last}, {series.by or 0})"
    elif series.zone:
        bucket = f"bucket_in('{series.zone}', '{series.width}', t, {origin}, {by})"
        grid = f"grid_in('{series.zone}', '{series.width}', {first}, {last}, {origin}, {by}, '5 min')"
    else:
        shifted = "t" if series.by is None else f"(t - interval {by})::{series.type}"
        back = "" if series.by is None else f" + interval {by}"
        bucket = f"(bucket('{series.width}', {shifted}, {origin}){back})::{series.type}"
        grid = f"grid('{series.width}', {first}, {last}, {origin}, {by})"
    keyed = "".join(f", {key}" for key in keys)
    on = "".join(f" AND a.{key} IS NOT DISTINCT FROM f.{key}" for key in keys)
    every = f"SELECT DISTINCT {', '.join(keys)} FROM a" if keys else "SELECT 1"
    postgres = f"""WITH a AS (SELECT {bucket} AS b{keyed}, count(*) c, avg(v) av, max(v) mv, max(n) mn, sum(n) sn, max(q) mq, max(d) md, max(t) mt FROM g{bounds.where_postgres} GROUP BY 1{''.join(f', {2 + at}' for at in range(len(keys)))}{having}),
 r AS MATERIALIZED (SELECT at FROM {grid} at),
 w AS (SELECT min(at) AS start, {last} AS finish FROM r),
 f AS (SELECT at AS b{keyed} FROM r, ({every}) s UNION SELECT b{keyed} FROM a),
 j AS MATERIALIZED (SELECT f.*, start, a.b IS NULL AS gap, c, av, mv, mn, sn, mq, md, mt, dense_rank() OVER (ORDER BY {', '.join('f.' + key for key in keys) or '1'}) AS s,
  coalesce(f.b >= start AND f.b < finish, false) AS within FROM w, f LEFT JOIN a ON a.b = f.b{on})
SELECT b::{series.type}{keyed}, {', '.join(fills)} FROM j"""
    return Question(tidemill, postgres, bounds.parameters)


class Bounds:
    """The range that is asked for: in WHERE, in the call, or both, where the call counts."""

    def __init__(self, rng, series):
        self.parameters = []
        self.series = series
        low, high = series.time(), series.time()
        if high < low:
            low, high = high, low
        self.rng = rng
        by_parameter = rng.random() < 0.3
        # The first unit of time after one that does not count any more.
        unit = {"date": "1", "timestamp": "interval '1 us'", "timestamptz": "interval '1 us'"}.get(series.type, "1")
        starts, finishes, conditions = [], [], []

        self.outer = None

        def bound(value, given=False):
            """A bound in Tidemill's words."""
            plain, form = series.literal(value), rng.random()
            if by_parameter:
                self.parameters.append(value if series.integer and form < 0.5 else series.show(value) if not series.integer else str(value))
                return f"${len(self.parameters)}"
            if form < 0.3 and not series.integer:
                return f"'{series.show(value)}'"
            if form < 0.4 and given:
                return f"(SELECT {plain}{'::' + series.type if series.integer else ''})"
            if form < 0.5 and self.outer is None and not given:
                self.outer = f"{plain}{'::' + series.type if series.integer else ''}"
                return "outside.bound"
            if form < 0.6 and not given:
                # Of another type than the column's.
                other = {"date": f"timestamp '{text(value)}'", "timestamp": f"timestamptz '{text(value)}+00'"}
                return f"({plain})::int8" if series.integer else other.get(series.type, plain)
            return plain

        self.given_start = self.given_finish = None
        explicit = rng.random() < 0.3
        if explicit:
            self.given_start, self.given_finish = bound(low, True), bound(high, True)
            starts.append(series.literal(low))
            finishes.append(series.literal(high))
        if not explicit or rng.random() < 0.5:
            lows, highs = [low], [high]
            if explicit or rng.random() < 0.2:
                lows.append(series.time())
                highs.append(series.time())
            for value in lows:
                op = rng.choice([">=", ">"])
                conditions.append((value, op, bound(value)))
                if not explicit:
                    starts.append(series.literal(value) + (f" + {unit}" if op == ">" else ""))
            for value in highs:
                op = rng.choice(["<=", "<"])
                conditions.append((value, op, bound(value)))
                if not explicit:
                    finishes.append(series.literal(value) + (f" + {unit}" if op == "<=" else ""))
        self.where = self.written(conditions)
        plain = " AND ".join(f"t {op} {series.literal(value)}" for value, op, _ in conditions)
        self.where_postgres = f" WHERE {plain}" if plain else ""
        cast = f"::{'int8' if series.integer else series.type}"
        self.first = f"greatest({', '.join(f'({start}){cast}' for start in starts)})"
        self.last = f"least({', '.join(f'({finish}){cast}' for finish in finishes)})"

    def written(self, conditions):
        turned = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}
        denied = {"<": ">=", ">": "<=", "<=": ">", ">=": "<"}
        out = []
        for _, op, value in conditions:
            form = self.rng.random()
            if form < 0.2:
                out.append(f"{value} {turned[op]} t")
            elif form < 0.3:
                out.append(f"NOT t {denied[op]} {value}")
            else:
                out.append(f"t {op} {value}")
        if len(conditions) == 2 and [op for _, op, _ in conditions] == [">=", "<="] and self.rng.random() < 0.5:
            return f"t BETWEEN {conditions[0][2]} AND {conditions[1][2]}"
        if out and self.rng.random() < 0.1:
            return "NOT (" + " OR ".join(f"t {denied[op]} {value}" for _, op, value in conditions) + ")"
        return " AND ".join(out)


# Columns of the groups: what Tidemill is asked for, its name in j, and the type of a line's points.
AGGREGATES = [("avg(v)", "av", "float8"), ("max(v)", "mv", "float8"), ("max(n)", "mn", "int"), ("sum(n)", "sn", "int8"), ("max(q)", "mq", "numeric"),
              ("max(d)", "md", None)]


def fill(rng, keys, series, bounds):
    """A column in both servers' words."""
    aggregate, name, number = rng.choice(AGGREGATES)
    form = rng.choice(["plain", "coalesce", "with", "locf", "locf", "missing", "prev", "line", "line", "line missing", "line outside", "line at"])
    if number is None and form.startswith("line"):
        form = "locf"
    # The neighbours of j's row, of rows that the condition holds for.
    before = lambda what, such: f"(SELECT {what} FROM j p WHERE p.s = j.s AND NOT p.gap AND p.b < j.b{such} ORDER BY p.b DESC LIMIT 1)"
    after = lambda what, such: f"(SELECT {what} FROM j p WHERE p.s = j.s AND NOT p.gap AND p.b > j.b{such} ORDER BY p.b LIMIT 1)"
    known = f" AND p.{name} IS NOT NULL"
    if form == "plain":
        return aggregate, name
    if form == "coalesce":
        default = {"md": "'z'"}.get(name, "-7")
        return f"coalesce({aggregate}, {default})", f"coalesce({name}, {default})"
    if form == "with":
        return "fill_with(count(*), 0)", "coalesce(c, 0)"
    if form == "locf":
        return f"locf({aggregate})", f"CASE WHEN gap THEN {before('p.' + name, '')} ELSE {name} END"
    if form == "missing":
        flag = rng.choice(["treat_null_as_missing => true", "NULL, true"])
        return f"locf({aggregate}, {flag})", f"CASE WHEN gap OR {name} IS NULL AND within THEN {before('p.' + name, known)} ELSE {name} END"
    # Look-ups of what is outside, of the same series.
    same = "".join(f" AND o.{key} = {{0}}{key}" for key in keys)
    mine, theirs = same.format("g."), same.format("j.")
    low = series.literal(series.start)
    # Nothing is carried into the first bucket: no row before, or one with NULL.
    unknown = f"NOT EXISTS (SELECT FROM j p WHERE p.s = j.s AND NOT p.gap AND p.b < j.b AND p.b >= start) AND {before('p.' + name, '')} IS NULL"
    if form == "prev":
        column = {"av": "v", "mv": "v", "mn": "n", "sn": "n", "mq": "q", "md": "d"}[name]
        cast = "::bigint" if name == "sn" else ""
        value = lambda same: f"(SELECT max(o.{column}){cast} FROM g o WHERE o.t < {low}{same})"
        return (f"locf({aggregate}, {value(mine)})",
                f"CASE WHEN gap AND {unknown} THEN {value(theirs)} WHEN gap THEN {before('p.' + name, '')} ELSE {name} END")
    such = known if form == "line missing" else ""
    points = "float8" if number == "float8" else "numeric"
    x0, y0 = before("number(p.b)", such), before(f"p.{name}::{points}", such)
    x1, y1 = after("number(p.b)", such), after(f"p.{name}::{points}", such)
    holes = f"gap OR {name} IS NULL AND within" if such else "gap"
    call = f"interpolate({aggregate}{', treat_null_as_missing => true' if such else ''})"
    if form == "line at":
        at = lambda near: near("number(coalesce(p.mt, p.b))", "")
        x0, x1 = at(before), at(after)
        call = f"interpolate_at({aggregate}, max(t))"
    if form == "line outside":
        value = {"av": "1.5::float8", "mv": "1.5::float8", "mn": "7", "sn": "7::bigint", "mq": "2.25::numeric"}[name]
        out = series.literal(series.value(series.start, -3)) + (f"::{series.type}" if series.integer else "")
        later = series.literal(series.value(series.start, series.buckets + 4)) + (f"::{series.type}" if series.integer else "")
        call = f"interpolate({aggregate}, (SELECT ({out}, {value})), (SELECT ({later}, {value})))"
        last = "NOT EXISTS (SELECT FROM j p WHERE p.s = j.s AND NOT p.gap AND p.b > j.b)"
        x0 = f"CASE WHEN {unknown} THEN number({out}) ELSE {x0} END"
        y0 = f"CASE WHEN {unknown} THEN ({value})::{points} ELSE {y0} END"
        x1 = f"CASE WHEN {last} THEN number({later}) ELSE {x1} END"
        y1 = f"CASE WHEN {last} THEN ({value})::{points} ELSE {y1} END"
    line = f"line({x0}, {y0}, {x1}, {y1}, number(b))"
    line = line if number == "float8" else f"round({line}, 2)" if number == "numeric" else f"round({line})::{number}"
    return call, f"CASE WHEN {holes} THEN {line} ELSE {name} END"
