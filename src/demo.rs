//! `tidemill demo`: example data through the front door.

use std::net::SocketAddr;
use std::path::PathBuf;

/// x
pub async fn run(_: SocketAddr, _: &[PathBuf]) -> anyhow::Result<()> {
    Ok(())
}
