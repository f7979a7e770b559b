//! Plans that use the order of time of a table with several row groups; what they answer is in `tests/sql`.

use crate::support::server::Server;

#[test]
fn gaps_and_last_points_need_no_sort() {
    let server = Server::start();
    let mut client = server.connect();
    client.run("CREATE TABLE m (ts timestamptz, k text, v float8)");
    client.run(
        "INSERT INTO m SELECT timestamptz '2026-01-01Z' + (g::bigint * 7919 % 300000) * interval '1 s', 'k' || g % 9, g FROM generate_series(1, 300000) AS s(g)",
    );
    // A single file, not sorted: VACUUM FULL once was VACUUM, which found nothing to merge.
    client.run("VACUUM FULL m");
    let mut plan = |sql: &str| client.value(&format!("EXPLAIN (FORMAT JSON) {sql}"));
    let gaps = "SELECT time_bucket_gapfill('10 s', ts) AS t, k, locf(avg(v)) FROM m
                WHERE ts >= '2026-01-01Z' AND ts < '2026-01-03Z' GROUP BY 1, 2";
    let interleaved = plan(gaps);
    assert!(interleaved.contains("Interleaved Gap Fill") && !interleaved.contains("\"Sort\""), "{interleaved}");
    assert!(interleaved.contains("in 2 ranges") || interleaved.contains("in 1 ranges"), "{interleaved}");
    let sorted = plan(&format!("{gaps} ORDER BY 2, 1"));
    assert!(!sorted.contains("Interleaved"), "the order is that of the plan by series: {sorted}");
    let by_zone = plan(&gaps.replace("ts) AS t", "ts, 'Europe/Berlin') AS t"));
    assert!(!by_zone.contains("Interleaved"), "{by_zone}");

    for last in [
        "SELECT DISTINCT ON (k) * FROM m ORDER BY k, ts DESC",
        "SELECT k, last(v, ts), max(ts) FROM m GROUP BY k",
        "SELECT k, first(v, ts) FROM m WHERE v > 5 GROUP BY k",
    ] {
        let plan = plan(last);
        assert!(plan.contains("Newest Rows") && plan.contains("until every k is settled"), "{plan}");
    }
    for all in [
        "SELECT k, last(v, ts), first(v, ts) FROM m GROUP BY k",
        "SELECT k, last(v, ts) FILTER (WHERE v > 5) FROM m GROUP BY k",
        "SELECT k, last(v, ts), avg(v) FROM m GROUP BY k",
        "SELECT k || 'x', last(v, ts) FROM m GROUP BY 1",
        "SELECT k, max(v) FROM m GROUP BY k",
    ] {
        let plan = plan(all);
        assert!(!plan.contains("Newest Rows"), "{plan}");
    }

    for of_time in [
        "time_bucket('1 hour', ts) >= '2026-01-01 00:30Z'",
        "date_bin('1 hour', ts, '2000-01-01Z') = '2026-01-01 01:00Z'",
        "date_trunc('day', ts) < '2026-01-02Z'",
    ] {
        let plan = plan(&format!("SELECT count(*) FROM m WHERE {of_time}"));
        let filters = plan.split("filters=[").nth(1).expect(&plan);
        assert!(filters.starts_with("ts@0 "), "files are ruled out by their times: {plan}");
    }
}
