#!/usr/bin/env python3
"""Compares the text of values with a PostgreSQL 15 server, value by value. Not part of the tests: it needs the server.

    udfs/tests/oracle/compare.py 'host=/tmp port=5432 user=postgres' [seed] [group…]
    udfs/tests/oracle/compare.py 'host=/tmp port=5432 user=postgres' record

`record` writes a sample of the cases in which both agree to udfs/src/types/tests/postgres15.txt, which the tests read.
Prints each difference: type, text, PostgreSQL's answer, ours. Errors are `!SQLSTATE message|detail|hint`.
"""
import json, os, random, string, subprocess, sys, tempfile

record = sys.argv[2:3] == ["record"]
connection, seed = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 and not record else 1
rng = random.Random(seed)
FUNCTION = r"""
create or replace function pg_temp.through(t text, v text) returns text language plpgsql as $$
declare r text; m text; d text; h text;
begin
  if t ~ '^(varchar|char|character varying|character|bpchar)\(' then
    -- As assignment does it: an explicit cast would cut the text off.
    execute format('create temp table if not exists %I (x %s)', t, t);
    execute format('insert into %I values (%L) returning format(''%%s'', x)', t, v) into r;
    return r;
  end if;
  execute format('select format(''%%s'', %L::%s)', v, t) into r;
  return r;
exception when others then
  get stacked diagnostics m = message_text, d = pg_exception_detail, h = pg_exception_hint;
  return rtrim('!' || sqlstate || ' ' || m || '|' || d || '|' || h, '|');
end $$;
"""


def psql(sql):
    run = subprocess.run(["psql", connection, "-XAtq", "-v", "ON_ERROR_STOP=1"], input=sql, capture_output=True, text=True)
    if run.returncode:
        sys.exit(run.stderr)
    return run.stdout


def literal(text):
    return "E'" + text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n").replace("\r", "\\r") + "'"


def theirs(cases):
    sql = [FUNCTION, "set client_encoding = utf8; set timezone = 'UTC'; set datestyle = 'ISO, MDY';"]
    for case in cases:
        if case[0] == "set":
            sql.append(f"set {case[1]} = {literal(case[2])};")
        else:
            sql.append(f"select to_json(pg_temp.through({literal(case[0])}, {literal(case[1])}));")
    lines = iter(psql("\n".join(sql)).splitlines())
    return ["" if case[0] == "set" else json.loads(next(lines)) for case in cases]


def ours(cases):
    with tempfile.NamedTemporaryFile("w", suffix=".json", delete=False) as file:
        json.dump(cases, file)
    environment = dict(os.environ, TIDEMILL_ORACLE_CASES=file.name)
    command = ["cargo", "test", "-q", "-p", "tidemill-udfs", "as_postgresql"]
    run = subprocess.run(command, env=environment, capture_output=True, text=True)
    if run.returncode:
        sys.exit(run.stdout[-4000:] + run.stderr[-4000:])
    return json.load(open(file.name + ".out"))


def digits(n):
    return "".join(rng.choice(string.digits) for _ in range(n))


def integers():
    for t, bits in [("int2", 16), ("int4", 32), ("int8", 64)]:
        for n in [0, 1, -1, 2 ** (bits - 1), 2 ** (bits - 1) - 1, -(2 ** (bits - 1)), -(2 ** (bits - 1)) - 1, 10**25]:
            yield t, str(n)
        for text in ["", " ", " 7 ", "+5", "-", "+", "1.5", "1e3", "0x10", "1_000", "--1", "1 2", "abc", "٣", "\t8\n", "00012"]:
            yield t, text
    for text in ["0", "4294967295", "4294967296", "-1", "-2147483648", "x", ""]:
        yield "oid", text
    for text in "t f true FALSE tr fal y n yes no yeah on off o of 1 0 10 2 T  TRUE ".split(" ") + ["", " true "]:
        yield "bool", text


