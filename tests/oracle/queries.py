"""Queries of any shape over small tables full of NULLs: joins, subqueries, groups, windows, sets. Both are asked the same text.

What has no one right answer is not asked: order among equals, which rows LIMIT leaves of equals, sums of floats that are not exact,
errors that come or not by what is evaluated first.
"""
import servers
from cases import Case, Question

TYPES = ["int4", "int8", "text", "bool", "numeric(6,2)", "float8", "date", "timestamp"]
ORDERED = ["int4", "int8", "text", "numeric", "float8", "date", "timestamp"]


def case(rng):
    tables = {}
    for name in ("ta", "tb", "tc")[:rng.choice([1, 2, 3, 3])]:
        types = ["int4"] + [rng.choice(TYPES) for _ in range(rng.randrange(1, 5))]
        tables[name] = ([f"{name[1]}{number} {kind}" for number, kind in enumerate(types)],
                        [[value(rng, kind) for kind in types] for _ in range(rng.choice([0, 1, 4, 12, 30]))])
    known = {name: [(column.split()[0], column.split()[1].split("(")[0]) for column in columns] for name, (columns, _) in tables.items()}
    asked = [Maker(rng, known).whole() for _ in range(12)]
    return Case(tables, [Question(sql, sql, (), compare) for sql in asked])


def compare(got, wanted):
    """What Tidemill says that it does not support is no wrong answer."""
    return None if (got.error or "").startswith("0A000") else servers.difference(got, wanted)


def value(rng, kind):
    if rng.random() < 0.2:
        return None
    return {
        "int4": lambda: rng.randrange(-3, 6),
        "int8": lambda: rng.choice([0, 1, 2, 3, 4, 5, -1, 1 << 33]),
        "text": lambda: rng.choice(["", "a", "b", "ab", "abc", "B", "c%", "a_b"]),
        "bool": lambda: rng.choice(["true", "false"]),
        "numeric": lambda: f"{rng.randrange(-300, 600) / 100:.2f}",
        "float8": lambda: rng.choice([0.0, 0.5, 1.0, 1.5, -2.25, 3.0]),
        "date": lambda: f"2026-0{rng.randrange(1, 4)}-0{rng.randrange(1, 5)}",
        "timestamp": lambda: f"2026-01-0{rng.randrange(1, 4)} {rng.randrange(24):02}:00:00",
    }[kind.split("(")[0]]()


