//! The example data, row by row, from a seed: a sensor fleet with the faults real ones have, advertising, customers.
//!
//! Everything happens on one day, so that answers are the same everywhere and always: readings come about once a minute
//! per device, with jitter; devices go silent for a while; some readings arrive late, some twice; some devices drift.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio_postgres::Client;

use super::{fill, missing, progress, say};

/// The same data for everybody.
const SEED: u64 = 7;
/// The day on which everything happens.
const DAY: &str = "2026-06-01";
const DEVICES: u32 = 1000;
const MINUTES: u32 = 24 * 60;
const CUSTOMERS: u32 = 5000;
const EVENTS: u32 = 100_000;
const IMPRESSIONS: u32 = 200_000;
/// Bytes of COPY data sent at once: few system calls, little memory.
const CHUNK_BYTES: usize = 256 << 10;

const SITES: [(&str, f64, f64, f64); 5] = [
    ("Rotterdam", 51.92, 4.48, 17.0),
    ("Bilbao", 43.26, -2.93, 20.0),
    ("Gdansk", 54.35, 18.65, 15.0),
    ("Nairobi", -1.29, 36.82, 21.0),
    ("Pune", 18.52, 73.86, 28.0),
];
const MODELS: [&str; 3] = ["TM-100", "TM-200", "TM-200X"];
const COUNTRIES: [&str; 8] = ["DE", "ES", "FR", "IN", "KE", "NL", "PL", "US"];
const CAMPAIGNS: [(&str, f64); 6] = [
    ("spring_sale", 0.031),
    ("newsletter", 0.054),
    ("retargeting", 0.042),
    ("brand", 0.008),
    ("video", 0.015),
    ("partners", 0.023),
];
const PLANS: [&str; 3] = ["free", "team", "business"];
const FIRST_NAMES: [&str; 12] =
    ["Ada", "Bela", "Chidi", "Dana", "Eskil", "Farah", "Goran", "Hana", "Inés", "Jun", "Kofi", "Lena"];
const LAST_NAMES: [&str; 12] = [
    "Adeyemi", "Brandt", "Castro", "Dubois", "Eriksen", "Fischer", "Garcia", "Haddad", "Iyer", "Jansen", "Kowalska",
    "Li",
];

/// What to paste: a title, and SQL without double quotes.
pub(super) const QUERIES: [(&str, &str); 5] = [
    (
        "How warm was it, hour by hour, at each site?",
        "SELECT date_trunc('hour', ts) AS hour, site, round(avg(temperature)::numeric, 1) AS avg_temperature, count(*) AS readings \
         FROM readings JOIN devices USING (device_id) GROUP BY 1, 2 ORDER BY 1, 2 LIMIT 15",
    ),
    (
        "What did each device say last? (duplicates and late rows do not matter)",
        "SELECT DISTINCT ON (device_id) device_id, ts, temperature, battery, state FROM readings \
         ORDER BY device_id, ts DESC LIMIT 10",
    ),
    (
        "Which devices went silent, and for how long?",
        "SELECT device_id, ts AS back_at, gap FROM (SELECT device_id, ts, ts - lag(ts) OVER (PARTITION BY device_id ORDER BY ts) \
         AS gap FROM readings) AS gaps WHERE gap > interval '90 minutes' ORDER BY gap DESC LIMIT 10",
    ),
    (
        "Which campaigns are clicked, and what does a click cost?",
        "SELECT campaign, count(*) AS impressions, count(click_id) AS clicks, \
         round(100.0 * count(click_id) / count(*), 2) AS ctr_percent, round(sum(cost) / count(click_id), 3) AS cost_per_click \
         FROM ad_impressions LEFT JOIN ad_clicks USING (impression_id) GROUP BY campaign ORDER BY ctr_percent DESC",
    ),
    (
        "Where do purchases come from? (properties are jsonb)",
        "SELECT country, properties ->> 'channel' AS channel, count(*) AS purchases, \
         sum((properties ->> 'amount')::numeric) AS revenue FROM customer_events JOIN customers USING (customer_id) \
         WHERE event = 'purchase' GROUP BY 1, 2 ORDER BY revenue DESC LIMIT 10",
    ),
];

