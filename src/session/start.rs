//! How a session begins: who it is, what settings it starts with.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use parking_lot::Mutex;
use tidemill_catalog::Oid;
use tidemill_catalog::acl::Privileges;
use tidemill_catalog::record::{Body, Object};
use tidemill_catalog::snapshot::{Catalog, NameClass, Snapshot};

use super::notifications::Post;
use super::settings::Settings;
use super::{Login, Session, shape};
use crate::error::SqlState;
use crate::instance::{Instance, SessionHandle};
use crate::plan::{Planner, TEMP_SCHEMA, rights};
use crate::{Error, Result};

impl Session {
    /// Begins a session for an authenticated client: 3D000 for an unknown database, 28000 for an unknown role.
    pub fn start(instance: Arc<Instance>, handle: Arc<SessionHandle>, login: Login) -> Result<Self> {
        let snapshot = instance.store.snapshot();
        let role = snapshot.catalog.find(0, NameClass::Role, &login.user).cloned().ok_or_else(|| {
            Error::new(SqlState::INVALID_AUTHORIZATION_SPECIFICATION, format!("role \"{}\" does not exist", login.user))
                .fatal()
        })?;
        let database = snapshot.catalog.find(0, NameClass::Database, &login.database).cloned().ok_or_else(|| {
            Error::new(SqlState::INVALID_CATALOG_NAME, format!("database \"{}\" does not exist", login.database))
                .fatal()
        })?;
        if !rights::may(&snapshot.catalog, role.oid, &database, Privileges::CONNECT) {
            let message = format!("permission denied for database \"{}\"", database.name);
            let refused = Error::new(SqlState::INSUFFICIENT_PRIVILEGE, message);
            return Err(refused.detail("User does not have CONNECT privilege.").fatal());
        }
        let settings = initial_settings(&instance, &snapshot.catalog, &role, &login).map_err(Error::fatal)?;
        let planner = Arc::new(Planner::new(&instance));
        let temp = temporary_schema(handle.pid, &role, database.oid);
        {
            let mut activity = handle.activity.lock();
            activity.user.clone_from(&login.user);
            activity.database = (login.database.clone(), database.oid);
            activity.application = settings.get("application_name").unwrap_or_default();
        }
        let post = Post::new(&instance.notifications, handle.pid);
        Ok(Self {
            post,
            instance,
            handle,
            database: database.oid,
            login_role: role.oid,
            settings: Arc::new(Mutex::new(settings)),
            sequences: Arc::default(),
            planner,
            temp,
            temp_oid: AtomicU32::new(TEMP_SCHEMA + 1),
            transaction: None,
            statements: HashMap::new(),
            shapes: shape::Shapes::default(),
            cursors: HashMap::new(),
            on_commit: HashMap::new(),
            notices: vec![],
            reported: HashMap::new(),
            reported_generation: None,
            text: None,
            hold: None,
            simple_left: 0,
            alone: false,
            sync_follows: false,
            resumed: Arc::default(),
        })
    }

    /// A session of the server itself, with a role's rights: no client, and no place among the connections.
    ///
    /// # Errors
    /// 3D000, 28000 if the database or the role is gone.
    pub(crate) fn internal(instance: &Arc<Instance>, database: Oid, role: Oid) -> Result<Self> {
        let snapshot = instance.store.snapshot();
        let name = |oid| snapshot.catalog.get(oid).map_or_else(String::new, |object| object.name.clone());
        let login = Login {
            user: name(role),
            database: name(database),
            parameters: vec![("application_name".to_owned(), "tidemill".to_owned())],
        };
        let handle = SessionHandle::internal(instance.clock.now());
        Self::start(Arc::clone(instance), handle, login)
    }
}

fn initial_settings(instance: &Instance, catalog: &Catalog, role: &Object, login: &Login) -> Result<Settings> {
    let mut settings = Settings::default();
    settings.set_fact("max_connections", instance.config.connections_max.to_string());
    settings.set_fact("session_authorization", login.user.clone());
    if let Body::Role(def) = &role.body {
        settings.set_fact("is_superuser", if def.superuser { "on" } else { "off" });
        for (name, value) in &def.settings {
            rights::check_identity(catalog, name, value, role.oid, role.oid)?;
            settings.set_default(name, value)?;
        }
    }
    for (name, value) in &login.parameters {
        rights::check_identity(catalog, name, value, role.oid, role.oid)?;
        settings.set_default(name, value)?;
    }
    Ok(settings)
}

/// A snapshot with nothing but a session's temporary schema and its owner.
fn temporary_schema(pid: i32, owner: &Arc<Object>, database: Oid) -> Arc<Snapshot> {
    let schema = Object {
        oid: TEMP_SCHEMA,
        parent: database,
        name: format!("pg_temp_{pid}"),
        owner: owner.oid,
        version: 1,
        comment: None,
        acl: vec![],
        depends_on: vec![],
        body: Body::Schema {},
    };
    let mut snapshot = Snapshot::default();
    let catalog = Arc::make_mut(&mut snapshot.catalog);
    catalog.names.insert((database, NameClass::Schema, schema.name.clone()), schema.oid);
    catalog.objects.insert(schema.oid, Arc::new(schema));
    // Temporary objects belong to the role that logged in; an owner must be in the same catalog.
    catalog.objects.insert(owner.oid, Arc::clone(owner));
    Arc::new(snapshot)
}
