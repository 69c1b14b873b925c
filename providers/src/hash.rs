//! Hashes of content, taken while it passes by: nothing is read a second time to be hashed.
//!
//! MD5 is what S3 stores compare, BLAKE3 is what `ows` trusts. Both come out of one pass.

use std::io::{self, Read, Write};

use md5::{Digest, Md5};

use crate::{Hash, HashKind};

/// Both hashes of one content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ContentHashes {
    /// MD5: proves nothing against an enemy, but stores speak it.
    pub md5: [u8; 16],
    /// BLAKE3.
    pub blake3: [u8; 32],
}

impl ContentHashes {
    /// Hashes `content` that lies in memory.
    pub fn of(content: &[u8]) -> Self {
        let mut hasher = ContentHasher::new();
        hasher.update(content);
        hasher.finish()
    }

    /// The hash of the given kind.
    pub fn get(&self, kind: HashKind) -> Hash {
        Hash {
            kind,
            bytes: match kind {
                HashKind::Md5 => self.md5.to_vec(),
                HashKind::Blake3 => self.blake3.to_vec(),
            },
        }
    }

    /// Whether a provider's hash speaks of this content.
    pub fn agree_with(&self, hash: &Hash) -> bool {
        self.get(hash.kind) == *hash
    }
}

/// Takes both hashes of content that comes in pieces.
#[derive(Clone, Default)]
pub struct ContentHasher {
    md5: Md5,
    blake3: blake3::Hasher,
    length: u64,
}

impl ContentHasher {
    /// A hasher that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next piece.
    pub fn update(&mut self, piece: &[u8]) {
        self.md5.update(piece);
        self.blake3.update(piece);
        self.length += piece.len() as u64;
    }

    /// How many bytes it has seen.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The hashes of everything seen.
    pub fn finish(self) -> ContentHashes {
        ContentHashes {
            md5: self.md5.finalize().into(),
            blake3: *self.blake3.finalize().as_bytes(),
        }
    }
}

impl std::fmt::Debug for ContentHasher {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("ContentHasher")
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}

/// A reader or writer that hashes what passes through it.
#[derive(Debug)]
pub struct Hashing<Inner> {
    inner: Inner,
    hasher: ContentHasher,
}

impl<Inner> Hashing<Inner> {
    /// Hashes what is read from, or written to, `inner` from now on.
    pub fn new(inner: Inner) -> Self {
        Self {
            inner,
            hasher: ContentHasher::new(),
        }
    }

    /// How many bytes have passed.
    pub fn length(&self) -> u64 {
        self.hasher.length()
    }

    /// Gives back what is below, and the hashes of what has passed.
    pub fn finish(self) -> (Inner, ContentHashes) {
        (self.inner, self.hasher.finish())
    }
}

impl<Inner: Read> Read for Hashing<Inner> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..length]);
        Ok(length)
    }
}

impl<Inner: Write> Write for Hashing<Inner> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        // Only what was taken counts: the rest comes again.
        let length = self.inner.write(buffer)?;
        self.hasher.update(&buffer[..length]);
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A writer that takes three bytes at a time.
    struct Slow(Vec<u8>);

    impl Write for Slow {
        fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
            let taken = buffer.len().min(3);
            self.0.extend_from_slice(&buffer[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn hashes_are_those_of_the_standards() {
        let hashes = ContentHashes::of(b"abc");
        assert_eq!(hex::encode(hashes.md5), "900150983cd24fb0d6963f7d28e17f72");
        assert_eq!(
            hex::encode(hashes.blake3),
            "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85"
        );
        assert!(hashes.agree_with(&Hash::md5(hashes.md5)));
        assert!(!hashes.agree_with(&Hash::md5([0; 16])));
    }

    #[test]
    fn readers_and_writers_hash_what_passes_and_nothing_else() {
        let content = b"some content that is longer than a few bytes";
        let mut reader = Hashing::new(&content[..]);
        io::copy(&mut reader, &mut io::sink()).unwrap();
        assert_eq!(reader.length(), content.len() as u64);
        assert_eq!(reader.finish().1, ContentHashes::of(content));

        let mut writer = Hashing::new(Slow(Vec::new()));
        writer.write_all(content).unwrap();
        let (inner, hashes) = writer.finish();
        assert_eq!(inner.0, content);
        assert_eq!(hashes, ContentHashes::of(content));
    }
}
