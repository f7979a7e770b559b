-- TimescaleDB's documented functions in PostgreSQL's own words, for months, days, zones and the grids of gap filling.

-- Buckets of a clock without a zone. Widths of months ignore days of the month; other widths count from a Monday.
CREATE FUNCTION bucket(width interval, at timestamp, origin timestamp DEFAULT NULL) RETURNS timestamp LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    months int := extract(year FROM width) * 12 + extract(month FROM width);
    first int; this int;
BEGIN
    IF months = 0 THEN
        RETURN date_bin(width, at, coalesce(origin, '2000-01-03'));
    END IF;
    first := coalesce(extract(year FROM origin) * 12 + extract(month FROM origin) - 1, 24000);
    this := extract(year FROM at) * 12 + extract(month FROM at) - 1;
    RETURN timestamp '2000-01-01' + make_interval(months => (floor((this - first)::numeric / months) * months)::int + first - 24000);
END $$;

-- The same of dates and, in UTC, of timestamptz.
CREATE FUNCTION bucket(width interval, at date, origin date DEFAULT NULL) RETURNS date LANGUAGE sql IMMUTABLE AS
    $$ SELECT bucket(width, at::timestamp, origin::timestamp)::date $$;
CREATE FUNCTION bucket(width interval, at timestamptz, origin timestamptz DEFAULT NULL) RETURNS timestamptz LANGUAGE sql IMMUTABLE AS
    $$ SELECT bucket(width, at AT TIME ZONE 'UTC', origin AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' $$;
CREATE FUNCTION bucket(width int8, at int8, phase int8 DEFAULT 0) RETURNS int8 LANGUAGE sql IMMUTABLE AS
    $$ SELECT (floor((at - phase)::numeric / width) * width + phase)::int8 $$;

-- With an offset.
CREATE FUNCTION shifted(width interval, at timestamp, by interval) RETURNS timestamp LANGUAGE sql IMMUTABLE AS
    $$ SELECT bucket(width, at - by) + by $$;
CREATE FUNCTION shifted(width interval, at date, by interval) RETURNS date LANGUAGE sql IMMUTABLE AS
    $$ SELECT (bucket(width, (at - by)::date) + by)::date $$;
CREATE FUNCTION shifted(width interval, at timestamptz, by interval) RETURNS timestamptz LANGUAGE sql IMMUTABLE AS
    $$ SELECT shifted(width, at AT TIME ZONE 'UTC', by) AT TIME ZONE 'UTC' $$;

-- By the clock of a zone: where it is set back a bucket would start after the time, and is moved back by its width; by the
-- clock if the width has days or months.
CREATE FUNCTION bucket_in(zone text, width interval, at timestamptz, origin timestamptz DEFAULT NULL, by interval DEFAULT NULL)
RETURNS timestamptz LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    base timestamptz := at - coalesce(by, '0');
    clock timestamp := bucket(width, base AT TIME ZONE zone, origin AT TIME ZONE zone);
    start timestamptz := clock AT TIME ZONE zone;
BEGIN
    WHILE start > base LOOP
        IF width >= '1 day' AND justify_hours(width) = width THEN
            clock := clock - width;
            start := clock AT TIME ZONE zone;
        ELSE
            start := start - width;
        END IF;
    END LOOP;
    RETURN start + coalesce(by, '0');
END $$;

-- Starts of buckets from the one that `first` is in, before `finish`.
CREATE FUNCTION grid(width interval, first timestamp, finish timestamp, origin timestamp, by interval) RETURNS SETOF timestamp LANGUAGE sql AS $$
    SELECT start + coalesce(by, '0')
    FROM generate_series(bucket(width, first - coalesce(by, '0'), origin), finish - coalesce(by, '0') + width, width) start
    WHERE start + coalesce(by, '0') < finish
$$;
CREATE FUNCTION grid(width interval, first timestamptz, finish timestamptz, origin timestamptz, by interval) RETURNS SETOF timestamptz LANGUAGE sql AS $$
    SELECT at AT TIME ZONE 'UTC' FROM grid(width, first AT TIME ZONE 'UTC', finish AT TIME ZONE 'UTC', origin AT TIME ZONE 'UTC', by) at
$$;
CREATE FUNCTION grid(width interval, first date, finish date, origin date, by interval) RETURNS SETOF date LANGUAGE sql AS $$
    SELECT at::date FROM grid(width, first::timestamp, finish::timestamp, origin::timestamp, by) at
$$;
CREATE FUNCTION grid(width int8, first int8, finish int8, phase int8) RETURNS SETOF int8 LANGUAGE sql AS
    $$ SELECT generate_series(bucket(width, first, coalesce(phase, 0)), finish - 1, width) $$;

-- In a zone: by its clock for widths of days or months, every bucket that some time is in for others. `step` divides what
-- starts of buckets are multiples of.
CREATE FUNCTION grid_in(zone text, width interval, first timestamptz, finish timestamptz, origin timestamptz, by interval, step interval)
RETURNS SETOF timestamptz LANGUAGE plpgsql AS $$
DECLARE
    start timestamptz := bucket_in(zone, width, first, origin, by);
    shift interval := coalesce(by, '0');
BEGIN
    IF width >= '1 day' AND justify_hours(width) = width THEN
        -- From the clock that the first bucket is meant to start at, which a change of the clock may have left out.
        RETURN QUERY
            SELECT DISTINCT (at AT TIME ZONE zone) + shift
            FROM generate_series(bucket(width, (first - shift) AT TIME ZONE zone, origin AT TIME ZONE zone) - width,
                                 finish AT TIME ZONE zone + width + interval '1 day', width) at
            WHERE (at AT TIME ZONE zone) + shift >= start AND (at AT TIME ZONE zone) + shift < finish;
    ELSE
        -- Where the clock is set back, a bucket's start may itself be in an earlier one.
        RETURN QUERY
            SELECT DISTINCT b
            FROM generate_series(start, finish - interval '1 us', step) at, bucket_in(zone, width, at, origin, by) b
            WHERE b >= start;
    END IF;
END $$;

-- A point on the line between two.
CREATE FUNCTION line(x0 numeric, y0 float8, x1 numeric, y1 float8, x numeric) RETURNS float8 LANGUAGE sql IMMUTABLE AS
    $$ SELECT CASE WHEN y0 = y1 THEN y0 ELSE (y0 * (x1 - x)::float8 + y1 * (x - x0)::float8) / (x1 - x0)::float8 END $$;
CREATE FUNCTION line(x0 numeric, y0 numeric, x1 numeric, y1 numeric, x numeric) RETURNS numeric LANGUAGE sql IMMUTABLE AS
    $$ SELECT (y0 * (x1 - x) + y1 * (x - x0)) / (x1 - x0) $$;

-- A time as a number.
CREATE FUNCTION number(at timestamp) RETURNS numeric LANGUAGE sql IMMUTABLE AS $$ SELECT extract(epoch FROM at) * 1000000 $$;
CREATE FUNCTION number(at timestamptz) RETURNS numeric LANGUAGE sql IMMUTABLE AS $$ SELECT extract(epoch FROM at) * 1000000 $$;
CREATE FUNCTION number(at date) RETURNS numeric LANGUAGE sql IMMUTABLE AS $$ SELECT (at - date '1970-01-01')::numeric $$;
CREATE FUNCTION number(at int8) RETURNS numeric LANGUAGE sql IMMUTABLE AS $$ SELECT at::numeric $$;
CREATE FUNCTION number(at float8) RETURNS numeric LANGUAGE sql IMMUTABLE AS $$ SELECT at::numeric $$;
