//! Options from text to configuration: precedence, units, limits that must fit together.

use super::*;

const MACHINE: u64 = 16 * GIB;

fn options(toml: &str) -> Options {
    Options::from_toml(toml).unwrap_or_else(|error| panic!("{toml}: {error}"))
}

#[test]
fn defaults_follow_the_machine() {
    let config = Options::default().resolve_on(MACHINE).unwrap();
    assert_eq!(config.data_dir, PathBuf::from("tidemill-data"));
    assert_eq!(config.pg_listen.to_string(), "127.0.0.1:5433");
    assert_eq!(config.http_listen.to_string(), "127.0.0.1:8433");
    assert!(config.fsync);
    assert!(config.memory_bytes > 7 * GIB && config.memory_bytes <= 8 * GIB, "{}", config.memory_bytes);
    assert!(config.cache_bytes > 3 * GIB && config.cache_bytes <= 4 * GIB, "{}", config.cache_bytes);
    assert!(config.query_memory_bytes < config.memory_bytes);
    // A tiny machine still starts.
    assert_eq!(Options::default().resolve_on(MIB).unwrap().memory_bytes, MEMORY_BYTES_MIN);
}

#[test]
fn earlier_options_win() {
    let flags = options("memory = \"1GB\"");
    let file = options("memory = \"2GB\"\nfsync = false\ndrain-timeout = \"5s\"\nmax-connections = 7");
    let config = flags.or(file).resolve_on(MACHINE).unwrap();
    assert_eq!(config.memory_bytes, GIB);
    assert!(!config.fsync);
    assert_eq!(config.drain_timeout, Duration::from_secs(5));
    assert_eq!(config.connections_max, 7);
}

#[test]
fn sizes() {
    for (text, bytes) in [
        ("0", 0),
        ("1048576", MIB),
        ("512MB", 512 * MIB),
        ("8 GB", 8 * GIB),
        ("1kB", 1024),
        ("2GiB", 2 * GIB),
        ("3m", 3 * MIB),
    ] {
        assert_eq!(text.parse::<ByteSize>().map(ByteSize::bytes), Ok(bytes), "{text}");
    }
    for text in ["", "MB", "-1MB", "1.5GB", "1XB", "99999999999TB"] {
        assert!(text.parse::<ByteSize>().is_err(), "{text}");
    }
    assert_eq!(ByteSize::new(512 * MIB).to_string(), "512MB");
    assert_eq!(ByteSize::new(1500).to_string(), "1500B");
    assert_eq!(ByteSize::new(0).to_string(), "0B");
}

#[test]
fn durations() {
    for (text, millis) in [("500ms", 500), ("30s", 30_000), ("5 min", 300_000), ("2h", 7_200_000), ("7d", 604_800_000)]
    {
        assert_eq!(text.parse::<Interval>().map(Interval::duration), Ok(Duration::from_millis(millis)), "{text}");
    }
    for text in ["30", "s", "1 fortnight"] {
        assert!(text.parse::<Interval>().is_err(), "{text}");
    }
    assert!(Options::from_toml("drain-timeout = 30").is_err(), "a bare number has no unit");
}

#[test]
fn mistakes_are_named() {
    for (toml, expected) in [
        ("memory = \"1MB\"", "--memory 1MB is too small"),
        ("memory = \"1GB\"\nquery-memory = \"2GB\"", "--query-memory 2GB"),
        ("max-connections = 0", "--max-connections"),
        ("tls-key = \"k.pem\"", "--tls-certificate and --tls-key"),
        ("wal-max = \"64MB\"", "--wal-max 64MB is too small"),
        ("pg-listen = \"127.0.0.1:8433\"", "cannot both be 127.0.0.1:8433"),
    ] {
        let error = options(toml).resolve_on(MACHINE).unwrap_err().to_string();
        assert!(error.contains(expected), "{toml}: {error}");
    }
    for (toml, expected) in
        [("nonsense = 1", "nonsense"), ("memory = \"lots\"", "lots"), ("fsync = \"maybe\"", "maybe")]
    {
        let error = Options::from_toml(toml).unwrap_err().to_string();
        assert!(error.contains(expected), "{toml}: {error}");
    }
}
