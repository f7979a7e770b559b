//! What acts: cancelling and ending sessions, sleeping, advisory locks.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tidemill_catalog::Oid;

use super::{Call, Function, function};
use crate::error::{Error, Result, SqlState};
use crate::instance::SessionHandle;
use crate::plan::Scope;
use crate::plan::system::batch::Value;
use crate::plan::system::{objects, privileges};

pub(super) const FUNCTIONS: &[Function] = &[
    function("pg_sleep", 1, 1, "void", |call| sleep(call.scope, call.float(0).unwrap_or_default())).volatile(),
    function("pg_cancel_backend", 1, 1, "bool", cancel_backend).volatile(),
    function("pg_terminate_backend", 1, 2, "bool", terminate_backend).volatile(),
    function("pg_reload_conf", 0, 0, "bool", |_| Ok(false.into())).volatile(),
    function("pg_stat_reset", 0, 0, "void", |_| Ok("".into())).volatile(),
    function("pg_stat_clear_snapshot", 0, 0, "void", |_| Ok("".into())).volatile(),
    function("pg_advisory_lock", 1, 2, "void", |call| lock(call, Until::SessionEnd)).volatile(),
    function("pg_advisory_xact_lock", 1, 2, "void", |call| lock(call, Until::TransactionEnd)).volatile(),
    function("pg_try_advisory_lock", 1, 2, "bool", |call| Ok(try_lock(call, Until::SessionEnd).into())).volatile(),
    function("pg_try_advisory_xact_lock", 1, 2, "bool", |call| Ok(try_lock(call, Until::TransactionEnd).into()))
        .volatile(),
    function("pg_advisory_unlock", 1, 2, "bool", unlock).volatile(),
    function("pg_advisory_unlock_all", 0, 0, "void", unlock_all).volatile(),
];

/// Between two looks at whether a waiting statement was cancelled.
const SLICE: Duration = Duration::from_millis(10);

/// Does what blocks, without keeping other work off the thread.
pub(super) fn blocking<T>(work: impl FnOnce() -> T) -> T {
    let flavor = tokio::runtime::Handle::try_current().map(|handle| handle.runtime_flavor());
    if matches!(flavor, Ok(tokio::runtime::RuntimeFlavor::MultiThread)) {
        return tokio::task::block_in_place(work);
    }
    work()
}

/// Waits until `done` or until the statement is cancelled (57014), without keeping other work off the thread.
fn wait_until(scope: &Scope, mut done: impl FnMut() -> bool) -> Result<()> {
    blocking(|| {
        while !done() {
            if scope.cancel.is_cancelled() {
                return Err(Error::new(SqlState::QUERY_CANCELED, "canceling statement due to user request"));
            }
            std::thread::sleep(SLICE);
        }
        Ok(())
    })
}

fn sleep(scope: &Scope, seconds: f64) -> Result<Value<'static>> {
    // Far more than anybody waits, and far less than overflows.
    #[expect(clippy::cast_possible_truncation, reason = "clamped")]
    let micros = (seconds.clamp(0.0, 1e9) * 1e6) as i64;
    let clock = &scope.instance.clock;
    let end = clock.now().saturating_add(micros);
    wait_until(scope, || {
        let left = end.saturating_sub(clock.now());
        // The last slice may be shorter.
        if (1..10_000).contains(&left) {
            std::thread::sleep(Duration::from_micros(left.unsigned_abs()));
        }
        clock.now() >= end
    })?;
    Ok("".into())
}

/// The session to act on: `None` if there is none, an error if the role may not.
fn target(call: &Call<'_>, act: &str) -> Result<Option<Arc<SessionHandle>>> {
    let pid = call.int(0).and_then(|pid| i32::try_from(pid).ok()).unwrap_or_default();
    let Some(handle) = call.scope.instance.sessions.lock().get(&pid).map(Arc::clone) else { return Ok(None) };
    let user = handle.activity.lock().user.clone();
    let owner = objects::role_named(call.scope, &user).map(|role| role.oid);
    let is_superuser = |role| privileges::is_superuser(call.scope, role);
    let role = call.scope.role;
    if is_superuser(role) {
        return Ok(Some(handle));
    }
    let denied = |message: String| Error::new(SqlState::INSUFFICIENT_PRIVILEGE, message);
    if owner.is_some_and(is_superuser) {
        return Err(denied(format!("must be a superuser to {act}")));
    }
    if owner.is_some_and(|owner| crate::plan::rights::has_privileges_of(&call.scope.snapshot.catalog, role, owner)) {
        return Ok(Some(handle));
    }
    let what = if act.starts_with("cancel") { "query is being canceled" } else { "process is being terminated" };
    Err(denied(format!("must be a member of the role whose {what} or member of pg_signal_backend")))
}

