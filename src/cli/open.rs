//! From what was typed to an opened configuration.

use std::path::Path;

use ows::config::{self, Config, Environment, Invocation};
use ows::error::{Failure, Outcome};
use ows::sync::PairSettings;
use ows_providers::RelPath;

use super::args::Global;
use super::output::{Answer, Output};

/// Reads the configuration and says its warnings, which belong into the JSON of every command too.
pub fn config(global: &Global, output: &Output, answer: &mut Answer) -> Outcome<Config> {
    warned(config::load(&invocation(global)?)?, output, answer)
}

/// The same for a command that needs a pair to be configured.
pub fn config_to_sync(global: &Global, output: &Output, answer: &mut Answer) -> Outcome<Config> {
    warned(config::load_to_sync(&invocation(global)?)?, output, answer)
}

fn warned(config: Config, output: &Output, answer: &mut Answer) -> Outcome<Config> {
    for warning in config.all_warnings() {
        output.warning(warning);
        answer.report.warnings.push(warning.clone());
    }
    Ok(config)
}

/// What was typed and the surroundings that it was typed in.
pub fn invocation(global: &Global) -> Outcome<Invocation> {
    let working_dir = std::env::current_dir().map_err(|error| {
        Failure::failed("the working folder cannot be told, it may have been removed")
            .with_source(error)
            .with_hint("change to a folder that exists and run again")
    })?;
    Ok(Invocation {
        config: global.config.clone(),
        state_dir: global.state_dir.clone(),
        workspace: global.workspace.clone(),
        agent: global.agent.clone(),
        environment: Environment::from_process(),
        working_dir,
    })
}

/// The pair that the configuration describes, to look at or to handle its trash: no mode is needed for that.
pub fn pair(config: &Config) -> Outcome<PairSettings> {
    ows::sync::connect::modeless_settings(config)
}

/// The path below the pair's root. Whoever works in the workspace may give the whole path of the file.
pub fn below(settings: &PairSettings, text: &str) -> Outcome<RelPath> {
    let given = Path::new(text)
        .strip_prefix(&settings.local_path)
        .ok()
        .and_then(Path::to_str)
        .unwrap_or(text);
    let trimmed = given.trim_end_matches('/');
    RelPath::new(trimmed.strip_prefix("./").unwrap_or(trimmed)).map_err(|error| {
        Failure::usage("the path does not name anything in the pair")
            .with_path(text)
            .with_source(error)
            .with_hint("give it below the root of the pair, as `ows list` shows it, such as `notes/plan.md`")
    })
}
