//! LISTEN, NOTIFY, UNLISTEN: noted in the transaction, done when it commits (`session/notifications.rs`).

use crate::Result;
use crate::session::Session;
use crate::session::notifications::{Listen, Notification};

pub(super) fn listen(session: &mut Session, channel: &str) -> Result<String> {
    session.handle.outbox.lock().listen(Listen::To(channel.to_owned()));
    Ok("LISTEN".into())
}

/// `None`: all channels.
pub(super) fn unlisten(session: &mut Session, channel: Option<&str>) -> Result<String> {
    let listen = channel.map_or(Listen::ToNone, |channel| Listen::NotTo(channel.to_owned()));
    session.handle.outbox.lock().listen(listen);
    Ok("UNLISTEN".into())
}

pub(super) fn notify(session: &mut Session, channel: &str, payload: &str) -> Result<String> {
    session.handle.outbox.lock().notify(Notification::new(channel, payload)?)?;
    Ok("NOTIFY".into())
}
