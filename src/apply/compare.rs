//! Whether a remote file has the content of a local one, with as little reading as the remote allows.

use futures::StreamExt;
use ows_providers::hash::{ContentHasher, ContentHashes};
use ows_providers::{GetOptions, HashKind, Provider, RelPath};

use crate::tree::RemoteStamp;

/// Whether the remote file has the content with these hashes; that both have one size is known. A hash that the remote
/// tells proves equality; whether a difference proves anything is the provider's to say. Else its metadata may tell more, and in the end the content does.
///
/// # Errors
/// The provider's.
pub async fn sides_equal(
    provider: &dyn Provider,
    path: &RelPath,
    remote: &RemoteStamp,
    hashes: &ContentHashes,
) -> ows_providers::Result<bool> {
    let proves = provider
        .capabilities()
        .hash
        .is_some_and(|hash| hash.difference_proves);
    if let Some(hash) = &remote.hash {
        let equal = hashes.agree_with(hash);
        if equal || proves {
            return Ok(equal);
        }
    } else if provider
        .capabilities()
        .hash
        .is_some_and(|hash| hash.kind == HashKind::Md5)
    {
        let stat = provider.stat(path).await?;
        if stat.version == remote.version && stat.hash.is_some_and(|hash| hashes.agree_with(&hash))
        {
            return Ok(true);
        }
    }
    let options = GetOptions {
        range: None,
        version: remote.version.clone(),
    };
    let mut download = provider.get(path, options).await?;
    if download
        .entry
        .hash
        .as_ref()
        .is_some_and(|hash| hashes.agree_with(hash))
    {
        return Ok(true);
    }
    let mut hasher = ContentHasher::new();
    while let Some(piece) = download.body.next().await {
        hasher.update(&piece?);
    }
    Ok(hasher.finish().blake3 == hashes.blake3)
}
