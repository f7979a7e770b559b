//! The server binary: flags to configuration, then run. Exit codes: 0 stopped as asked, 1 failed, 2 wrong usage,
//! 3 the log failed and nothing more can be acknowledged (restart it: recovery keeps all that was).

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};
use futures::FutureExt;
use tidemill::background::{self, Haste, Supervisor};
use tidemill::config::{self, Config, Options};
use tidemill::instance::{Instance, Threads};
use tidemill::server::Server;
use tidemill::{demo, telemetry};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// mi_option_purge_delay of mimalloc 3, which has no name in the crate.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
/// Freed memory goes back to the system after half a minute, not after ten milliseconds: the next query, flush or compaction asks for
/// as much, and the system clears every page that it gives. On virtual machines a fresh page costs several microseconds, and all
/// threads wait for it.
const PURGE_DELAY_MS: std::ffi::c_long = 30_000;

/// An analytical database server: Postgres on the wire, DataFusion inside, Delta Lake on disk.
#[derive(Debug, Parser)]
#[command(version, about, infer_long_args = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    /// Configuration file (TOML, same names as the flags without dashes in front)
    #[arg(long, value_name = "FILE", env = "TIDEMILL_CONFIG", global = true)]
    config: Option<PathBuf>,
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the server; the default
    Serve,
    /// Runs the server with example data, or your own files, and prints queries to try
    Demo {
        /// Load these files (CSV, NDJSON, Parquet) instead of the example data; each becomes a table of its name
        #[arg(long, value_name = "FILE", num_args = 1..)]
        load: Vec<PathBuf>,
    },
}

/// The log failed; see the module doc.
const EXIT_POISONED: u8 = 3;

