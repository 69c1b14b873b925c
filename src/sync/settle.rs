//! Answers the planner's questions by reading content.

use std::sync::Arc;

use chrono::Utc;
use futures::StreamExt;
use ows_providers::hash::ContentHashes;
use ows_providers::{Provider, RelPath};

use crate::apply::sides_equal;
use crate::cancel::Cancel;
use crate::error::Outcome;
use crate::local::{LocalErrorKind, LocalFolder};
use crate::plan::merge::{self, Times};
use crate::plan::{Answers, Planner, Question, Side, Triple};
use crate::tree::LocalFingerprint;

/// Reads until nothing is left to ask.
///
/// # Errors
/// When the run was stopped.
pub async fn settle(
    planner: &mut Planner,
    provider: &Arc<dyn Provider>,
    local: &Arc<LocalFolder>,
    parallel: usize,
    cancel: &Cancel,
) -> Outcome<()> {
    loop {
        let questions = planner.questions();
        if questions.is_empty() {
            return Ok(());
        }
        let answers = futures::stream::iter(questions.into_iter().map(|(triple, question)| {
            let (provider, local) = (Arc::clone(provider), Arc::clone(local));
            async move { answer(provider.as_ref(), local, triple, question).await }
        }))
        .buffer_unordered(parallel.max(1));
        let collect = answers.for_each(|(triple, question, answers, blake3)| {
            planner.answer(triple, question, answers, blake3);
            std::future::ready(())
        });
        if cancel.unless_stopped(collect).await.is_none() {
            return Err(cancel.failure());
        }
    }
}

type Answered = (Triple, Question, Answers, Option<[u8; 32]>);

async fn answer(
    provider: &dyn Provider,
    local: Arc<LocalFolder>,
    mut triple: Triple,
    question: Question,
) -> Answered {
    let path = triple.key.path.clone();
    let mut answers = triple.answers.clone();
    let hashed = hash_local(local, path.clone()).await;
    let (fingerprint, hashes) = match hashed {
        Ok(hashed) => hashed,
        Err(reason) => {
            if question != Question::LocalHash {
                answers.failed = Some(reason);
            }
            return (triple, question, answers, None);
        }
    };
    // The file may have moved on since it was listed; what was hashed is what the plan goes by.
    triple.local = Some(fingerprint);
    match question {
        Question::LocalHash => {}
        Question::Newer => match newer(provider, &path, &triple).await {
            Ok(newer) => answers.newer = Some(newer),
            Err(error) => {
                answers.failed = Some(format!(
                    "its time in the remote could not be told, so it was left alone: {error}"
                ));
            }
        },
        Question::LocalIsBase => {
            let recorded = triple.base.as_ref().and_then(|base| base.local.blake3);
            answers.local_is_base = Some(recorded == Some(hashes.blake3));
        }
        Question::SidesEqual => match &triple.remote {
            None => answers.sides_equal = Some(false),
            Some(remote) => match sides_equal(provider, &path, remote, &hashes).await {
                Ok(equal) => answers.sides_equal = Some(equal),
                Err(error) => {
                    answers.failed = Some(format!(
                        "the remote file could not be compared, so it was left alone: {error}"
                    ));
                }
            },
        },
    }
    (triple, question, answers, Some(hashes.blake3))
}

/// Which side's content is newer. A listing may not tell the time that was stored with the content.
async fn newer(
    provider: &dyn Provider,
    path: &RelPath,
    triple: &Triple,
) -> ows_providers::Result<Side> {
    let remote = triple.remote.as_ref();
    let mut remote_ns = remote.and_then(|remote| remote.mtime_ns);
    if remote_ns.is_none() {
        let told = provider.stat(path).await?;
        let stored = told
            .modified_at_ns
            .or(remote.and_then(|remote| remote.modified_at_ns));
        remote_ns = told.mtime_ns.or(stored);
    }
    Ok(merge::newer(Times {
        local_ns: triple.local.as_ref().map_or(0, |local| local.mtime_ns),
        remote_ns,
        host_now_ns: Utc::now().timestamp_nanos_opt().unwrap_or(i64::MAX),
        provider_now_ns: provider.clock().and_then(|now| now.timestamp_nanos_opt()),
    }))
}

/// Hashes a local file. An error is the word about it.
pub(super) async fn hash_local(
    local: Arc<LocalFolder>,
    path: RelPath,
) -> Result<(LocalFingerprint, ContentHashes), String> {
    let hashed = tokio::task::spawn_blocking(move || local.hash(&path)).await;
    match hashed {
        Ok(Ok(hashed)) => {
            let blake3 = hashed.fingerprint.blake3.unwrap_or_default();
            Ok((
                hashed.fingerprint,
                ContentHashes {
                    md5: hashed.md5,
                    blake3,
                },
            ))
        }
        Ok(Err(error)) if error.kind == LocalErrorKind::Changed => {
            Err("it changed while it was read; the next run looks again".to_owned())
        }
        Ok(Err(error)) => Err(crate::apply::chain(&error)),
        Err(error) => Err(format!(
            "an internal error ended the work on this path: {error}"
        )),
    }
}