fn cancel_backend(call: &Call<'_>) -> Result<Value<'static>> {
    let Some(handle) = target(call, "cancel superuser query")? else { return Ok(false.into()) };
    if let Some(cancel) = &handle.activity.lock().cancel {
        cancel.cancel();
    }
    Ok(true.into())
}

fn terminate_backend(call: &Call<'_>) -> Result<Value<'static>> {
    let Some(handle) = target(call, "terminate superuser process")? else { return Ok(false.into()) };
    handle.terminate.cancel();
    let timeout = call.int(1).unwrap_or(0);
    if timeout > 0 {
        let end = call.scope.instance.clock.now().saturating_add(timeout.saturating_mul(1000));
        let gone = || !call.scope.instance.sessions.lock().contains_key(&handle.pid);
        wait_until(call.scope, || gone() || call.scope.instance.clock.now() >= end)?;
        return Ok(gone().into());
    }
    Ok(true.into())
}

/// How long an advisory lock is held at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Until {
    SessionEnd,
    TransactionEnd,
}

/// Who holds an advisory lock, how often, and since which transaction if only for that one.
#[derive(Debug)]
struct Held {
    holder: Weak<SessionHandle>,
    session_count: u32,
    transaction: Option<i64>,
}

impl Held {
    /// The holder, if the lock still counts: its session lives, and for a transaction's lock, so does that.
    fn holder(&self) -> Option<Arc<SessionHandle>> {
        let holder = self.holder.upgrade()?;
        let in_transaction =
            self.transaction.is_some() && holder.activity.lock().transaction_started_at == self.transaction;
        (self.session_count > 0 || in_transaction).then_some(holder)
    }
}

/// A lock's name: the database, and one 64-bit key or two 32-bit keys, which are different spaces.
type Key = (Oid, bool, i64);

/// Advisory locks now held, in the whole process: a holder's end frees its locks, because its handle is gone.
static LOCKS: LazyLock<Mutex<HashMap<Key, Held>>> = LazyLock::new(Mutex::default);

/// An advisory lock as pg_locks shows it.
pub(crate) struct AdvisoryLock {
    pub(crate) pid: i32,
    pub(crate) database: Oid,
    /// The key's upper half, or the first of two keys.
    pub(crate) class: u32,
    /// The key's lower half, or the second of two keys.
    pub(crate) object: u32,
    /// 1: one key; 2: two.
    pub(crate) keys: i32,
}

/// The advisory locks now held.
pub(crate) fn advisory_locks() -> Vec<AdvisoryLock> {
    let half = |bits: i64| u32::try_from(bits & 0xFFFF_FFFF).unwrap_or_default();
    let locks = LOCKS.lock();
    let held = locks.iter().filter_map(|(key, held)| held.holder().map(|holder| (key, holder.pid)));
    held.map(|(&(database, two, key), pid)| AdvisoryLock {
        pid,
        database,
        class: half(key >> 32),
        object: half(key),
        keys: if two { 2 } else { 1 },
    })
    .collect()
}

fn key(call: &Call<'_>) -> Key {
    let first = call.int(0).unwrap_or_default();
    match call.int(1) {
        Some(second) => (call.scope.database, true, (first << 32) | (second & 0xFFFF_FFFF)),
        None => (call.scope.database, false, first),
    }
}

fn try_lock(call: &Call<'_>, until: Until) -> bool {
    let me = &call.scope.handle;
    let transaction = me.activity.lock().transaction_started_at;
    let mut locks = LOCKS.lock();
    locks.retain(|_, held| held.holder().is_some());
    let held = locks.entry(key(call)).or_insert_with(|| Held {
        holder: Arc::downgrade(me),
        session_count: 0,
        transaction: None,
    });
    if !std::ptr::eq(held.holder.as_ptr(), Arc::as_ptr(me)) {
        return false;
    }
    match until {
        Until::SessionEnd => held.session_count += 1,
        Until::TransactionEnd => held.transaction = transaction,
    }
    true
}

fn lock(call: &Call<'_>, until: Until) -> Result<Value<'static>> {
    wait_until(call.scope, || try_lock(call, until))?;
    Ok("".into())
}

fn unlock(call: &Call<'_>) -> Result<Value<'static>> {
    let mut locks = LOCKS.lock();
    let held = locks.get_mut(&key(call));
    let mine = held.filter(|held| std::ptr::eq(held.holder.as_ptr(), Arc::as_ptr(&call.scope.handle)));
    let Some(held) = mine.filter(|held| held.session_count > 0) else { return Ok(false.into()) };
    held.session_count -= 1;
    Ok(true.into())
}

fn unlock_all(call: &Call<'_>) -> Result<Value<'static>> {
    let me = Arc::as_ptr(&call.scope.handle);
    for held in LOCKS.lock().values_mut().filter(|held| std::ptr::eq(held.holder.as_ptr(), me)) {
        held.session_count = 0;
    }
    Ok("".into())
}