def floats():
    special = "0 -0 1 1e15 1e16 123456789012345678 1e14 999999999999999.9 1e-4 1e-5 0.0001 0.00001234 1e23 5e-324 2.2250738585072014e-308 1.7976931348623157e308 1e400 -1e400 1e-400 NaN nan Infinity -Infinity inf -inf +Infinity infinite .5 5. . 1e 1e+ e5 +1.5 1.5e3 1,5 100000 1000000 1234567 123456 0.1 3.4e38 1e39 1e-46 9007199254740993 16777217".split()
    for t in ["float8", "float4"]:
        for text in special + ["", " 1 ", "1 2", "abc"]:
            yield t, text
        for _ in range(400):
            yield t, repr(rng.uniform(-1, 1) * 10.0 ** rng.randint(-30, 30))
        for _ in range(400):
            yield t, f"{rng.randint(-10**6, 10**6)}e{rng.randint(-20, 25)}"
        for k in range(0, 90):
            yield t, str(2**k)
            yield t, str(2**k + 2 ** max(0, k - 52))
        for _ in range(400):
            yield t, repr(rng.randint(1, 2**24) / 2 ** rng.randint(0, 12))
            yield t, repr(rng.randint(1, 2**53) / 2 ** rng.randint(0, 40))
        for k in range(15, 30):
            for m in range(1, 10):
                yield t, f"{m}e{k}"
    for efd in ["0", "-3", "-14", "3"]:
        yield "set", "extra_float_digits", efd
        for t in ["float8", "float4"]:
            for text in ["0.1", "1e15", "123456789", "0.3333333333333333", "1e-5", "1e300" if t == "float8" else "1e30", "-2.5", "999999.96", "NaN", "-inf"]:
                yield t, text
            for _ in range(100):
                yield t, repr(rng.uniform(-1, 1) * 10.0 ** rng.randint(-30, 30))
    yield "set", "extra_float_digits", "1"


def numerics():
    texts = "0 -0 1 -1 1.5 .5 5. 1e3 1e-3 1.23e2 123.456 99999.995 99999.994 -99999.995 1e400 12345678901234567890 0.005 0.004999 -0.005 1e 1.2.3 + - . abc 1e5000000000 00012.50 +7 9.995 9.994 1e-400".split() + ["", " 1.5 ", "1 2"]
    for t in ["numeric(7,2)", "numeric(38,10)", "numeric(3,3)", "numeric(10)", "numeric(38,38)", "numeric(1,0)", "numeric(38,0)"]:
        for text in texts:
            yield t, text
        for _ in range(100):
            sign = rng.choice(["", "-"])
            yield t, f"{sign}{digits(rng.randint(1, 30))}.{digits(rng.randint(1, 20))}"
            yield t, f"{sign}{digits(rng.randint(1, 5))}.{digits(rng.randint(1, 5))}e{rng.randint(-9, 9)}"


def strings():
    for t in ["varchar(3)", "char(3)", "character varying(3)", "bpchar", "name", "text", "varchar"]:
        for text in ["", "a", "abc", "abcd", "abc ", "abc    ", "  a", "äöü", "äöüß", "äöü ", "日本語", "日本語x", "x" * 70, "a\nb"]:
            yield t, text
    for text in ["\\x", "\\x00ff", "\\x0", "\\xZZ", "\\x0 1", "\\x01 02\n03", "abc", "a\\\\b", "a\\001b", "a\\400", "a\\", "\\xäb", "a\\9", "ä", "\\X01"]:
        yield "bytea", text
    yield "set", "bytea_output", "escape"
    for text in ["\\x00ff41", "abc\\\\", "\\x5c27207f7e1f"]:
        yield "bytea", text
    yield "set", "bytea_output", "hex"
    u = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"
    for text in [u, u.upper(), "{" + u + "}", u.replace("-", ""), "a0ee-bc99-9c0b-4ef8-bb6d-6bb9-bd38-0a11", u[:-1], u + "1", "{" + u, u + "}", "", "x" * 36, "a0-eebc999c0b4ef8bb6d6bb9bd380a11", u[:-1] + "-"]:
        yield "uuid", text


def random_json(depth=0):
    kind = rng.randint(0, 9 if depth < 3 else 6)
    space = lambda: rng.choice(["", "", " ", "\n", "\t"])
    if kind == 0:
        return rng.choice(["true", "false", "null"])
    if kind <= 3:
        return rng.choice(["0", "-0", "1", "-1.50", "1e2", "1.5E-3", "1E+5", "123456789012345678901234567890", "0.10", "1.0e1", "12e-1", "-0.0", "0e5", "1.25e10"])
    if kind <= 6:
        return json.dumps("".join(rng.choice(["a", "b", "é", '"', "\\", "\n", "\t", "/", "\x01", "😀", " ", "Z"]) for _ in range(rng.randint(0, 5))), ensure_ascii=rng.random() < 0.5)
    if kind <= 7:
        return "[" + space() + ("," + space()).join(random_json(depth + 1) for _ in range(rng.randint(0, 4))) + space() + "]"
    return "{" + space() + ",".join(json.dumps(rng.choice(["a", "b", "aa", "ab", "é", "z", "", "long key"])) + space() + ":" + space() + random_json(depth + 1) for _ in range(rng.randint(0, 4))) + space() + "}"


