//! Configurations.

use std::fs;

use ows::config::{Environment, Invocation, load};

use crate::assert_words;

pub(crate) const WORDS: &[&str] = &[
    "sync: {",
    "backup: {",
    "plugins: {",
    "provider: 's3'",
    "provider: 'custom'",
    "mode: 'bisync'",
    "exclude: ['",
    "retain: { within: '30d' }",
    "interval: 1e308",
    "bandwidthLimit: '08:00,512k:off 18:00,off'",
    "customRemotes: [",
    "$include",
    "${HOME}",
    "${",
    "$${",
    "volumeSize: '9223372036854775807P'",
    "recipients: ['age1",
    "passphrase: '",
    "Infinity",
    "-0x7fffffffffffffff",
    "'\\u{0}\\x00\\\n",
    "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
    "{a:{a:{a:{a:{a:{a:{a:{a:",
    "/*",
    "//",
    "\u{feff}",
];

/// Reads `data` as the file of a configuration.
pub fn config(data: &[u8]) {
    let place = tempfile::tempdir().expect("a temporary folder");
    let file = place.path().join("ows.json5");
    fs::write(&file, data).expect("the folder is ours");
    fs::create_dir(place.path().join("workspace")).expect("the folder is ours");
    let home = place.path().join("home").display().to_string();
    let mut invocation = Invocation::new(Environment::from_pairs([("HOME", home)]), place.path());
    invocation.config = Some(file);
    invocation.state_dir = Some(place.path().join("state"));
    invocation.workspace = Some(place.path().join("workspace"));
    match load(&invocation) {
        Ok(config) => {
            config
                .all_warnings()
                .for_each(|warning| assert_words(warning));
            if let Some(reason) = config.idle_reason() {
                assert_words(&reason);
            }
        }
        Err(failure) => {
            assert_words(&failure.to_string());
            assert_words(&failure.reason());
            assert!(failure.hint.is_some(), "what to do next: {failure}");
        }
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let fixtures: [&[u8]; 3] = [
        include_bytes!("../../../fixtures/config/stand-alone.json5"),
        include_bytes!("../../../fixtures/config/openclaw.json"),
        include_bytes!("../../../fixtures/config/flat.json"),
    ];
    fixtures.map(<[u8]>::to_vec).to_vec()
}
