//! The probe, against stores that ignore conditions, refuse them, or answer what nobody can read.

use crate::support::{Answer, Asked, Server, answer};
use ows_providers::{Enforcement, ErrorKind, Provider};

/// A store without any conditions, which keeps versions.
fn careless(number: usize, asked: &Asked) -> Answer {
    let is = |method: &str, part: &str| asked.method == method && asked.target.contains(part);
    if is("GET", "versioning=") {
        let body = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
        return answer(200, body);
    }
    if is("POST", "?uploads=") {
        let body = format!(
            "<InitiateMultipartUploadResult><UploadId>u{number}</UploadId></InitiateMultipartUploadResult>"
        );
        return answer(200, body);
    }
    if is("POST", "?uploadId=") {
        let body = "<CompleteMultipartUploadResult><ETag>&quot;c-1&quot;</ETag></CompleteMultipartUploadResult>";
        return answer(200, body).header("x-amz-version-id", &format!("v{number}"));
    }
    if asked.method == "DELETE" {
        return answer(204, "").header("x-amz-version-id", &format!("v{number}"));
    }
    answer(200, "")
        .header("ETag", "\"e\"")
        .header("x-amz-version-id", &format!("v{number}"))
}

fn is_conditional(asked: &Asked) -> bool {
    asked.header("if-match").is_some() || asked.header("if-none-match").is_some()
}

fn targets(server: &Server, method: &str, part: &str) -> Vec<String> {
    let asked = server.asked();
    let chosen = asked
        .iter()
        .filter(|asked| asked.method == method && asked.target.contains(part));
    chosen.map(|asked| asked.target.clone()).collect()
}

#[tokio::test]
async fn conditions_that_are_ignored_do_not_count_as_enforced() {
    let server = Server::answering(careless).await;
    let found = server.provider().probe().await.unwrap();
    let nothing = Enforcement {
        versioning: Some(true),
        ..Enforcement::default()
    };
    assert_eq!(found, nothing);
    for asked in server.asked() {
        let bucket = asked.target.starts_with("/box?");
        assert!(
            bucket || asked.target.starts_with("/box/pre/.ows/probe/"),
            "{}",
            asked.target
        );
    }
}

#[tokio::test]
async fn conditions_that_are_refused_do_not_count_as_enforced() {
    for status in [400, 403, 501] {
        let server = Server::answering(move |number, asked| {
            if is_conditional(asked) {
                return answer(
                    status,
                    "<Error><Code>Odd</Code><Message>m</Message></Error>",
                );
            }
            careless(number, asked)
        })
        .await;
        let found = server.provider().probe().await.unwrap();
        assert_eq!(found.versioning, Some(true));
        assert!(!found.create_if_absent && !found.replace_if_match && !found.delete_if_match);
        assert!(!found.complete_if_absent && !found.complete_if_match);
        // All four uploads stay unfinished and are given up.
        assert_eq!(targets(&server, "POST", "?uploads=").len(), 4);
        assert_eq!(targets(&server, "DELETE", "?uploadId=").len(), 4);
    }
}

#[tokio::test]
async fn everything_that_was_stored_is_removed_even_after_a_failure() {
    for broken in [false, true] {
        let server = Server::answering(move |number, asked| {
            if broken && asked.method == "POST" && asked.target.contains("?uploadId=") {
                return answer(200, "<html>fine</html>");
            }
            careless(number, asked)
        })
        .await;
        let outcome = server.provider().probe().await;
        if broken {
            // Carried out, for all that is known: no condition was refused.
            assert_eq!(outcome.unwrap_err().kind, ErrorKind::Permanent);
        } else {
            outcome.unwrap();
        }
        let deleted = targets(&server, "DELETE", "");
        for target in targets(&server, "PUT", "/probe/") {
            let key = target.split('?').next().unwrap();
            assert!(deleted.iter().any(|known| known == key), "{key} stays");
        }
        for (number, asked) in server.asked().iter().enumerate() {
            let stores = asked.method == "PUT" && !asked.target.contains('?');
            let version = format!("{}?versionId=v{number}", asked.target);
            assert!(!stores || deleted.contains(&version), "{version} stays");
        }
    }
}

#[tokio::test]
async fn a_store_that_cannot_be_written_to_is_an_error() {
    let body = "<Error><Code>AccessDenied</Code><Message>m</Message></Error>";
    let server = Server::answering(move |_, _| answer(403, body)).await;
    let error = server.provider().probe().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Forbidden);
}
