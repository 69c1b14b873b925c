//! Which folder is the workspace.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::check::{KeyPath, kind_of, listed, nearest};
use super::{Loader, expand, source};

impl Loader<'_> {
    /// `--workspace`, `--agent`, `$OPENCLAW_WORKSPACE_DIR`, `agents.defaults.workspace`, `<state>/workspace`.
    pub(super) fn workspace(&self) -> Option<PathBuf> {
        let invocation = self.invocation;
        let nowhere = KeyPath::default();
        if let (Some(agent), Some(_)) = (&invocation.agent, &invocation.workspace) {
            self.findings.problem(
                &nowhere,
                format!(
                    "`--agent {}` and `--workspace` both choose a workspace; allowed: one of them",
                    agent.escape_debug()
                ),
            );
            return None;
        }
        if let Some(path) = &invocation.workspace {
            return Some(source::clean(&invocation.working_dir.join(path)));
        }
        if let Some(agent) = &invocation.agent {
            return self.agent_workspace(agent);
        }
        match invocation.environment_path("OPENCLAW_WORKSPACE_DIR") {
            Ok(Some(path)) => return Some(path),
            Ok(None) => {}
            Err(failure) => {
                self.findings.problem(&nowhere, failure.message);
                return None;
            }
        }
        let key = KeyPath::default()
            .key("agents")
            .key("defaults")
            .key("workspace");
        let value = self
            .openclaw
            .root
            .get("agents")
            .and_then(|agents| agents.get("defaults"))
            .and_then(|defaults| defaults.get("workspace"));
        match value {
            Some(value) => self.openclaw_path(&key, value),
            None => Some(self.state_dir.join("workspace")),
        }
    }

    fn agent_workspace(&self, agent: &str) -> Option<PathBuf> {
        let nowhere = KeyPath::default();
        let plain = !agent.starts_with('.')
            && !agent.is_empty()
            && agent
                .chars()
                .all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.'));
        if !plain {
            self.findings.problem(
                &nowhere,
                format!(
                    "`--agent {}` is no agent's id; allowed: letters, digits, `_`, `-` and `.`",
                    agent.escape_debug()
                ),
            );
            return None;
        }
        let key = KeyPath::default().key("agents").key("list");
        let agents = self.agents(&key)?;
        let ids = || agents.iter().filter_map(|agent| agent.get("id")?.as_str());
        let own = self.state_dir.join("agents").join(agent).join("workspace");
        // OpenClaw compares ids without case.
        let Some(index) = agents.iter().position(|entry| {
            entry["id"]
                .as_str()
                .is_some_and(|id| id.eq_ignore_ascii_case(agent))
        }) else {
            if !agents.is_empty() && !source::exists(&own) {
                let near = nearest(agent, ids())
                    .map_or(String::new(), |near| format!("; did you mean `{near}`?"));
                self.findings.problem(
                    &nowhere,
                    format!(
                        "`--agent {agent}`: there is no such agent in `agents.list` of `{}` and no folder `{}`; \
                         allowed: {}{near}",
                        self.openclaw.path.display(),
                        own.display(),
                        listed(ids())
                    ),
                );
                return None;
            }
            return Some(own);
        };
        match agents[index].get("workspace") {
            Some(value) => self.openclaw_path(&key.index(index).key("workspace"), value),
            None => Some(own),
        }
    }

    /// `agents.list` of openclaw.json.
    fn agents(&self, key: &KeyPath) -> Option<&[Value]> {
        let list = self
            .openclaw
            .root
            .get("agents")
            .and_then(|agents| agents.get("list"));
        match list {
            None => Some(&[]),
            Some(Value::Array(agents)) => Some(agents),
            Some(other) => {
                self.findings.problem_in(
                    &self.openclaw.path,
                    key,
                    format!("found {}; allowed: a list of agents", kind_of(other)),
                );
                None
            }
        }
    }

    /// A path in openclaw.json: `~` and variables are filled in, and it must be absolute, since only the gateway knows
    /// what its working directory is.
    fn openclaw_path(&self, key: &KeyPath, value: &Value) -> Option<PathBuf> {
        let allowed = "an absolute path, or one that begins with `~/`";
        let problem = |message: String| {
            self.findings.problem_in(
                &self.openclaw.path,
                key,
                format!("{message}; allowed: {allowed}"),
            );
            None
        };
        let Value::String(text) = value else {
            return problem(format!("found {}", kind_of(value)));
        };
        let text = match self.variables.expand(text) {
            Ok(text) => text,
            Err(message) => {
                self.findings.problem_in(&self.openclaw.path, key, message);
                return None;
            }
        };
        let home = self.invocation.environment.home();
        match expand::place(&text, Path::new(""), home.as_deref()) {
            Ok(path) if path.is_absolute() => Some(source::clean(&path)),
            Ok(_) => problem("is no absolute path".to_owned()),
            Err(message) => problem(message),
        }
    }
}