def jsons():
    bad = ["", " ", "{", "}", "[", "]", "[1", "[1,", "[1,]", "[,]", "{a:1}", '{"a"}', '{"a":}', '{"a":1,}', '{"a" 1}', '{1:2}', "tru", "nul", "True", "'a'", "01", "1.", ".5", "1e", "-", "+1", "1 2", '"a', '"a\nb"', '"\\x"', '"\\u12"', '"\\u0000"', '"\\ud800"', '"\\ud800\\u0041"', '"\\udc00"', '"\\ud83d\\ude00"', "[1}", '{"a":1]', "[1 2]", "nan", "1a", "1.5.5", "-a", '{"a":1} x', "[true false]", '{"a":b}', '"\\', "é", '["é", x]', "1e400000", '"\\u00e9"', "[[[]]]", '{"a":{"b":[1,{"c":null}]}}', "@", '{"x" : @}', "[1,@]", '{true:1}', '[[1,2],', '"a" "b"', ":", ",", '{"a":1 "b":2}', '{"a":1,2}']
    for t in ["json", "jsonb"]:
        for text in bad:
            yield t, text
        for _ in range(300):
            yield t, random_json()
        for _ in range(300):
            text = random_json()
            cut = rng.randint(0, len(text))
            yield t, text[:cut] + rng.choice(["", "x", "}", "]", ",", '"', " 1", ":"]) + text[cut + rng.randint(0, 1):]


def random_date():
    year, month, day = rng.randint(1, 9999), rng.randint(1, 12), rng.randint(1, 28)
    return year, month, day


def dates():
    months = ["Jan", "february", "MAR", "Apr", "May", "june", "Jul", "August", "Sept", "oct", "Nov", "December"]
    for order in ["MDY", "DMY", "YMD"]:
        yield "set", "datestyle", "ISO, " + order
        for text in ["1/8/1999", "1/18/1999", "18/1/1999", "01/02/03", "1999-01-08", "1999-Jan-08", "Jan-08-1999", "08-Jan-1999", "99-Jan-08", "08-Jan-99", "Jan-08-99", "19990108", "990108", "1999.008", "J2451187", "January 8, 1999", "January 8, 99 BC", "8 January 1999", "Jan 8 1999", "1999 Jan 8", "99 08 01", "1999 08 01", "08 01 1999", "99-08-01", "1.2.2024", "2024.1.2", "2024/1/2", "1-2-2024", "31.12.2024", "2024-2-29", "2023-2-29", "2024-02-30", "2024-00-01", "2024-01-00", "0000-01-01", "0001-01-01 BC", "4713-01-01 BC", "4714-11-23 BC", "4714-11-24 BC", "5874897-12-31", "5874898-01-01", "294276-12-31", "infinity", "-infinity", "Infinity", "inf", "epoch", "today x", "x", "", " ", "2024", "2024-01", "2024-01-02 x", "2024-01-02 03:04:05", "2024-01-02T03:04:05Z", "Tue 2 Jan 2024", "Tuesday, January 2, 2024", "2024-1-2-3", "2024-01-02-03", "12-31-2024", "2024 32 1", "10000-01-01", "2024-01-02 BC", "99999999", "2024-13-01", "1-1-1", "2024-Foo-01", "Jan 2024", "2024Jan02", "20240102", "240102", "2024 001", "2024 366", "2023 366", "2024 367", "2024-001", "1999-01-08 AD", "Jan-8-1999 BC", "4 july 76", "3-1-04"]:
            yield "date", text
    yield "set", "datestyle", "ISO, MDY"
    for _ in range(200):
        y, m, d = random_date()
        yield "date", f"{y:04}-{m:02}-{d:02}"
        yield "date", f"{rng.choice(months)} {d}, {y}"
        yield "date", f"{y:04}-{m:02}-{d:02} BC"
    for text in ["04:05:06.789", "04:05:06", "04:05", "040506", "0405", "04:05 AM", "04:05 PM", "12:00 AM", "12:00 PM", "13:00 PM", "04:05:06.789-8", "04:05:06-08:00", "04:05-08:00", "040506-08", "04:05:06 PST", "2003-04-12 04:05:06 America/New_York", "24:00:00", "24:00:01", "23:59:60", "23:59:60.5", "23:59:61", "25:00", "12:60", "1:2:3", "allballs", "", "x", "4", "12:34:56.1234567", "12:34:56.9999999", "12:34.5", "::", "12:", "-1:00", "12:34:56.", "t040506", "T04:05:06", "23:59:59.9999999", "2024-01-02 03:04", "04.05", "040506.789", "infinity"]:
        yield "time", text
    for style in ["SQL, MDY", "SQL, DMY", "Postgres, MDY", "Postgres, DMY", "German, DMY", "ISO, MDY"]:
        yield "set", "datestyle", style
        for t, texts in [("date", ["2024-01-02", "0044-03-15 BC", "12345-01-02", "infinity"]), ("timestamp", ["2024-01-02 03:04:05", "2024-01-02 03:04:05.6789", "0044-03-15 10:00 BC", "12345-01-02", "-infinity"]), ("timestamptz", ["2024-01-02 03:04:05+00", "2024-07-02 03:04:05.6789+05", "0044-03-15 10:00+00 BC", "1850-01-01 00:00+00"])]:
            for zone in ["UTC", "Europe/Berlin", "America/New_York", "America/Sao_Paulo"]:
                yield "set", "timezone", zone
                for text in texts:
                    yield t, text.replace("-", "-")
    yield "set", "timezone", "UTC"
    yield "set", "datestyle", "ISO, MDY"


