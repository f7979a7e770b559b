"""resample in FROM, against a grid for each series and its samples on both sides of every step."""
import datetime as dt

from cases import Case, Question
from gapfill import Series

METHODS = ["linear", "locf", "nearest", "next", "none"]
COLUMNS = {"v": "float8", "n": "int", "q": "numeric", "d": "text"}


def case(rng):
    series = Series(rng)
    series.origin = series.by = None
    # Of rows at the same time the last counts, and which is the last is nobody's promise.
    rows = {(row[0], row[1]): row for row in series.rows()}
    columns = [f"t {series.type}", "k int", "d text", "v float8", "n int", "q numeric(10,2)"]
    return Case({"g": (columns, list(rows.values()) + ([(None, 1, "a", 1.0, 1, 1.0)] if rng.random() < 0.2 else []))},
                [question(rng, series) for _ in range(4)])


def question(rng, series):
    by = rng.choice([["k"], ["k"], []])
    columns = rng.sample(list(COLUMNS), rng.randrange(1, 4))
    method = rng.choice(METHODS)
    gap = None
    options = [f"every => {series.width}" if series.integer else f"every => '{series.width}'", "time => 't'", f"columns => '{','.join(columns)}'"]
    if by:
        options.append("by => 'k'")
    if method != "linear" or rng.random() < 0.5:
        options.append(f"method => '{method}'")
    if rng.random() < 0.4:
        if series.integer:
            gap = rng.choice([1, 10, 50])
            options.append(f"max_gap => {gap}")
        elif series.kind == "date":
            gap = rng.choice([1, 3, 30])
            options.append(f"max_gap => '{gap} days'")
        else:
            gap = int(series.unit / dt.timedelta(microseconds=1)) * rng.choice([1, 2, 5])
            options.append(f"max_gap => '{gap / 1_000_000:f} s'")
    if series.zone:
        options.append(f"timezone => '{series.zone}'")
    where, start, finish = "", None, None
    if rng.random() < 0.6:
        start, finish = sorted([series.time(), series.time()])
        where = f" WHERE t >= {series.literal(start)} AND t < {series.literal(finish)}"
    source = "'g'" if by else "(SELECT * FROM g WHERE k = 1)"
    order = [column for column in ["t", *by, "d", "v", "n", "q"] if column in ["t", *by, *columns]]
    tidemill = f"SELECT {', '.join(order)}, filled FROM resample({source}, {', '.join(options)}){where}"
    return Question(tidemill, postgres(series, by, columns, method, gap, order, start, finish))


def postgres(series, by, columns, method, gap, order, start, finish):
    unit = {"date": "1", "timestamp": "interval '1 us'", "timestamptz": "interval '1 us'"}.get(series.type, "1")
    cast = "int8" if series.integer else series.type
    first = f"({series.literal(start)})::{cast}" if start is not None else f"lo::{cast}"
    last = f"({series.literal(finish)})::{cast}" if start is not None else f"(hi + {unit})::{cast}"
    if series.integer:
        grid = f"grid({series.width}, {first}, {last}, 0)"
    elif series.zone:
        grid = f"grid_in('{series.zone}', '{series.width}', {first}, {last}, NULL, NULL, '5 min')"
    else:
        grid = f"grid('{series.width}', {first}, {last}, NULL, NULL)"
    # With a largest gap, a series whose rows are all too far away is not there.
    near = ""
    if gap is not None and start is not None and not series.integer:
        before, after = (f"interval '{gap} days'",) * 2 if series.kind == "date" else (f"interval '{gap / 1_000_000:f} s'",) * 2
        near = f" AND t >= {series.literal(start)} - {before} - interval '{series.width}' AND t <= {series.literal(finish)} + {after}"
    joins, values, invented, known = [], {}, [], []
    for column in columns:
        kind = COLUMNS[column]
        samples = lambda op, order: f"LEFT JOIN LATERAL (SELECT number(t{'::int8' if series.integer else ''}) x, {column} y FROM src WHERE src.k IS NOT DISTINCT FROM st.k AND t {op} at AND {column} IS NOT NULL ORDER BY t {order} LIMIT 1)"
        joins += [f"{samples('=', '')} e{column} ON true", f"{samples('<', 'DESC')} b{column} ON true", f"{samples('>', '')} a{column} ON true"]
        before, after = f"b{column}", f"a{column}"
        # What is no number has no line.
        how = "locf" if method == "linear" and kind == "text" else method
        within = lambda distance: f"{distance} <= {gap}" if gap is not None else "true"
        x = "number(at)"
        of_before = f"CASE WHEN {within(f'{x} - {before}.x')} THEN {before}.y END"
        of_after = f"CASE WHEN {within(f'{after}.x - {x}')} THEN {after}.y END"
        if how == "linear":
            points = "float8" if kind == "float8" else "numeric"
            line = f"line({before}.x, {before}.y::{points}, {after}.x, {after}.y::{points}, {x})"
            line = line if kind == "float8" else f"round({line}, 2)" if kind == "numeric" else f"round({line})::{kind}"
            value = f"CASE WHEN {within(f'{after}.x - {before}.x')} THEN {line} END"
        else:
            value = {"locf": of_before, "next": of_after, "none": f"NULL::{kind}",
                     "nearest": f"CASE WHEN {before}.x IS NULL OR {after}.x - {x} < {x} - {before}.x THEN {of_after} ELSE {of_before} END"}[how]
        values[column] = f"coalesce(e{column}.y, {value})"
        invented.append(f"(e{column}.y IS NULL AND {values[column]} IS NOT NULL)")
        known.append(f"{values[column]} IS NOT NULL")
    columns = [f"at::{series.type}" if column == "t" else "st.k" if column == "k" else values[column] for column in order]
    where = f" WHERE at >= {series.literal(start)} AND at < {series.literal(finish)}" if start is not None else ""
    return f"""WITH src AS (SELECT * FROM g WHERE t IS NOT NULL{near}{'' if by else ' AND k = 1'}),
 s AS (SELECT k, min(t) lo, max(t) hi FROM src GROUP BY k), st AS (SELECT k, at FROM s, LATERAL {grid} at)
SELECT {', '.join(columns)}, {' OR '.join(invented)} OR NOT ({' OR '.join(known)}) FROM st {' '.join(joins)}{where}"""
