use std::path::Path;

use super::*;

fn environment(pairs: &[(&str, &str)]) -> Environment {
    let pairs: Vec<(String, String)> = pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    non_empty(Arc::new(move |name| {
        let found = pairs.iter().find(|(known, _)| known == name)?;
        Some(found.1.clone())
    }))
}

fn resolve(environment: &Environment) -> Result<AwsCredentialProvider, String> {
    let options = HttpOptions::default();
    let http = HttpStack::new(&options, crate::http::Protocols::Http1).unwrap();
    provider(
        &S3Credentials::Chain,
        environment,
        "us-east-1",
        &http,
        &options,
    )
}

fn home(credentials: &str) -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join(".aws")).unwrap();
    std::fs::write(home.path().join(".aws/credentials"), credentials).unwrap();
    home
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

const FILE: &str = "[default]\naws_access_key_id = FK\naws_secret_access_key = FS\n\
                    [half]\naws_access_key_id = hidden3\n";

#[tokio::test]
async fn the_environment_comes_before_the_files() {
    let home = home(FILE);
    let both = environment(&[
        ("HOME", text(home.path())),
        ("AWS_ACCESS_KEY_ID", "EK"),
        ("AWS_SECRET_ACCESS_KEY", "ES"),
        ("AWS_SESSION_TOKEN", "ET"),
    ]);
    let keys = resolve(&both).unwrap().get_credential().await.unwrap();
    assert_eq!(
        (keys.key_id.as_str(), keys.token.as_deref()),
        ("EK", Some("ET"))
    );

    let file = environment(&[("HOME", text(home.path())), ("AWS_ACCESS_KEY_ID", "")]);
    let keys = resolve(&file).unwrap().get_credential().await.unwrap();
    assert_eq!(
        (keys.key_id.as_str(), keys.secret_key.as_str()),
        ("FK", "FS")
    );
}

#[test]
fn half_of_a_pair_is_an_error() {
    let home = home(FILE);
    for (pairs, part) in [
        (
            vec![("AWS_ACCESS_KEY_ID", "hidden1")],
            "AWS_SECRET_ACCESS_KEY",
        ),
        (
            vec![("AWS_SECRET_ACCESS_KEY", "hidden2")],
            "AWS_ACCESS_KEY_ID",
        ),
        (
            vec![("HOME", text(home.path())), ("AWS_PROFILE", "half")],
            "aws_secret_access_key",
        ),
        (
            vec![("HOME", text(home.path())), ("AWS_PROFILE", "none")],
            "profile `none`",
        ),
    ] {
        let error = resolve(&environment(&pairs)).unwrap_err();
        assert!(error.contains(part), "{error}");
        assert!(!error.contains("hidden"));
    }
}

#[test]
fn without_any_source_the_error_says_where_it_looked() {
    let home = home("");
    let nothing = environment(&[
        ("HOME", text(home.path())),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ]);
    let error = resolve(&nothing).unwrap_err();
    assert!(
        error.contains("AWS_ACCESS_KEY_ID") && error.contains(".aws/credentials"),
        "{error}"
    );
}

#[test]
fn keys_go_unencrypted_to_reserved_addresses_only() {
    for uri in [
        "http://169.254.170.23/v1/credentials",
        "https://vault.example/x",
        "http://127.0.0.1:99/x?y=z",
    ] {
        assert!(check_container_uri(uri).is_ok(), "{uri}");
    }
    for uri in [
        "http://vault.example/x",
        "http://169.254.170.24/",
        "nonsense",
    ] {
        assert!(check_container_uri(uri).is_err(), "{uri}");
    }
}

#[test]
fn the_region_has_an_order() {
    let home = home("[default]\nregion = file\n");
    let chain = S3Credentials::Chain;
    let ask = |configured, pairs: &[(&str, &str)], credentials: &S3Credentials| {
        region(configured, credentials, &environment(pairs)).unwrap()
    };
    let here = ("HOME", text(home.path()));
    assert_eq!(ask(Some("own"), &[("AWS_REGION", "env")], &chain), "own");
    assert_eq!(
        ask(
            None,
            &[("AWS_REGION", "env"), ("AWS_DEFAULT_REGION", "two")],
            &chain
        ),
        "env"
    );
    assert_eq!(
        ask(None, &[("AWS_DEFAULT_REGION", "two"), here], &chain),
        "two"
    );
    assert_eq!(ask(None, &[here], &chain), "file");
    assert_eq!(ask(None, &[], &chain), "us-east-1");
    let fixed = S3Credentials::Static {
        access_key_id: "a".into(),
        secret_access_key: "b".into(),
        session_token: None,
    };
    assert_eq!(ask(Some(""), &[here], &fixed), "us-east-1");
}

#[tokio::test]
async fn nothing_prints_a_key() {
    let home = home("[default]\naws_access_key_id = KEYWORD\naws_secret_access_key = SECRETWORD\n");
    let provider = resolve(&environment(&[("HOME", text(home.path()))])).unwrap();
    provider.get_credential().await.unwrap();
    let text = format!("{provider:?}");
    assert!(
        !text.contains("KEYWORD") && !text.contains("SECRETWORD"),
        "{text}"
    );
}