def timestamps():
    stamps = ["2024-01-02 03:04:05", "2024-01-02T03:04:05", "2024-01-02 03:04:05.6", "2024-01-02 03:04:05.123456", "2024-01-02 03:04:05.1234565", "2024-01-02 03:04:05.9999999", "2024-01-02", "2024-01-02 03:04", "2024-01-02 3:4:5", "2024-01-02 03:04:05+02", "2024-01-02 03:04:05 +02", "2024-01-02 03:04:05+02:30", "2024-01-02 03:04:05-0230", "2024-01-02 03:04:05Z", "2024-01-02 03:04:05 z", "2024-01-02 03:04:05 UTC", "2024-01-02 03:04:05 GMT", "2024-01-02 03:04:05 EST", "2024-07-02 03:04:05 EDT", "2024-07-02 03:04:05 CEST", "2024-01-02 03:04:05 Europe/Berlin", "2024-07-02 03:04:05 europe/berlin", "2024-07-02 03:04:05 Asia/Kolkata", "2024-01-02 03:04:05 foo", "2024-01-02 03:04:05 Foo/Bar", "2024-01-02 03:04:05+16", "2024-01-02 03:04:05+15:59:59", "2024-01-02 03:04:05+1:2:3", "2024-01-02 03:04:05 MSK", "2010-07-02 03:04:05 MSK", "2024-01-02 24:00:00", "2024-01-02 24:00:01", "2024-01-02 23:59:60", "2024-01-02 25:00:00", "2024-01-02 03:60:00", "2024-01-02 03:04:05 BC", "2024-01-02 03:04:05+02 BC", "20240102T030405", "20240102 030405", "20240102T030405Z", "20240102T0304", "20240102T030405-08", "20240102 030405.678", "Jan 2 2024 3:04 PM", "2 Jan 2024 15:04:05.5", "Tue Jan 02 03:04:05 2024", "Tue Jan 02 03:04:05 2024 UTC", "Tue Jan 02 03:04:05 2024 EST", "1/2/2024 3:04:05 PM", "13/2/2024 3:04", "infinity", "-infinity", "epoch", "epoch x", "infinity 1", "", " ", "x", "12:00", "2024-01-02 12", "2024-01-02 1234", "2024-01-02 123456", "J2451187 04:05", "2451187.5", "J2451187.5", "4714-11-24 00:00:00 BC", "4714-11-23 23:59:59 BC", "2024-02-30 00:00", "2024-01-02 03:04:05 PM", "2024-01-02 15:04:05 PM", "2024-01-02 00:30 AM", "2024-01-02 12:30 AM", "2024-01-02 12:30 PM", "2024-01-02 allballs", "  2024-01-02   03:04:05  ", "2024-01-02,03:04:05", "2024-01-02 03:04:05 +", "2024-01-02 03:04:05+", "2024-01-02 03:04:05.", "2024-01-02 03:04:05..5", "2024-01-02 03-04-05", "2024-01-02_03:04:05", "2024.01.02 03:04:05", "2024/01/02 03:04:05", "1900-01-01 00:00:00", "1582-10-15 00:00", "0001-01-01 00:00", "2024-01-02 03:04:05 America/New_York", "1999-01-08 04:05:06 -8:00", "January 8 04:05:06 1999 PST", "2024-01-02 at 03:04", "2024-03-31 02:30:00", "2024-10-27 02:30:00", "2024-03-10 02:30", "2024-11-03 01:30", "2150-07-01 12:00", "2500-07-01 12:00+00", "1890-01-01", "292000-01-01", "10000-06-15 10:20:30.5", "99999-12-31", "2024-366", "2024-060 12:00", "2024060", "2024060 12:00", "240229", "230229"]
    for zone in ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"]:
        yield "set", "timezone", zone
        for t in ["timestamp", "timestamptz"]:
            for text in stamps:
                yield t, text
    zones = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Sydney", "America/Sao_Paulo", "Africa/Casablanca", "Asia/Tehran", "Pacific/Apia"]
    for zone in zones:
        yield "set", "timezone", zone
        for _ in range(60):
            y, m, d = random_date()
            if rng.random() < 0.8:
                y = rng.randint(1950, 2300)
            text = f"{y:04}-{m:02}-{d:02} {rng.randint(0, 23):02}:{rng.randint(0, 59):02}:{rng.randint(0, 59):02}"
            if rng.random() < 0.5:
                text += "." + digits(rng.randint(1, 6))
            yield "timestamptz", text
            yield "timestamptz", text + rng.choice(["+00", "-05", "+05:30", "Z", " UTC"])
            yield "timestamp", text
    yield "set", "timezone", "UTC"


