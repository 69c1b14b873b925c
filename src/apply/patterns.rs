//! What the other side makes of `.sync-excludes` takes effect here only where it can be used. Else every run after it would
//! stop, since what the file is to leave out is not known, and no run could bring the corrected one.

use futures::StreamExt;
use ows_providers::{EntryKind, GetOptions, RelPath};

use super::Applier;
use super::outcome::Problem;
use crate::pattern::{EXCLUDES_FILE, EXCLUDES_MAX, Patterns};
use crate::plan::{Action, Keeps, Op};

/// What a person reads when the list of this side gave way to what the other made of it.
pub(super) fn warning(action: &Action) -> Option<String> {
    let gave_way = action.local.is_some()
        && matches!(
            action.op,
            Op::Download
                | Op::DeleteLocal
                | Op::Conflict {
                    keeps: Keeps::Remote
                }
        );
    (gave_way && action.key.path.as_str() == EXCLUDES_FILE).then(|| {
        format!(
            "`{EXCLUDES_FILE}` was changed in the remote, and here with it: what it left out here, and leaves out no more, \
             takes part from the next run on"
        )
    })
}

impl Applier {
    /// Fails where an action would put something in the place of the patterns that is no list of patterns.
    pub(super) async fn patterns_stay_usable(&self, action: &Action) -> Result<(), Problem> {
        let path = &action.key.path;
        let first = path.as_str().split('/').next();
        let comes_here = match action.op {
            Op::Download | Op::MoveLocal { .. } | Op::CreateDirLocal => true,
            Op::Conflict { keeps } => match keeps {
                Keeps::Remote => true,
                Keeps::Folder => action.local.is_some(),
                Keeps::Local => false,
            },
            _ => false,
        };
        if first != Some(EXCLUDES_FILE) || !comes_here {
            return Ok(());
        }
        let makes_folder = path.as_str() != EXCLUDES_FILE
            || action.key.kind == EntryKind::Dir
            || matches!(
                action.op,
                Op::Conflict {
                    keeps: Keeps::Folder
                }
            );
        let why = if makes_folder {
            Some("it is a folder there".to_owned())
        } else {
            self.wrong_patterns(path, action).await?
        };
        match why {
            None => Ok(()),
            Some(why) => Err(Problem::Left(format!(
                "the remote's cannot be used as patterns ({why}), so it was left there; correct it in the remote"
            ))),
        }
    }

    /// Why the remote's file is no list of patterns.
    async fn wrong_patterns(
        &self,
        path: &RelPath,
        action: &Action,
    ) -> Result<Option<String>, Problem> {
        let Some(remote) = &action.remote else {
            return Ok(None);
        };
        if remote.size > EXCLUDES_MAX {
            return Ok(Some(format!("it has more than {EXCLUDES_MAX} bytes")));
        }
        let options = GetOptions {
            range: None,
            version: remote.version.clone(),
        };
        let mut body = self.provider.get(path, options).await?.body;
        let mut content = Vec::new();
        while let Some(piece) = body.next().await {
            content.extend_from_slice(&piece?);
            if content.len() as u64 > EXCLUDES_MAX {
                break;
            }
        }
        Ok(match String::from_utf8(content) {
            Err(_) => Some("it is not UTF-8".to_owned()),
            Ok(text) => Patterns::new(&Patterns::parse_file(&text))
                .err()
                .and_then(|errors| errors.first().map(ToString::to_string)),
        })
    }
}