class Maker:
    """One query. A scope is a list of (name to write, type)."""

    def __init__(self, rng, tables):
        self.rng, self.tables, self.names, self.ctes = rng, tables, 0, {}

    def chance(self, part):
        return self.rng.random() < part

    def name(self):
        self.names += 1
        return f"q{self.names}"

    def whole(self):
        with_ = []
        for _ in range(self.rng.choice([0, 0, 0, 1, 2])):
            name = self.name()
            sql, types = self.query(1)
            made = self.rng.choice(["", "", "MATERIALIZED ", "NOT MATERIALIZED "])
            with_.append(f"{name} AS {made}({sql})")
            self.ctes[name] = [(f"x{number}", kind) for number, kind in enumerate(types)]
        sql, types = self.query(2)
        order = ", ".join(str(number + 1) + self.rng.choice(["", " DESC", " NULLS FIRST", " DESC NULLS LAST"]) for number in range(len(types)))
        if self.chance(0.25):
            sql = f"SELECT * FROM ({sql}) AS {self.name()} ORDER BY {order}"
            sql += self.rng.choice([f" LIMIT {self.rng.randrange(8)}", f" OFFSET {self.rng.randrange(4)}", f" LIMIT {self.rng.randrange(8)} OFFSET {self.rng.randrange(4)}"])
        return (f"WITH {', '.join(with_)} " if with_ else "") + sql

    # Queries: (text, types of the columns x0, x1, ...).

    def query(self, depth, outer=(), types=None):
        if self.chance(0.12) and depth > 0:
            left, types = self.query(depth - 1, outer, types)
            right, _ = self.query(depth - 1, outer, types)
            op = self.rng.choice(["UNION", "UNION ALL", "INTERSECT", "INTERSECT ALL", "EXCEPT", "EXCEPT ALL"])
            return f"({left}) {op} ({right})", types
        return self.rng.choice([self.plain, self.plain, self.grouped, self.grouped, self.windowed])(depth, outer, types)

    def wanted(self, types, scope):
        return types or [self.rng.choice(scope)[1] if self.chance(0.7) else self.rng.choice(ORDERED + ["bool"]) for _ in range(self.rng.randrange(1, 4))]

    def ordered(self, scope):
        """A type to compare, mostly one that columns have."""
        here = [kind for _, kind in scope if kind != "bool"]
        return self.rng.choice(here) if here and self.chance(0.85) else self.rng.choice(ORDERED)

    def listed(self, expressions, kinds):
        return ", ".join(f"{self.typed(expr, kind)} AS x{number}" for number, (expr, kind) in enumerate(zip(expressions, kinds)))

    def typed(self, expr, kind):
        """Constants of a list have the type that they are meant to have."""
        return f"{expr}::{kind}" if expr.startswith(("'", "(-")) or expr.isdigit() or expr in ("true", "false") else expr

    def plain(self, depth, outer, types):
        source, scope = self.source(depth)
        types = self.wanted(types, scope)
        seen = scope + list(outer)
        first = self.chance(0.06)
        # Two subqueries of the same text are not known to be the same.
        expressions = [self.expr(kind, seen, 0 if first else depth, 2) for kind in types]
        distinct = self.rng.choice(["", "", "", "DISTINCT "])
        tail = ""
        if first:
            on = self.rng.randrange(1, len(types) + 1)
            distinct = f"DISTINCT ON ({', '.join(self.typed(*pair) for pair in list(zip(expressions, types))[:on])}) "
            tail = " ORDER BY " + ", ".join(self.typed(*pair) for pair in zip(expressions, types))
        return f"SELECT {distinct}{self.listed(expressions, types)} FROM {source}{self.where(seen, depth)}{tail}", types

    def where(self, scope, depth):
        return f" WHERE {self.expr('bool', scope, depth, 3)}" if self.chance(0.6) else ""

    def grouped(self, depth, outer, types):
        source, scope = self.source(depth)
        types = self.wanted(types, scope)
        seen = scope + list(outer)
        keys = []
        for _ in range(self.rng.choice([0, 1, 1, 2])):
            name, kind = self.rng.choice(scope)
            key = name if self.chance(0.7) else self.expr(kind, scope, 0, 1)
            # A constant would be a position, and columns of the outer query no keys.
            if any(column in key for column, _ in scope) and (key, kind) not in keys:
                keys.append((key, kind))
        made = []
        for kind in types:
            of_keys = [key for key, key_kind in keys if key_kind == kind]
            made.append(self.rng.choice(of_keys) if of_keys and self.chance(0.6) else self.aggregate(kind, scope))
        group = having = ""
        if keys:
            written = [key for key, _ in keys]
            how = self.rng.random()
            if how < 0.75:
                group = ", ".join(written)
            elif how < 0.9:
                group = f"{self.rng.choice(['ROLLUP', 'CUBE'])} ({', '.join(written)})"
            else:
                group = f"GROUPING SETS (({', '.join(written)}), (), ({written[0]}))"
            group = f" GROUP BY {group}"
        if self.chance(0.25):
            having = f" HAVING {self.aggregate('bool', scope)}"
        return f"SELECT {self.listed(made, types)} FROM {source}{self.where(seen, depth)}{group}{having}", types

    def aggregate(self, kind, scope):
        """An expression of aggregates."""
        inner = lambda kind, size=1: self.expr(kind, scope, 0, size)
        filtered = lambda: f" FILTER (WHERE {inner('bool')})" if self.chance(0.2) else ""
        distinct = self.rng.choice(["", "", "DISTINCT "])
        some = self.ordered(scope)
        number = f"count({distinct}{inner(some)}){filtered()}" if self.chance(0.6) else f"count(*){filtered()}"
        if kind == "int8":
            return self.rng.choice([number, f"sum({distinct}{inner('int4')}){filtered()}", f"{number} + coalesce(sum({inner('int4')}), 0)"])
        if kind == "int4" and self.chance(0.4):
            return f"({number})::int4"
        if kind == "bool":
            return self.rng.choice([
                f"{self.rng.choice(['bool_and', 'bool_or', 'every'])}({inner('bool')}){filtered()}",
                f"{number} {self.rng.choice(['>', '<', '=', '<>'])} {self.rng.randrange(4)}",
                f"min({inner(some)}) {self.rng.choice(['=', '<', 'IS DISTINCT FROM'])} max({inner(some)})"])
        if kind == "text" and self.chance(0.5):
            return self.text_aggregate(scope)
        if kind == "numeric" and self.chance(0.5):
            return f"sum({distinct}{inner(self.rng.choice(['numeric', 'int8']))}){filtered()}"
        if kind == "float8" and self.chance(0.5):
            return f"sum({distinct}{inner('float8')}){filtered()}"
        return f"{self.rng.choice(['min', 'max'])}({inner(kind)}){filtered()}"

    def text_aggregate(self, scope):
        text = self.expr("text", scope, 0, 1)
        text = self.typed(text, "text")
        return self.rng.choice([f"string_agg({text}, ',' ORDER BY {text})", f"string_agg(DISTINCT {text}, ',' ORDER BY {text})",
                                f"array_agg({text} ORDER BY {text} DESC)::text"])

    def windowed(self, depth, outer, types):
        source, scope = self.source(depth)
        types = self.wanted(types, scope)
        seen = scope + list(outer)
        made = []
        for kind in types:
            made.append(self.window(kind, scope) if self.chance(0.7) else self.expr(kind, seen, depth, 1))
        return f"SELECT {self.listed(made, types)} FROM {source}{self.where(seen, depth)}", types

    def window(self, kind, scope):
        """Functions whose value does not depend on the order among equals."""
        parts = f"PARTITION BY {self.expr(self.ordered(scope), scope, 0, 1)} " if self.chance(0.6) else ""
        by = self.rng.choice(scope)[0] + self.rng.choice(["", " DESC", " NULLS FIRST"])
        ordered = f"({parts}ORDER BY {by})"
        frame = self.rng.choice(["", "", " RANGE UNBOUNDED PRECEDING", " GROUPS BETWEEN 1 PRECEDING AND CURRENT ROW",
                                 " RANGE BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING", " GROUPS BETWEEN 2 PRECEDING AND 1 PRECEDING"])
        over = self.rng.choice([f"({parts})", f"({parts}ORDER BY {by}{frame})"])
        filtered = f" FILTER (WHERE {self.expr('bool', scope, 0, 1)})" if self.chance(0.15) else ""
        if kind == "int8":
            return self.rng.choice([f"{self.rng.choice(['rank', 'dense_rank'])}() OVER {ordered}", f"count(*){filtered} OVER {over}",
                                    f"sum({self.expr('int4', scope, 0, 1)}){filtered} OVER {over}"])
        if kind == "float8":
            return self.rng.choice([f"{self.rng.choice(['percent_rank', 'cume_dist'])}() OVER {ordered}", f"sum({self.expr('float8', scope, 0, 1)}) OVER {over}"])
        if kind == "bool":
            return f"bool_or({self.expr('bool', scope, 0, 1)}) OVER {over}"
        return f"{self.rng.choice(['min', 'max'])}({self.expr(kind, scope, 0, 1)}){filtered} OVER {over}"

    # FROM: (text, scope).

    def source(self, depth):
        sql, scope = self.item(depth, [])
        for _ in range(self.rng.choice([0, 0, 1, 1, 2])):
            join = self.rng.choice(["JOIN", "JOIN", "LEFT JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN", "CROSS JOIN", ","])
            lateral = scope if join in ("JOIN", "LEFT JOIN", "CROSS JOIN", ",") and self.chance(0.25) else []
            other, its = self.item(depth, lateral)
            if join == ",":
                # What follows a comma sees nothing before it in ON.
                sql, scope = f"{sql} CROSS JOIN {other}", scope + its
                continue
            on = "" if join == "CROSS JOIN" else f" ON {self.on(scope, its, depth, join == 'FULL JOIN')}"
            sql, scope = f"{sql} {join} {other}{on}", scope + its
        return sql, scope

    def on(self, left, right, depth, is_full):
        pairs = [(a, b) for a, kind in left for b, other in right if kind == other]
        if not pairs:
            return self.rng.choice(["true", "false"])
        op = "=" if is_full else self.rng.choice(["=", "=", "=", "=", "<", ">=", "<>", "IS NOT DISTINCT FROM"])
        a, b = self.rng.choice(pairs)
        on = f"{a} {op} {b}"
        # PostgreSQL joins FULL by equality only.
        if not is_full and self.chance(0.35):
            on += f" {self.rng.choice(['AND', 'AND', 'OR'])} {self.expr('bool', left + right, 0, 2)}"
        return on

    def item(self, depth, lateral):
        alias = self.name()
        if lateral and self.chance(0.3):
            numbers = self.columns("int4", lateral)
            if numbers:
                return f"generate_series(1, {self.rng.choice(numbers)}) AS {alias}(x0)", [(f"{alias}.x0", "int4")]
        if depth > 0 and self.chance(0.5 if lateral else 0.2):
            sql, types = self.query(depth - 1, lateral)
            names = [f"x{number}" for number in range(len(types))]
            return f"{'LATERAL ' if lateral else ''}({sql}) AS {alias}({', '.join(names)})", [(f"{alias}.{name}", kind) for name, kind in zip(names, types)]
        if self.chance(0.06):
            rows = ", ".join(f"({self.constant('int4')}, {self.constant('text')})" for _ in range(self.rng.randrange(1, 4)))
            return f"(VALUES (0, 'a'), {rows}) AS {alias}(x0, x1)", [(f"{alias}.x0", "int4"), (f"{alias}.x1", "text")]
        name, columns = self.rng.choice(list(self.tables.items()) + 2 * list(self.ctes.items()))
        return f"{name} AS {alias}", [(f"{alias}.{column}", kind) for column, kind in columns]

    # Expressions.

    def columns(self, kind, scope):
        return [name for name, other in scope if other == kind]

    def constant(self, kind):
        written = value(self.rng, kind)
        if written is None:
            return f"NULL::{kind}"
        if kind in ("int4", "bool"):
            return f"({written})" if str(written).startswith("-") else str(written)
        return f"{kind} '{written}'" if kind != "text" else f"'{written}'"

    def expr(self, kind, scope, depth, size):
        if size <= 0 or self.chance(0.25):
            found = self.columns(kind, scope)
            return self.rng.choice(found) if found and self.chance(0.85) else self.constant(kind)
        inner = lambda kind, size=size - 1: self.expr(kind, scope, depth, size)
        if kind != "bool" and self.chance(0.15):
            return self.rng.choice([
                f"CASE WHEN {inner('bool')} THEN {inner(kind)} ELSE {inner(kind)} END",
                f"CASE WHEN {inner('bool')} THEN {inner(kind)} END",
                f"coalesce({inner(kind)}, {inner(kind)})",
                f"nullif({inner(kind)}, {inner(kind)})",
                f"greatest({inner(kind)}, {inner(kind)})",
                f"least({inner(kind)}, {inner(kind)})"])
        if depth > 0 and self.chance(0.08):
            return self.scalar(kind, scope, depth)
        return getattr(self, f"of_{kind}")(inner, scope, depth)

    def scalar(self, kind, scope, depth):
        """One row, or none."""
        if self.chance(0.6):
            source, its = self.source(depth - 1)
            return f"(SELECT {self.typed(self.aggregate(kind, its), kind)} FROM {source}{self.where(its + list(scope), depth - 1)})"
        sql, _ = self.query(depth - 1, scope, [kind])
        return f"(SELECT x0 FROM ({sql}) AS {self.name()} ORDER BY x0 LIMIT 1)"

    def of_int4(self, inner, scope, depth):
        return self.rng.choice([
            lambda: f"({inner('int4')} {self.rng.choice('+-')} {inner('int4')})",
            lambda: f"({inner('int4')} * {self.rng.choice([-1, 2, 3])})",
            lambda: f"({inner('int4')} % {self.rng.choice([2, 3, -2])})",
            lambda: f"abs({inner('int4')})",
            lambda: f"length({inner('text')})",
            lambda: f"({inner('date')} - {inner('date')})",
            lambda: f"extract(day FROM {inner('timestamp')})::int4",
            lambda: f"({inner('bool')})::int4"])()

    def of_int8(self, inner, scope, depth):
        return self.rng.choice([lambda: f"({inner('int8')} {self.rng.choice('+-')} {inner('int4')})", lambda: f"{inner('int4')}::int8",
                                lambda: f"abs({inner('int8')})"])()

    def of_numeric(self, inner, scope, depth):
        return self.rng.choice([lambda: f"({inner('numeric')} {self.rng.choice('+-')} {inner('numeric')})", lambda: f"({inner('numeric')} * 2)",
                                lambda: f"{inner('int4')}::numeric", lambda: f"round({inner('numeric')}, 1)"])()

    def of_float8(self, inner, scope, depth):
        return self.rng.choice([lambda: f"({inner('float8')} {self.rng.choice('+-')} {inner('float8')})", lambda: f"({inner('float8')} * 0.5)",
                                lambda: f"{inner('int4')}::float8", lambda: f"floor({inner('float8')})"])()

    def of_text(self, inner, scope, depth):
        return self.rng.choice([lambda: f"({inner('text')} || {inner('text')})", lambda: f"{self.rng.choice(['upper', 'lower', 'reverse'])}({inner('text')})",
                                lambda: f"substr({inner('text')}, {self.rng.randrange(1, 3)}, 2)", lambda: f"({inner(self.rng.choice(['int4', 'bool', 'date']))})::text",
                                lambda: f"replace({inner('text')}, 'a', 'x')"])()

    def of_date(self, inner, scope, depth):
        return self.rng.choice([lambda: f"({inner('date')} + {inner('int4')})", lambda: f"({inner('timestamp')})::date"])()

    def of_timestamp(self, inner, scope, depth):
        return self.rng.choice([lambda: f"({inner('timestamp')} + interval '{self.rng.choice(['1 day', '90 minutes', '-1 month'])}')",
                                lambda: f"date_trunc('day', {inner('timestamp')})", lambda: f"({inner('date')})::timestamp"])()

    def of_bool(self, inner, scope, depth):
        kind = self.ordered(scope)
        choices = [
            lambda: f"{inner(kind)} {self.rng.choice(['=', '=', '<>', '<', '<=', '>', '>='])} {inner(kind)}",
            lambda: f"{inner(kind)} {self.rng.choice(['=', '=', '<>', '<', '<=', '>', '>='])} {inner(kind)}",
            lambda: f"({inner('bool')} {self.rng.choice(['AND', 'OR'])} {inner('bool')})",
            lambda: f"({inner('bool')} {self.rng.choice(['AND', 'OR'])} {inner('bool')})",
            lambda: f"(NOT ({inner('bool')}))",
            lambda: f"({inner(kind)} IS {self.rng.choice(['', 'NOT '])}NULL)",
            lambda: f"({inner(kind)} IS {self.rng.choice(['', 'NOT '])}DISTINCT FROM {inner(kind)})",
            lambda: f"(({inner('bool')}) IS {self.rng.choice(['TRUE', 'NOT TRUE', 'FALSE', 'NOT FALSE', 'UNKNOWN', 'NOT UNKNOWN'])})",
            lambda: f"({inner(kind)} {self.rng.choice(['', 'NOT '])}IN ({self.constant(kind)}, {inner(kind)}, {self.constant(kind)}))",
            lambda: f"({inner(kind)} {self.rng.choice(['', 'NOT '])}BETWEEN {inner(kind)} AND {inner(kind)})",
            lambda: f"({inner('text')} {self.rng.choice(['LIKE', 'NOT LIKE', 'ILIKE', '~'])} {self.rng.choice([repr('a%'), repr('%b'), repr('_'), repr('^a')])})",
            lambda: f"(({inner(kind)}, {inner('int4')}) {self.rng.choice(['=', '<', '>='])} ({inner(kind)}, {inner('int4')}))",
        ]
        if depth > 0:
            subquery = lambda kinds: self.query(depth - 1, scope, kinds)[0]
            choices += [
                lambda: f"({self.rng.choice(['', 'NOT '])}EXISTS ({subquery(None)}))",
                lambda: f"({self.rng.choice(['', 'NOT '])}EXISTS ({subquery(None)}))",
                lambda: f"({inner(kind)} {self.rng.choice(['', 'NOT '])}IN ({subquery([kind])}))",
                lambda: f"({inner(kind)} {self.rng.choice(['', 'NOT '])}IN ({subquery([kind])}))",
                lambda: f"({inner(kind)} {self.rng.choice(['=', '<', '>', '<>'])} {self.rng.choice(['ANY', 'ALL'])} ({subquery([kind])}))",
                lambda: f"(({inner(kind)}, {inner('text')}) {self.rng.choice(['', 'NOT '])}IN ({subquery([kind, 'text'])}))",
            ]
        return self.rng.choice(choices)()