def intervals():
    texts = ["1 year 2 mons 3 days 04:05:06", "1 year", "-1 year", "1 mon", "-1 mon 2 days", "1 mon -2 days", "-1 day +02:03:04", "1 day -00:00:01", "04:05", "04:05:06.789", "-04:05:06", "1.5 years", "1.5 months", "1.5 weeks", "1.5 days", "1.5 hours", "1.5 minutes", "1.5 seconds", "0.3 month", "1.23456 mon", "2.345 days", "0.1 year", "1 week", "1 decade", "1 century", "1 millennium", "1.5 decades", "3 ms", "3 us", "3.7 us", "3.5 msec", "90", "90.5", "-90", "1 2:03", "1 2:03:04", "1-2", "-1-2", "1-2 3 4:05:06", "-1-2 3 4:05:06", "+1-2 -3 +4:05:06", "1-13", "P1Y2M3DT4H5M6S", "P1Y", "PT1M", "P1M", "P0.5Y", "P1.5M", "PT1.5S", "P-1Y-2M", "P1W", "P", "PT", "P1", "P1X", "PT0S", "P0001-02-03T04:05:06", "P00010203T040506", "@ 1 hour ago", "1 hour ago", "ago", "1 day ago 2", "@ 1 year 2 mons -3 days 4 hours 5 mins 6 secs ago", "1 day 2 days", "", " ", "x", "1 x", "day", "1 day 1", "1h30m", "1d 2h", "1y2mon", "1:2:3", "100:00:00", "-100:30", "1 day 25:00:00", "1 fortnight", "999999999 years", "178956970 years 7 mons", "178956971 years", "2147483647 days", "2147483648 days", "2562047 hours", "1e3 seconds", "1 second 1 minute", "1,5 days", "1 day, 2 hours", "1.2.3 days", "1 hour 30", "5 minutes ago", "1 year ago", "00:00:00", "0", "-0", "00:00:00.0000001", "23:59:60", "12:60", "0.0000005 seconds", "1 month 1.5 days", "- 1 day", "+1 day", "1 day-2 hours", "infinity", "1 q", "2 years 15 months 100 weeks 99 hours 123456789 milliseconds", "P1Y2M10DT2H30M", "6 mon 1.25 day", "1 1", "1 1:00 2", "1 YEAR 2 MONTHS", "12:34.5", "1 min 2.5 sec", "7 days 3.25 hours"]
    for style in ["postgres", "postgres_verbose", "sql_standard", "iso_8601"]:
        yield "set", "intervalstyle", style
        for text in texts:
            yield "interval", text
        units = ["year", "mons", "days", "hours", "min", "secs", "weeks", "ms"]
        for _ in range(150):
            parts = [f"{rng.randint(-50, 50)}{rng.choice(['', '', '.5', '.25', '.123'])} {unit}" for unit in units if rng.random() < 0.4]
            yield "interval", " ".join(parts)
            yield "interval", f"{rng.randint(-9, 9)} years {rng.randint(-9, 9)} mons {rng.randint(-40, 40)} days {rng.choice(['', '-'])}{rng.randint(0, 30)}:{rng.randint(0, 59):02}:{rng.randint(0, 59):02}.{digits(rng.randint(1, 6))}"
    yield "set", "intervalstyle", "postgres"