/// A table of the example: its name, columns, about how many rows, and what makes them.
struct Table {
    name: &'static str,
    columns: &'static str,
    rows: u64,
    generate: fn(&mut Rows),
}

const TABLES: [Table; 6] = [
    Table {
        name: "devices",
        columns: "device_id text NOT NULL, site text NOT NULL, model text NOT NULL, latitude float8, longitude float8, \
                  installed_on date",
        rows: DEVICES as u64,
        generate: devices,
    },
    Table {
        name: "readings",
        columns: "ts timestamptz NOT NULL, device_id text NOT NULL, temperature float8, humidity float8, battery float8, \
                  state text",
        rows: (DEVICES * MINUTES) as u64,
        generate: readings,
    },
    Table {
        name: "ad_impressions",
        columns: "impression_id bigint NOT NULL, ts timestamptz NOT NULL, campaign text NOT NULL, country text, \
                  cost numeric(8,5)",
        rows: IMPRESSIONS as u64,
        generate: impressions,
    },
    Table {
        name: "ad_clicks",
        columns: "click_id bigint NOT NULL, impression_id bigint NOT NULL, ts timestamptz NOT NULL",
        rows: (IMPRESSIONS / 40) as u64,
        generate: clicks,
    },
    Table {
        name: "customers",
        columns: "customer_id int NOT NULL, name text, email text, country text, plan text, signed_up_on date",
        rows: CUSTOMERS as u64,
        generate: customers,
    },
    Table {
        name: "customer_events",
        columns: "ts timestamptz NOT NULL, customer_id int NOT NULL, event text NOT NULL, properties jsonb",
        rows: EVENTS as u64,
        generate: events,
    },
];

/// Loads the tables that are not there yet.
pub(super) async fn load(client: &Client) -> anyhow::Result<()> {
    let names = TABLES.map(|table| table.name);
    let missing = missing(client, &names).await?;
    if !missing.contains(&true) {
        say("The example data is there already.");
        return Ok(());
    }
    for (table, _) in TABLES.iter().zip(missing).filter(|(_, missing)| *missing) {
        let bar = progress(table.rows, "rows")?;
        bar.set_message(table.name);
        let (sender, mut receiver) = tokio::sync::mpsc::channel(4);
        let generate = table.generate;
        // On a thread of its own: making rows and sending them overlap.
        let generator = tokio::task::spawn_blocking(move || {
            let mut rows = Rows::new(sender);
            generate(&mut rows);
            rows.flush();
        });
        let chunks = std::iter::from_fn(move || tokio::task::block_in_place(|| receiver.blocking_recv()).map(Ok));
        let rows = fill(client, table.name, table.columns, "", chunks, &bar).await?;
        generator.await?;
        bar.finish_and_clear();
        say(&format!("  {:16} {rows:>9} rows", table.name));
    }
    Ok(())
}

/// Rows in COPY's text format, sent in chunks.
struct Rows {
    random: StdRng,
    text: String,
    count: u64,
    sender: tokio::sync::mpsc::Sender<(Bytes, u64)>,
}

impl Rows {
    fn new(sender: tokio::sync::mpsc::Sender<(Bytes, u64)>) -> Self {
        Self { random: StdRng::seed_from_u64(SEED), text: String::with_capacity(CHUNK_BYTES * 2), count: 0, sender }
    }

    /// Ends a row of which `write` wrote the columns.
    fn row(&mut self, write: impl FnOnce(&mut String) -> std::fmt::Result) {
        write(&mut self.text).expect("a String takes everything");
        self.text.push('\n');
        self.count += 1;
        if self.text.len() >= CHUNK_BYTES {
            self.flush();
        }
    }

    fn flush(&mut self) {
        let text = std::mem::replace(&mut self.text, String::with_capacity(CHUNK_BYTES * 2));
        // Nobody receives any more: loading failed, and says why itself.
        let _ = self.sender.blocking_send((text.into(), std::mem::take(&mut self.count)));
    }
}

/// Roughly normal, around 0 with deviation 1: the sum of twelve uniform numbers.
fn normal(random: &mut StdRng) -> f64 {
    (0..12).map(|_| random.random::<f64>()).sum::<f64>() - 6.0
}

