"""ASOF joins, against a look at all rows of the other side. Of equally good rows any is right."""
import datetime as dt

import servers
from cases import UTC, Case, Question, moment, text

# Types of the inequality's sides → a distance in words, and as what is subtracted.
TYPES = {"int4": 1, "int8": 1, "float8": 1.0, "date": "days", "timestamp": "time", "timestamptz": "time"}


class Line:
    def __init__(self, rng):
        self.rng = rng
        self.type = rng.choice(list(TYPES))
        self.step = dt.timedelta(seconds=rng.choice([1, 7, 0.000001, 3600])) if self.type.startswith("timestamp") else dt.timedelta(days=1)
        self.start = moment(rng)
        self.width = rng.choice([3, 20, 200])
        # What is near an infinite time is no question.
        self.infinite = rng.random() < 0.3

    def time(self):
        at = self.rng.randrange(self.width)
        if self.type.startswith("int"):
            return at - 10
        if self.type == "float8":
            return self.rng.choice([float(at), at / 8, float(at), "NaN", "Infinity", "-Infinity"]) if self.infinite and self.rng.random() < 0.1 else at / 4
        if self.infinite and self.rng.random() < 0.03:
            return self.rng.choice(["infinity", "-infinity"])
        value = self.start + at * self.step
        return str(value.date()) if self.type == "date" else text(value.replace(tzinfo=UTC) if self.type == "timestamptz" else value)

    def rows(self, count):
        rng = self.rng
        some = lambda value: None if rng.random() < 0.1 else value
        return [(number, some(rng.randrange(3)), some(rng.choice("xy")), some(self.time()), rng.randrange(10)) for number in range(count)]


def case(rng):
    line = Line(rng)
    columns = ["id int", "k int", "d text", f"t {line.type}", "n int"]
    sizes = [0, 1, 5, 40, 200]
    tables = {name: (columns, line.rows(rng.choice(sizes))) for name in ("l", "r")}
    return Case(tables, [question(rng, line) for _ in range(5)])


def question(rng, line):
    op = rng.choice([">=", ">", "<=", "<"])
    outer = rng.choice(["LEFT ", ""])
    keys = rng.choice([[], ["k"], ["k"], ["k", "d"]])
    moved = right_moved = ""
    if rng.random() < 0.2:
        by = {"time": f"interval '{line.step.total_seconds() * 3:f} s'", "days": "2"}.get(TYPES[line.type], "2")
        moved, right_moved = rng.choice([("", f" + {by}"), (f" - {by}", "")])
    on = [f"l.{key} = r.{key}" for key in keys]
    only = ["r.n > 3"] if rng.random() < 0.2 else []
    matched = f"l.t{moved} {op} r.t{right_moved}"
    turned = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}[op]
    spelled = rng.choice([matched, f"r.t{right_moved} {turned} l.t{moved}"])
    distance = f"(l.t{moved}) - (r.t{right_moved})"
    nearest = TYPES[line.type] != 1.0 and not line.infinite and rng.random() < 0.25
    tolerance = within = ""
    if TYPES[line.type] != 1.0 and rng.random() < 0.4:
        steps = rng.choice([0, 1, 2, 5, 50])
        if TYPES[line.type] == 1:
            tolerance, within = f" TOLERANCE {steps}", f" AND abs({distance}) <= {steps}"
        elif TYPES[line.type] == "days":
            tolerance = f" TOLERANCE '{steps} days'"
            within = f" AND CASE WHEN isfinite(l.t) AND isfinite(r.t) THEN abs({distance}) <= {steps} ELSE l.t{moved} = r.t{right_moved} END"
        else:
            length = f"{(line.step * steps).total_seconds():f}"
            tolerance = f" TOLERANCE '{length} s'"
            # The difference of an infinite time is an error in PostgreSQL.
            far = f"abs(extract(epoch FROM {distance}))"
            within = f" AND CASE WHEN isfinite(l.t) AND isfinite(r.t) THEN {far} <= {length} ELSE l.t{moved} = r.t{right_moved} END"
    if rng.random() < 0.2 and not nearest:
        tidemill = f"l ASOF {outer}JOIN r MATCH_CONDITION ({spelled})" + (f" ON {' AND '.join(on + only)}" if on + only else "") + tolerance
    else:
        conditions = on + [spelled] + only
        rng.shuffle(conditions)
        tidemill = f"l ASOF {'NEAREST ' if nearest else ''}{outer}JOIN r ON {' AND '.join(conditions)}{tolerance}"
    tidemill = f"SELECT l.id, r.id, r.t FROM {tidemill}"
    number = lambda side: f"number({side}{'::int8' if line.type == 'int4' else ''})"
    best = f"abs({number(f'l.t{moved}')} - {number(f'r.t{right_moved}')})" if nearest else f"r.t{right_moved}"
    order = "" if nearest or op.startswith("<") else " DESC"
    if nearest:
        # NEAREST looks on both sides.
        condition = " AND ".join(on + only + ["l.t IS NOT NULL AND r.t IS NOT NULL"])
    else:
        condition = " AND ".join(on + only + [matched])
    postgres = (f"SELECT l.id, array_remove(array_agg(m.id), NULL) FROM l {outer}JOIN LATERAL (SELECT id FROM (SELECT r.id, r.t AS rt, rank() OVER (ORDER BY {best}{order}) AS place"
                f" FROM r WHERE {condition}) r WHERE place = 1) near ON true {outer}JOIN r m ON m.id = near.id{within.replace('r.t', 'm.t')} GROUP BY l.id")
    return Question(tidemill, postgres, (), compare)


def compare(got, wanted):
    """One row for each on the left that has a match, which is one of those that may be."""
    if got.error or wanted.error:
        return servers.difference(got, wanted, typed=False)
    allowed = {row[0]: row[1].strip("{}").split(",") for row in wanted.rows}
    seen = set()
    for left, right, at in got.rows:
        if left in seen:
            return f"two rows for {left}"
        seen.add(left)
        if (right or "") not in allowed.get(left, []):
            return f"{left} has {right} at {at}, not one of {allowed.get(left)}"
    missing = set(allowed) - seen
    return f"no row for {min(missing)}" if missing else None
