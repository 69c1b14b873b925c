//! Conditional changes of the remote, also where the remote does not enforce conditions: look, act, look again.

use bytes::Bytes;
use ows_providers::{
    CopyOptions, Enforcement, Entry, Error, ErrorKind, Operation, Part, Precondition, Provider,
    PutOptions, RelPath, Result, Upload,
};

use crate::tree::RemoteStamp;

/// The remote, with its conditions made up for where it does not enforce them. Where it does not, another writer's
/// change between the look and the act goes unnoticed before the act; the second look reports it.
pub struct Conditional<'a> {
    /// The remote.
    pub provider: &'a dyn Provider,
    /// What it enforces.
    pub enforcement: Enforcement,
}

/// What was observed at a path, as a precondition.
pub fn expect(observed: Option<&RemoteStamp>) -> Precondition {
    match observed.map(|stamp| stamp.version.clone()) {
        None => Precondition::Absent,
        Some(Some(version)) => Precondition::Version(version),
        Some(None) => Precondition::Any,
    }
}

impl Conditional<'_> {
    /// Writes a file in one call.
    pub async fn put(&self, path: &RelPath, body: Bytes, mut options: PutOptions) -> Result<Entry> {
        let enforced = self.writes(&options.precondition);
        if enforced {
            return self.provider.put(path, body, options).await;
        }
        self.look(path, &options.precondition, Operation::Put)
            .await?;
        options.precondition = Precondition::Any;
        let entry = self.provider.put(path, body, options).await?;
        self.look_again(path, &entry, Operation::Put).await?;
        Ok(entry)
    }

    /// Makes the object of an upload in parts visible.
    pub async fn complete(
        &self,
        upload: &Upload,
        parts: &[Part],
        precondition: Precondition,
    ) -> Result<Entry> {
        let enforced = match precondition {
            Precondition::Any => true,
            Precondition::Absent => self.enforcement.complete_if_absent,
            Precondition::Version(_) => self.enforcement.complete_if_match,
        };
        if enforced {
            return self
                .provider
                .complete_upload(upload, parts, precondition)
                .await;
        }
        self.look(&upload.path, &precondition, Operation::CompleteUpload)
            .await?;
        let entry = self
            .provider
            .complete_upload(upload, parts, Precondition::Any)
            .await?;
        self.look_again(&upload.path, &entry, Operation::CompleteUpload)
            .await?;
        Ok(entry)
    }

    /// Deletes a file.
    pub async fn delete(&self, path: &RelPath, precondition: Precondition) -> Result<()> {
        if matches!(precondition, Precondition::Any) || self.enforcement.delete_if_match {
            return self.provider.delete(path, precondition).await;
        }
        match self.look(path, &precondition, Operation::Delete).await {
            Err(error) if error.kind == ErrorKind::NotFound => return Ok(()),
            other => other?,
        }
        self.provider.delete(path, Precondition::Any).await
    }

    /// Copies a file within the remote to a name where nothing is.
    pub async fn copy_new(
        &self,
        from: &RelPath,
        to: &RelPath,
        options: CopyOptions,
    ) -> Result<Entry> {
        let options = CopyOptions {
            precondition: Precondition::Absent,
            ..options
        };
        // A file that is too large for one call is copied in parts, and the last call of an upload makes it visible.
        if self.enforcement.copy_if_absent && self.enforcement.complete_if_absent {
            return self.provider.copy(from, to, options).await;
        }
        self.look(to, &options.precondition, Operation::Copy)
            .await?;
        let options = CopyOptions {
            precondition: Precondition::Any,
            ..options
        };
        let entry = self.provider.copy(from, to, options).await?;
        self.look_again(to, &entry, Operation::Copy).await?;
        Ok(entry)
    }

    fn writes(&self, precondition: &Precondition) -> bool {
        match precondition {
            Precondition::Any => true,
            Precondition::Absent => self.enforcement.create_if_absent,
            Precondition::Version(_) => self.enforcement.replace_if_match,
        }
    }

    async fn look(
        &self,
        path: &RelPath,
        precondition: &Precondition,
        operation: Operation,
    ) -> Result<()> {
        let found = match self.provider.stat(path).await {
            Ok(entry) => Some(entry),
            Err(error) if error.kind == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let refuse = |kind, text: &str| Err(Error::new(kind, operation, path.as_str(), text));
        match (precondition, found) {
            (Precondition::Any, _) | (Precondition::Absent, None) => Ok(()),
            (Precondition::Absent, Some(_)) => {
                refuse(ErrorKind::AlreadyExists, "something is there now")
            }
            (Precondition::Version(_), None) => refuse(ErrorKind::NotFound, "it is gone"),
            (Precondition::Version(version), Some(entry))
                if entry.version.as_ref() == Some(version) =>
            {
                Ok(())
            }
            (Precondition::Version(_), Some(_)) => {
                refuse(ErrorKind::PreconditionFailed, "it is another version now")
            }
        }
    }

    async fn look_again(
        &self,
        path: &RelPath,
        written: &Entry,
        operation: Operation,
    ) -> Result<()> {
        let found = self.provider.stat(path).await?;
        if found.version == written.version {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::PreconditionFailed,
            operation,
            path.as_str(),
            "another writer changed it at the same moment, and this remote cannot prevent that",
        ))
    }
}