/// A moment of the day, to the millisecond.
fn moment(text: &mut String, millis: u32) -> std::fmt::Result {
    let seconds = millis / 1000;
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    write!(text, "{DAY} {hour:02}:{minute:02}:{second:02}.{:03}+00", millis % 1000)
}

/// Work days have a rhythm: few at night, most in the afternoon.
fn time_of_day(random: &mut StdRng) -> u32 {
    let hours = (14.0 + 4.0 * normal(random)).rem_euclid(24.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 86,400,000")]
    let millis = (hours * 3_600_000.0) as u32;
    millis.min(86_399_999)
}

fn pick<'a, T>(random: &mut StdRng, from: &'a [T]) -> &'a T {
    &from[random.random_range(0..from.len())]
}

fn devices(rows: &mut Rows) {
    for device in 0..DEVICES {
        let (site, latitude, longitude, _) = SITES[site_of(device)];
        let model = *pick(&mut rows.random, &MODELS);
        let (dx, dy) = (normal(&mut rows.random) * 0.02, normal(&mut rows.random) * 0.02);
        let (month, day) = (rows.random.random_range(1..=12), rows.random.random_range(1..=28));
        let year = rows.random.random_range(2019..=2025);
        rows.row(|text| {
            write!(
                text,
                "dev-{device:04}\t{site}\t{model}\t{:.4}\t{:.4}\t{year}-{month:02}-{day:02}",
                latitude + dx,
                longitude + dy
            )
        });
    }
}

fn site_of(device: u32) -> usize {
    device as usize % SITES.len()
}

/// One device's habits.
struct Device {
    offset: f64,
    battery: f64,
    drain: f64,
    /// Minutes in which it says nothing.
    silent: Vec<std::ops::Range<u32>>,
    /// From this minute on it grows hot.
    fault_from: Option<u32>,
}

impl Device {
    fn new(random: &mut StdRng) -> Self {
        let silences = if random.random_bool(0.3) { random.random_range(1..=3) } else { 0 };
        let silence = |random: &mut StdRng| {
            let from = random.random_range(0..MINUTES);
            from..from + random.random_range(10..180)
        };
        Self {
            offset: normal(random) * 1.2,
            battery: random.random_range(40.0..100.0),
            drain: random.random_range(2.0..25.0) / f64::from(MINUTES),
            silent: (0..silences).map(|_| silence(random)).collect(),
            fault_from: random.random_bool(0.012).then(|| random.random_range(200..MINUTES)),
        }
    }
}

fn readings(rows: &mut Rows) {
    let devices: Vec<Device> = (0..DEVICES).map(|_| Device::new(&mut rows.random)).collect();
    // What arrives late, by the minute in which it arrives.
    let mut late: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for minute in 0..MINUTES {
        for (device, number) in devices.iter().zip(0..) {
            if device.silent.iter().any(|silence| silence.contains(&minute)) {
                continue;
            }
            let line = reading(&mut rows.random, device, number, minute);
            match rows.random.random_range(0..1000) {
                0..10 => late.entry(minute + rows.random.random_range(5..240)).or_default().push(line),
                10..15 => (0..2).for_each(|_| rows.row(|text| text.write_str(&line))),
                _ => rows.row(|text| text.write_str(&line)),
            }
        }
        for line in late.remove(&minute).unwrap_or_default() {
            rows.row(|text| text.write_str(&line));
        }
    }
    for line in late.into_values().flatten() {
        rows.row(|text| text.write_str(&line));
    }
}