def arrays():
    for t in ["int[]", "text[]", "float8[]", "timestamp[]", "bool[]", "interval[]", "jsonb[]", "char(3)[]", "numeric(6,2)[]", "bytea[]", "uuid[]", "date[]"]:
        for text in ["{}", "{1,2,3}", "{NULL}", "{null,1}", "{ 1 , 2 }", '{"1","2"}', "{1,}", "{,1}", "{", "}", "", "1,2", "{1}{", "{1} x", "{1", '{"1', '{"1"x}', '{x"1"}', "{1 2}", "[0:1]={1,2}", "[2]={1,2}", "[1:3]={1,2}", "[1:2]{1,2}", "[1:2={1,2}", "[3:1]={1}", '{"NULL"}', "{{}}", " {1} ", "{\\1}", '{"\\"1"}', "{t,f}", "{a b, c }", '{"a\\\\b"}', "{2024-01-02}", '{"2024-01-02 03:04:05"}', "{1 day}", '{"{\\"a\\": 1}"}', '{""}', '{" "}', "{a\\ }", "{1.5,2.25}", "{x,nUlL}", "{\"a,b\",'c'}", "{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}", "{\\\\x01ff}", '{"\\\\x01ff"}']:
            yield t, text
    for t in ["int[][]", "text[][]"]:
        for text in ["{}", "{{1,2},{3,4}}", "{{1,2},{3}}", "{{1,NULL}}", '{{"a b",c},{"",NULL}}', "{{1},{2},{3}}", "{{1,2},3}", "{{1,2}", "[0:1][1:2]={{1,2},{3,4}}"]:
            yield t, text
    for text in ["1 2 3", "", " 1  2 ", "x"]:
        yield "int2vector", text
        yield "oidvector", text


generators = [integers, floats, numerics, strings, jsons, dates, timestamps, intervals, arrays]
chosen = sys.argv[3:] or [generator.__name__ for generator in generators]
cases = [list(case) for generator in generators if generator.__name__ in chosen for case in generator()]
expected, actual = theirs(cases), ours(cases)
different = 0
setting = {}
for case, wanted, got in zip(cases, expected, actual):
    if case[0] == "set":
        setting[case[1]] = case[2]
    elif wanted != got:
        different += 1
        print(f"{case[0]} {case[1]!r} {setting}\n    postgres {wanted!r}\n    ours     {got!r}")
print(f"{len(cases)} cases, {different} different")
if record:
    quote = lambda text: json.dumps(text, ensure_ascii=False)
    lines, done = [], set()
    for case, wanted, got in zip(cases, expected, actual):
        if case[0] == "set":
            lines.append("\t".join(case))
        elif wanted == got and (case[0], case[1]) not in done and (rng.random() < 0.25 or len(case[1]) < 12):
            if rng.random() < 0.4:
                done.add((case[0], case[1]))
                lines.append("\t".join([case[0], quote(case[1]), quote(wanted)]))
    with open(os.path.join(os.path.dirname(__file__), "../../src/types/tests/postgres15.txt"), "w") as file:
        file.write("\n".join(lines) + "\n")
    print(f"{len(lines)} recorded")
