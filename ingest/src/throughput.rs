//! Throughput of the decoders, for people: `cargo test -p tidemill-ingest --release -- --ignored --nocapture throughput`.

use std::time::Instant;

use tidemill_udfs::types::TextSettings;

use crate::testing::adding;
use crate::{CsvDecoder, CsvOptions, JsonDecoder, JsonFormat, LineDecoder, LineOptions, TableShape};

/// 12 fields, about 250 bytes.
fn event(n: u64) -> String {
    format!(
        concat!(
            "{{\"id\":\"0190cafe-0000-7000-8000-{:012x}\",\"ts\":\"2024-05-01T{:02}:{:02}:{:02}.{:06}Z\",\"user_id\":{},",
            "\"event\":\"{}\",\"page\":\"/products/{}\",\"country\":\"DE\",\"amount\":{}.{:02},\"duration_ms\":{},",
            "\"ok\":{},\"browser\":\"Firefox\",\"score\":{}.{},\"session\":{}}}\n"
        ),
        n,
        n / 3600 % 24,
        n / 60 % 60,
        n % 60,
        n % 1_000_000,
        n * 7919 % 1_000_000,
        ["click", "view", "purchase"][(n % 3) as usize],
        n % 5000,
        n % 1000,
        n % 100,
        n % 90_000,
        n.is_multiple_of(2),
        n % 7,
        n % 1000,
        n % 100_000
    )
}

fn report(what: &str, bytes: usize, rows: u64, start: Instant) {
    let seconds = start.elapsed().as_secs_f64();
    let (rows, bytes) = (rows as f64, bytes as f64);
    #[expect(clippy::print_stdout, reason = "it is for people")]
    {
        println!(
            "{what}: {:.2} M rows/s, {:.0} MB/s, {:.0} B/row",
            rows / seconds / 1e6,
            bytes / seconds / 1e6,
            bytes / rows
        );
    }
}

fn best(what: &str, input: &[u8], mut run: impl FnMut(&[u8]) -> u64) {
    for _ in 0..5 {
        let start = Instant::now();
        let rows = run(input);
        report(what, input.len(), rows, start);
    }
}

fn json(shape: &TableShape, input: &[u8]) -> u64 {
    let mut decoder = JsonDecoder::new(JsonFormat::Lines, shape.clone(), TextSettings::default());
    let mut rows = 0;
    for chunk in input.chunks(1 << 20) {
        decoder.push(chunk);
        while let Some(decoded) = decoder.take_batch() {
            assert!(decoded.dead_letters.is_empty());
            rows += decoded.counts.rows;
        }
    }
    decoder.finish();
    while let Some(decoded) = decoder.take_batch() {
        rows += decoded.counts.rows;
    }
    rows
}

#[test]
#[ignore = "a measurement"]
fn throughput() {
    let events: String = (0..400_000).map(event).collect();
    best("ndjson, 12 fields", events.as_bytes(), |input| json(&adding(&[]), input));

    let lines: String = (0..1_000_000u64)
        .map(|n| {
            format!(
                "cpu,host=host_{},region=eu-west-{} usage_user={}.{},usage_system={},count={}i {}\n",
                n % 100_000,
                n % 3,
                n % 100,
                n % 10,
                n % 77,
                n % 1000,
                1_700_000_000_000_000_000 + n * 1000
            )
        })
        .collect();
    best("line protocol, 2 tags, 3 fields", lines.as_bytes(), |input| {
        let shape_of = |name: &str| Ok(TableShape { name: name.into(), ..adding(&[]) });
        let mut decoder = LineDecoder::new(LineOptions::default(), TextSettings::default(), Box::new(shape_of));
        let mut rows = 0;
        for chunk in input.chunks(1 << 20) {
            decoder.push(chunk);
            while let Some((_, decoded)) = decoder.take_batch() {
                rows += decoded.counts.rows;
            }
        }
        decoder.finish();
        while let Some((_, decoded)) = decoder.take_batch() {
            rows += decoded.counts.rows;
        }
        rows
    });

    let wide: String = (0..2_000u64)
        .map(|n| {
            let fields: Vec<_> = (0..1_000).map(|m| format!("\"field_{m}\":{}", n * m % 1000)).collect();
            format!("{{{}}}\n", fields.join(","))
        })
        .collect();
    best("ndjson, 1,000 fields", wide.as_bytes(), |input| json(&adding(&[]), input));

    let csv: String = std::iter::once("id,ts,user_id,event,amount,ok\n".to_owned())
        .chain(
            (0..600_000u64)
                .map(|n| format!("{n},2024-05-01T00:00:{:02}Z,{},view,{}.5,true\n", n % 60, n * 31 % 9999, n % 100)),
        )
        .collect();
    best("csv, 6 fields", csv.as_bytes(), |input| {
        let mut decoder = CsvDecoder::new(CsvOptions::default(), adding(&[]), TextSettings::default());
        let mut rows = 0;
        for chunk in input.chunks(1 << 20) {
            decoder.push(chunk);
            while let Some(decoded) = decoder.take_batch() {
                rows += decoded.counts.rows;
            }
        }
        decoder.finish();
        while let Some(decoded) = decoder.take_batch() {
            rows += decoded.counts.rows;
        }
        rows
    });
}