fn reading(random: &mut StdRng, device: &Device, number: u32, minute: u32) -> String {
    let jitter = random.random_range(0..59_000);
    let day = f64::from(minute) / f64::from(MINUTES);
    let (_, _, longitude, base) = SITES[site_of(number)];
    // Warmest in the local afternoon.
    let sun = ((day + longitude / 360.0 - 0.6) * std::f64::consts::TAU).cos();
    let fault = device.fault_from.filter(|from| minute >= *from).map_or(0.0, |from| f64::from(minute - from) * 0.05);
    let temperature = base + 5.0 * sun + device.offset + 0.3 * normal(random) + fault.min(40.0);
    let humidity = (62.0 - 14.0 * sun + 2.0 * normal(random)).clamp(5.0, 100.0);
    let battery = (device.battery - device.drain * f64::from(minute)).max(0.0);
    let state = match () {
        () if fault > 15.0 => "fault",
        () if fault > 0.0 || battery < 20.0 => "warn",
        () => "ok",
    };
    let mut line = String::with_capacity(80);
    moment(&mut line, minute * 60_000 + jitter).expect("a String takes everything");
    let _ = write!(line, "\tdev-{number:04}\t{temperature:.2}\t");
    // The humidity sensor fails now and then.
    let _ = if random.random_bool(0.002) { line.write_str("\\N") } else { write!(line, "{humidity:.1}") };
    let _ = write!(line, "\t{battery:.1}\t{state}");
    line
}

/// Impressions and their clicks come from one sequence, so that each table can be made alone.
fn advertising(rows: &mut Rows, mut each: impl FnMut(&mut Rows, u32, u32, &'static str, Option<u32>)) {
    let mut random = StdRng::seed_from_u64(SEED + 1);
    for impression in 1..=IMPRESSIONS {
        let (campaign, rate) = *pick(&mut random, &CAMPAIGNS);
        let at = time_of_day(&mut random);
        let clicked = random.random_bool(rate).then(|| (at + random.random_range(500..60_000)).min(86_399_999));
        each(rows, impression, at, campaign, clicked);
    }
}

fn impressions(rows: &mut Rows) {
    advertising(rows, |rows, impression, at, campaign, _| {
        let country = *pick(&mut rows.random, &COUNTRIES);
        let cost = 0.002 + rows.random.random::<f64>() * 0.01;
        rows.row(|text| {
            write!(text, "{impression}\t")?;
            moment(text, at)?;
            write!(text, "\t{campaign}\t{country}\t{cost:.5}")
        });
    });
}

fn clicks(rows: &mut Rows) {
    let mut click = 0;
    advertising(rows, |rows, impression, _, _, clicked| {
        if let Some(at) = clicked {
            click += 1;
            rows.row(|text| {
                write!(text, "{click}\t{impression}\t")?;
                moment(text, at)
            });
        }
    });
}

fn customers(rows: &mut Rows) {
    for customer in 1..=CUSTOMERS {
        let (first, last) = (*pick(&mut rows.random, &FIRST_NAMES), *pick(&mut rows.random, &LAST_NAMES));
        let (country, plan) = (*pick(&mut rows.random, &COUNTRIES), *pick(&mut rows.random, &PLANS));
        let (year, month, day) =
            (rows.random.random_range(2021..=2025), rows.random.random_range(1..=12), rows.random.random_range(1..=28));
        rows.row(|text| {
            let email = format!("{}.{}.{customer}@example.com", first.to_lowercase(), last.to_lowercase());
            write!(text, "{customer}\t{first} {last}\t{email}\t{country}\t{plan}\t{year}-{month:02}-{day:02}")
        });
    }
}

fn events(rows: &mut Rows) {
    const CHANNELS: [&str; 4] = ["web", "app", "email", "partner"];
    const PAGES: [&str; 5] = ["/", "/pricing", "/docs", "/blog", "/account"];
    for _ in 0..EVENTS {
        let customer = rows.random.random_range(1..=CUSTOMERS);
        let (at, channel) = (time_of_day(&mut rows.random), *pick(&mut rows.random, &CHANNELS));
        let kind = rows.random.random_range(0..100);
        let page = *pick(&mut rows.random, &PAGES);
        let cents = rows.random.random_range(500..20_000);
        let items = rows.random.random_range(1..=5);
        rows.row(|text| {
            moment(text, at)?;
            write!(text, "\t{customer}\t")?;
            match kind {
                0..80 => write!(text, "page_view\t{{\"channel\": \"{channel}\", \"page\": \"{page}\"}}"),
                80..95 => write!(text, "add_to_cart\t{{\"channel\": \"{channel}\", \"items\": {items}}}"),
                _ => write!(
                    text,
                    "purchase\t{{\"channel\": \"{channel}\", \"amount\": {}.{:02}, \"items\": {items}}}",
                    cents / 100,
                    cents % 100
                ),
            }
        });
    }
}
