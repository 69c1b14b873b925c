//! The configuration from outside: files in a state directory, an environment, and what comes out.

mod features;
mod import;
mod keys;
mod mistakes;
mod places;
mod providers;
mod secrets;

use std::path::{Path, PathBuf};

use super::{Config, Environment, Invocation, Problems, load, load_serving};
use crate::error::{Failure, FailureKind};

/// A home directory with a state directory in it, an environment and options.
struct World {
    folder: tempfile::TempDir,
    environment: Vec<(String, String)>,
    invocation: Invocation,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join(".openclaw/ows")).unwrap();
        let environment = vec![(
            "HOME".to_owned(),
            folder.path().to_str().unwrap().to_owned(),
        )];
        let invocation = Invocation::new(Environment::default(), folder.path());
        Self {
            folder,
            environment,
            invocation,
        }
    }

    /// A world whose own configuration file holds this text.
    fn with(text: &str) -> Self {
        let world = Self::new();
        world.write(".openclaw/ows/config.json5", text);
        world
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn set(&mut self, name: &str, value: impl AsRef<Path>) -> &mut Self {
        let value = value.as_ref().to_str().unwrap().to_owned();
        self.environment.push((name.to_owned(), value));
        self
    }

    fn invocation(&self) -> Invocation {
        Invocation {
            environment: Environment::from_pairs(self.environment.iter().cloned()),
            ..self.invocation.clone()
        }
    }

    fn load(&self) -> Result<Config, Failure> {
        load(&self.invocation())
    }

    fn config(&self) -> Config {
        self.load()
            .unwrap_or_else(|failure| panic!("{}", told(&failure)))
    }

    /// As [`World::config`], with everything served.
    fn whole(&self) -> Config {
        load_serving(&self.invocation(), &[]).unwrap_or_else(|failure| panic!("{}", told(&failure)))
    }

    /// The mistakes, with the world's folder as `~`.
    fn mistakes(&self) -> Vec<String> {
        self.listed(self.load().unwrap_err())
    }

    fn whole_mistakes(&self) -> Vec<String> {
        self.listed(load_serving(&self.invocation(), &[]).unwrap_err())
    }

    fn listed(&self, failure: Failure) -> Vec<String> {
        assert_eq!(failure.kind, FailureKind::Usage);
        let problems = failure
            .source
            .as_ref()
            .and_then(|source| source.downcast_ref::<Problems>())
            .unwrap_or_else(|| panic!("{}", told(&failure)));
        assert!(
            problems
                .0
                .iter()
                .all(|problem| !problem.file.as_os_str().is_empty())
        );
        problems
            .0
            .iter()
            .map(|problem| self.short(&problem.to_string()))
            .collect()
    }

    fn short(&self, text: &str) -> String {
        text.replace(self.folder.path().to_str().unwrap(), "~")
    }
}

/// Everything that a person would read.
fn told(failure: &Failure) -> String {
    format!(
        "{}\n{}\n{}",
        failure.message,
        failure.causes().join("\n"),
        failure.hint.as_deref().unwrap_or_default()
    )
}

/// The single mistake of a `sync` section with these keys, provider aside.
fn sync_mistake(keys: &str) -> String {
    let mistakes = World::with(&format!("{{ sync: {{ {keys} }} }}")).whole_mistakes();
    assert_eq!(mistakes.len(), 1, "{mistakes:?}");
    mistakes[0].clone()
}

fn backup_mistake(keys: &str) -> String {
    let mistakes = World::with(&format!("{{ backup: {{ {keys} }} }}")).whole_mistakes();
    assert_eq!(mistakes.len(), 1, "{mistakes:?}");
    mistakes[0].clone()
}
