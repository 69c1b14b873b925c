//! One mistake is one error, which says what was perhaps meant, and all of them come at once.

use super::super::{Config, Problems, Shape, load_to_sync};
use super::World;
use crate::error::Failure;

/// What a command that syncs is told.
fn mistakes_of_sync(text: &str) -> Vec<String> {
    let failure = load_to_sync(&World::with(text).invocation()).unwrap_err();
    let source = failure.source.unwrap();
    let Problems(problems) = source.downcast_ref::<Problems>().unwrap();
    problems.iter().map(ToString::to_string).collect()
}

#[test]
fn each_pattern_that_cannot_be_used_is_an_error_at_its_place() {
    let mistakes =
        World::with("{ sync: { exclude: ['*.log', '[a', '{b'] }, backup: { exclude: ['[c'] } }")
            .mistakes();
    let starts = [
        "`sync.exclude[1]`: found \"[a\", which cannot be used: ",
        "`sync.exclude[2]`: found \"{b\", which cannot be used: ",
        "`backup.exclude[0]`: found \"[c\", which cannot be used: ",
    ];
    assert_eq!(mistakes.len(), starts.len(), "{mistakes:#?}");
    for (mistake, start) in mistakes.iter().zip(starts) {
        assert!(mistake.starts_with(start), "{mistake}");
    }
}

#[test]
fn what_a_run_needs_is_missed_together_with_all_other_mistakes() {
    let starts = |text: &str, expected: &[&str]| {
        let mistakes = mistakes_of_sync(text);
        assert_eq!(mistakes.len(), expected.len(), "{text}: {mistakes:#?}");
        for (mistake, start) in mistakes.iter().zip(expected) {
            assert!(mistake.starts_with(start), "{text}: {mistake}");
        }
    };
    starts("{}", &["`provider`: is missing", "`mode`: is missing"]);
    starts(
        "{ sync: { provider: 'off' } }",
        &["`sync.provider`: is \"off\"", "`sync.mode`: is missing"],
    );
    starts(
        "{ sync: { provider: 's3', s3: { bucket: 'b', accessKeyId: 'k' } } }",
        &[
            "`sync.s3.secretAccessKey`: is missing",
            "`sync.mode`: is missing",
        ],
    );
    starts(
        "{ sync: { provider: 's4', mode: 'mailbx' } }",
        &["`sync.provider`: found", "`sync.mode`: found"],
    );
    // Who only looks needs neither.
    for text in ["{ sync: { provider: 'off' } }", "{}"] {
        World::with(text).config();
    }
}

#[test]
fn a_misspelt_value_is_guessed() {
    for (keys, guess) in [
        ("mode: 'mailbx'", "mailbox"),
        ("provider: 'S3'", "s3"),
        (
            "provider: 'custom', custom: { type: 'loca', options: { path: '/x' } }",
            "local",
        ),
    ] {
        let mistakes = World::with(&format!("{{ sync: {{ {keys} }} }}")).mistakes();
        assert_eq!(mistakes.len(), 1, "{mistakes:?}");
        let expected = format!("; did you mean `{guess}`? allowed: ");
        assert!(mistakes[0].contains(&expected), "{mistakes:?}");
    }
    let mistakes = World::with("{ sync: { mode: 'zzz' } }").mistakes();
    assert!(!mistakes[0].contains("did you mean"), "{mistakes:?}");
}

#[test]
fn an_option_that_could_not_be_filled_in_is_one_error() {
    for options in [
        "type: 'local', options: { path: '${NOPE}' }",
        "type: 's3', options: { provider: 'Minio', endpoint: '${NOPE}' }",
        "type: 's3', options: { env_auth: false, access_key_id: '${NOPE}', secret_access_key: 'x' }",
    ] {
        let mistakes = World::with(&format!(
            "{{ sync: {{ provider: 'custom', remotePath: 'bucket', custom: {{ {options} }} }} }}"
        ))
        .mistakes();
        assert_eq!(mistakes.len(), 1, "{options}: {mistakes:#?}");
        assert!(mistakes[0].contains("`NOPE` is not set"), "{mistakes:?}");
    }
}

#[test]
fn each_shape_is_accepted_in_each_place() {
    let load = |text: &str| -> Result<Config, Failure> {
        let mut world = World::new();
        world.write("elsewhere.json", text);
        let path = world.path("elsewhere.json");
        world.set("OPENCLAW_CONFIG_PATH", path);
        world.load()
    };
    for (text, shape) in [
        ("{ sync: { mode: 'mailbox' } }", Shape::StandAlone),
        ("{ provider: 'off', mode: 'mailbox' }", Shape::Flat),
        (
            "{ plugins: { entries: { 'openclaw-workspace-sync': { config: { sync: { mode: 'mailbox' } } } } } }",
            Shape::OpenClaw,
        ),
    ] {
        assert_eq!(load(text).unwrap().shape, shape, "{text}");
    }
    let failure = load("{ agents: {} }").unwrap_err();
    let text = failure.causes().join("\n");
    assert!(text.contains("`plugins`: is missing"), "{text}");
}