fn main() -> ExitCode {
    if std::env::var_os("MIMALLOC_PURGE_DELAY").is_none() {
        #[expect(unsafe_code, reason = "not thread safe, and no other thread is there yet")]
        // SAFETY: it sets a number.
        unsafe {
            libmimalloc_sys::mi_option_set(PURGE_DELAY, PURGE_DELAY_MS);
        }
    }
    let cli = Cli::parse();
    let options = match cli.config.as_deref().map(Options::from_file).transpose() {
        Ok(file) => cli.options.or(file.unwrap_or_default()),
        Err(error) => return usage(&error),
    };
    if let Err(error) = telemetry::start_logging(options.log.as_deref(), options.log_format.unwrap_or_default()) {
        return usage(&error);
    }
    let config = match options.resolve() {
        Ok(config) => config,
        Err(error) => return usage(&error),
    };
    match run(config, cli.command.unwrap_or(Command::Serve)) {
        Ok(code) => code,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

/// Makes the threads, and runs the server on them to its end.
fn run(config: Config, command: Command) -> anyhow::Result<ExitCode> {
    let runtime = threads(&config, "tidemill", Haste::Foreground)?;
    let queries = threads(&config, "query", Haste::Foreground)?;
    let ingestion = threads(&config, "ingest", Haste::Ingestion)?;
    let computing = Threads { queries: queries.handle().clone(), ingestion: ingestion.handle().clone() };
    let instance = Instance::open(config, computing)?;
    let code = runtime.block_on(serve(instance, command));
    // Work that outlives the drain (a client's long sort) must not hold the exit.
    queries.shutdown_background();
    ingestion.shutdown_background();
    runtime.shutdown_background();
    code
}

fn threads(config: &Config, name: &str, haste: Haste) -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .worker_threads(config.worker_threads())
        .thread_stack_size(config::THREAD_STACK_BYTES)
        .thread_name(name)
        .on_thread_start(move || background::give_way(haste))
        .build()
}

/// Serves until a signal, a failed log or a failed demo ends it; then finishes in order: no new clients, running
/// statements, hot rows to files, checkpoint.
async fn serve(instance: Arc<Instance>, command: Command) -> anyhow::Result<ExitCode> {
    let server = Server::bind(Arc::clone(&instance))?;
    let pg = server.pg_address()?;
    greet(&instance.config, pg, server.http_address()?);

    let clock = Arc::clone(&instance);
    let jobs = Supervisor::start(Arc::new(move || clock.clock.now()), background::all(&instance));
    background::spawn("signals", signals(Arc::clone(&instance)));
    let demo = background::spawn("demo", demo(Arc::clone(&instance), pg, command));

    let served = server.serve().await;
    instance.shutdown.cancel();
    if let Some(reason) = instance.store.poisoned().now_or_never() {
        // Not drained: nothing that is not on disk by now can be trusted to get there.
        tracing::error!(reason, "the write-ahead log failed: restart the server to recover");
        return Ok(ExitCode::from(EXIT_POISONED));
    }
    jobs.stop().await;
    let store = Arc::clone(&instance);
    // Without it sequences skip some numbers: no reason to fail where all else is done.
    if let Err(error) = tokio::task::spawn_blocking(move || store.store.settle_sequences()).await? {
        tracing::warn!(%error, "the log was not told where sequences stand");
    }
    served?;
    demo.await??;
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// Loads what `tidemill demo` asks for, through the port like any client. If that fails, the server stops.
async fn demo(instance: Arc<Instance>, pg: SocketAddr, command: Command) -> anyhow::Result<()> {
    let Command::Demo { load } = command else { return Ok(()) };
    let shutdown = instance.shutdown.clone();
    let result = tokio::select! {
        result = demo::run(pg, &load) => result,
        () = shutdown.cancelled() => Ok(()),
    };
    if result.is_err() {
        shutdown.cancel();
    }
    result
}

#[expect(clippy::print_stdout, reason = "this is the command line's output")]
fn greet(config: &Config, pg: SocketAddr, http: SocketAddr) {
    let host = if pg.ip().is_unspecified() { "localhost".to_owned() } else { pg.ip().to_string() };
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    println!(
        "Tidemill {version} listens on {pg}, HTTP on {http}, data in {dir}\n  psql postgres://tidemill@{host}:{port}",
        version = env!("CARGO_PKG_VERSION"),
        dir = config.data_dir.display(),
        port = pg.port()
    );
}

/// The first signal stops the server in good order, the second at once.
async fn signals(instance: Arc<Instance>) {
    let mut signals = Signals::new();
    let signal = signals.next().await;
    tracing::info!(signal, "stopping");
    instance.shutdown.cancel();
    let signal = signals.next().await;
    tracing::warn!(signal, "stopping at once; committed rows are in the log");
    std::process::exit(130);
}

/// Requests to stop. Made once: a signal that comes between two waits is not lost.
struct Signals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> Self {
        use tokio::signal::unix::{SignalKind, signal};
        Self {
            terminate: signal(SignalKind::terminate()).expect("SIGTERM can be handled"),
            interrupt: signal(SignalKind::interrupt()).expect("SIGINT can be handled"),
        }
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

#[cfg(not(unix))]
impl Signals {
    fn new() -> Self {
        Self {}
    }

    async fn next(&mut self) -> &'static str {
        let _ = tokio::signal::ctrl_c().await;
        "Ctrl-C"
    }
}

fn usage(error: &config::ConfigError) -> ExitCode {
    complain(&anyhow::Error::new(error.clone()));
    ExitCode::from(2)
}

/// Says what went wrong, with the detail and the hint where there is one.
#[expect(clippy::print_stderr, reason = "this is the command line's output")]
fn complain(error: &anyhow::Error) {
    eprintln!("tidemill: {error:#}");
    if let Some(report) = error.downcast_ref::<tidemill::Error>().map(tidemill::Error::report) {
        let mark = |label: &str, text: &Option<String>| text.iter().for_each(|text| eprintln!("{label}: {text}"));
        mark("  detail", &report.detail);
        mark("  hint", &report.hint);
    }
}
