//! What the machine has: memory, as far as this process may use it.

/// Assumed where the system does not tell: small enough for any machine that can build this.
const MEMORY_BYTES_UNKNOWN: u64 = 4 << 30;

/// Bytes of memory this process may use: the machine's, or less where a control group (a container) says so.
pub(super) fn memory_bytes() -> u64 {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let total = read("/proc/meminfo").and_then(|text| meminfo_total(&text)).unwrap_or(MEMORY_BYTES_UNKNOWN);
    ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]
        .into_iter()
        .filter_map(|path| read(path)?.trim().parse().ok())
        .fold(total, u64::min)
}

/// `MemTotal` of /proc/meminfo, bytes.
fn meminfo_total(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::meminfo_total;

    #[test]
    fn reads_meminfo() {
        assert_eq!(meminfo_total("MemFree: 1 kB\nMemTotal:       24614276 kB\n"), Some(24_614_276 * 1024));
        assert_eq!(meminfo_total("MemTotal: many\n"), None);
        assert_eq!(meminfo_total(""), None);
    }
}
