//! The settings of a session: GUCs, their defaults, units and transaction-local values.

use crate::Result;

/// A session's settings.
#[derive(Debug, Clone, Default)]
pub struct Settings {}

/// One setting as SHOW ALL and pg_settings tell it.
#[derive(Debug, Clone)]
pub struct SettingInfo {
    /// Its name, as spelled in the documentation.
    pub name: &'static str,
    /// Its value now, as SHOW prints it.
    pub value: String,
    /// pg_settings.unit
    pub unit: Option<&'static str>,
    /// pg_settings.vartype: bool, integer, real, string, enum
    pub kind: &'static str,
    /// Value after RESET.
    pub default: String,
    /// One sentence.
    pub description: &'static str,
    /// pg_settings.context: user, superuser, postmaster, internal
    pub context: &'static str,
    /// pg_settings.source: default, session, client
    pub source: &'static str,
}

impl Settings {
    /// The value as SHOW prints it; names are case-insensitive; `None`: no such setting.
    pub fn get(&self, name: &str) -> Option<String> {
        let _ = name;
        todo!()
    }

    /// Sets a value; `local`: until the transaction ends.
    ///
    /// # Errors
    /// 42704 unknown name, 22023 bad value, 55P02 cannot be changed now, 42501 superusers only.
    pub fn set(&mut self, name: &str, value: &str, local: bool) -> Result<()> {
        let _ = (name, value, local);
        todo!()
    }

    /// All of them, by name.
    pub fn all(&self) -> Vec<SettingInfo> {
        todo!()
    }
}
