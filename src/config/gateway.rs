//! What openclaw.json says about the gateway that is told of new files.

use secrecy::SecretString;
use serde_json::{Map, Value};

use super::expand::Variables;

/// The OpenClaw gateway on this machine.
#[derive(Debug, Clone)]
pub struct Gateway {
    /// `gateway.port`
    pub port: u16,
    /// `hooks.enabled`
    pub hooks_enabled: bool,
    /// `hooks.path`, beginning with `/` and without one at the end.
    pub hooks_path: String,
    /// `hooks.token`
    pub hooks_token: Option<SecretString>,
    /// What in openclaw.json could not be understood, each with its key. It matters only to whom notifies through the
    /// gateway, so it is not an error of the configuration.
    pub problems: Vec<String>,
}

impl Default for Gateway {
    fn default() -> Self {
        Self {
            port: 18_789,
            hooks_enabled: false,
            hooks_path: "/hooks".to_owned(),
            hooks_token: None,
            problems: Vec::new(),
        }
    }
}

impl Gateway {
    pub(super) fn read(root: &Map<String, Value>, variables: &Variables<'_>) -> Self {
        let mut gateway = Self::default();
        let value = |outer: &str, inner: &str| root.get(outer).and_then(|outer| outer.get(inner));
        let mut problems = Vec::new();
        let mut text = |outer: &str, inner: &str| match value(outer, inner)? {
            Value::String(text) => match variables.expand(text) {
                Ok(text) if text.is_empty() => None,
                Ok(text) => Some(text),
                Err(message) => {
                    problems.push(format!("`{outer}.{inner}`: {message}"));
                    None
                }
            },
            _ => {
                problems.push(format!("`{outer}.{inner}`: is no text"));
                None
            }
        };
        if let Some(path) = text("hooks", "path") {
            gateway.hooks_path = format!("/{}", path.trim_matches('/'));
        }
        gateway.hooks_token = text("hooks", "token").map(SecretString::from);
        match value("gateway", "port") {
            None => {}
            Some(port) => match port.as_u64().and_then(|port| u16::try_from(port).ok()) {
                Some(port) if port > 0 => gateway.port = port,
                _ => problems.push("`gateway.port`: is no port from 1 to 65535".to_owned()),
            },
        }
        match value("hooks", "enabled") {
            None => {}
            Some(Value::Bool(enabled)) => gateway.hooks_enabled = *enabled,
            Some(_) => problems.push("`hooks.enabled`: is neither `true` nor `false`".to_owned()),
        }
        gateway.problems = problems;
        gateway
    }
}
