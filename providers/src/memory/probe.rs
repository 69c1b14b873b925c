//! Finds out by trying what a store enforces.

use bytes::Bytes;

use crate::{
    CopyOptions, Enforcement, Entry, Error, ErrorKind, Operation, PartRules, Precondition,
    Provider, PutOptions, RelPath, Result, UploadOptions, Version,
};

/// Tries every condition on one file under `.ows/probe` and takes it away again, whatever happened.
pub(super) async fn probe(provider: &dyn Provider) -> Result<Enforcement> {
    let path = |text| {
        RelPath::new(text).map_err(|error| {
            Error::new(ErrorKind::Permanent, Operation::Probe, text, "no path").with_source(error)
        })
    };
    let (own, folder, file) = (
        path(".ows")?,
        path(".ows/probe")?,
        path(".ows/probe/object")?,
    );
    let folders = provider.capabilities().folders;
    let own_was_there = folders && provider.stat(&own).await.is_ok();
    let found = try_conditions(provider, &file).await;
    provider.delete(&file, Precondition::Any).await?;
    if folders {
        provider.delete_dir(&folder).await?;
        if !own_was_there {
            provider.delete_dir(&own).await?;
        }
    }
    found
}

async fn try_conditions(provider: &dyn Provider, path: &RelPath) -> Result<Enforcement> {
    let stranger = || Precondition::Version(Version("never given".to_owned()));
    put(provider, path, Precondition::Any).await?;
    Ok(Enforcement {
        create_if_absent: refused(put(provider, path, Precondition::Absent).await)?,
        replace_if_match: refused(put(provider, path, stranger()).await)?,
        complete_if_absent: refused(upload(provider, path, Precondition::Absent).await)?,
        complete_if_match: refused(upload(provider, path, stranger()).await)?,
        // Another name than its own: a copy onto itself is refused for another reason.
        copy_if_absent: refused(copy(provider, path).await)?,
        delete_if_match: refused(provider.delete(path, stranger()).await)?,
        versioning: None,
    })
}

async fn put(provider: &dyn Provider, path: &RelPath, precondition: Precondition) -> Result<Entry> {
    let options = PutOptions {
        precondition,
        ..PutOptions::default()
    };
    provider
        .put(path, Bytes::from_static(b"probe"), options)
        .await
}

/// Copies the file to a name where it was copied to before. A store without copies enforces nothing on them.
async fn copy(provider: &dyn Provider, path: &RelPath) -> Result<()> {
    if !provider.capabilities().copy {
        return Ok(());
    }
    let copy = RelPath::new(&format!("{path}-copy")).map_err(|error| {
        Error::new(
            ErrorKind::Permanent,
            Operation::Probe,
            path.as_str(),
            "no path",
        )
        .with_source(error)
    })?;
    let options = |precondition| CopyOptions {
        source: None,
        precondition,
        size: 0,
        mtime_ns: None,
    };
    provider
        .copy(path, &copy, options(Precondition::Any))
        .await?;
    let again = provider
        .copy(path, &copy, options(Precondition::Absent))
        .await;
    provider.delete(&copy, Precondition::Any).await?;
    again.map(drop)
}

async fn upload(
    provider: &dyn Provider,
    path: &RelPath,
    precondition: Precondition,
) -> Result<Entry> {
    let body = Bytes::from_static(b"probe");
    let PartRules { min, .. } = provider.capabilities().parts;
    let options = UploadOptions {
        size: Some(body.len() as u64),
        part_size: min.max(body.len() as u64),
        mtime_ns: None,
        md5: None,
    };
    let upload = provider.start_upload(path, options).await?;
    let part = provider.put_part(&upload, 1, body).await?;
    let result = provider
        .complete_upload(&upload, &[part], precondition)
        .await;
    if result.is_err() {
        provider.abort_upload(&upload).await?;
    }
    result
}

/// Whether a call that contradicts what is there was refused for that.
fn refused<Value>(result: Result<Value>) -> Result<bool> {
    match result {
        Ok(_) => Ok(false),
        Err(error) if error.is_race() => Ok(true),
        Err(error) => Err(error),
    }
}
