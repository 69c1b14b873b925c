//! Reads what `openssl enc -aes-256-cbc -salt -pbkdf2 -iter 100000` wrote: the encrypted snapshots of the old plugin.
//!
//! The format is `Salted__`, eight bytes of salt, then AES-256-CBC with PKCS#7 padding; key and first vector come from
//! PBKDF2-HMAC-SHA256. **It proves nothing**: there is no check over the content, a changed bit garbles sixteen bytes and
//! flips one in the next sixteen, and whoever can write to the storage can aim that. What the old plugin packed is gzip, and
//! that has three bytes at its beginning which are always the same, and a CRC at its end. So
//!
//! - a first block that is no beginning of gzip means a wrong passphrase ([`LegacyError::WrongPassphrase`]). Damage within
//!   the first 24 bytes of an object looks the same, and one wrong passphrase in 16 million passes;
//! - a length that is no whole number of blocks means that the object was cut off ([`LegacyError::CutOff`]);
//! - an impossible padding behind a right beginning means that the end is missing or damaged ([`LegacyError::BadEnd`]).
//!   One truncation in 256 passes here, and is found by gzip;
//! - damage in between is found by gzip and tar alone.
//!
//! Streams: 64 KiB at a time, whatever the size.

use std::io::{self, Read};

use aes::Aes256;
use aes::cipher::{Block, BlockModeDecrypt, KeyIvInit};
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

/// What every file of `openssl enc -salt` begins with.
const MAGIC: &[u8; 8] = b"Salted__";

/// What the plugin told openssl.
const ITERATIONS: u32 = 100_000;

/// The length of a block.
const BLOCK: usize = 16;

/// How much is decrypted at a time.
const CHUNK: usize = 4096 * BLOCK;

/// What every gzip stream begins with: its magic, and deflate as the only method.
const GZIP: &[u8; 3] = b"\x1f\x8b\x08";

type Cbc = cbc::Decryptor<Aes256>;

/// Why a snapshot of the old plugin cannot be decrypted.
#[derive(Debug, thiserror::Error)]
pub enum LegacyError {
    /// It does not begin as openssl's files do.
    #[error("it was not encrypted by `openssl enc -salt`, or its beginning is damaged")]
    NotOpenssl,
    /// What comes out is no gzip.
    #[error(
        "the passphrase is wrong (or the first bytes of the object are damaged: this old format cannot tell)"
    )]
    WrongPassphrase,
    /// Its length is impossible.
    #[error("it was cut off")]
    CutOff,
    /// Its last block is impossible, while its first one is right.
    #[error("its end is missing or damaged")]
    BadEnd,
    /// It could not be read.
    #[error("it could not be read")]
    Io(#[source] io::Error),
}

impl From<LegacyError> for io::Error {
    fn from(error: LegacyError) -> Self {
        match error {
            LegacyError::Io(error) => error,
            LegacyError::CutOff => Self::new(io::ErrorKind::UnexpectedEof, error),
            other => Self::new(io::ErrorKind::InvalidData, other),
        }
    }
}

/// Decrypts a snapshot of the old plugin while it is read. Errors in mid-stream carry a [`LegacyError`].
pub struct LegacyReader<R> {
    input: R,
    cipher: Cbc,
    /// Decrypted bytes: those up to `ready` may be handed out, those behind it may yet turn out to be padding.
    buffer: Vec<u8>,
    /// Where the bytes begin that were not handed out yet.
    next: usize,
    ready: usize,
    ended: bool,
}

impl<R: Read> LegacyReader<R> {
    /// Reads the beginning of `input` and checks that `passphrase` opens it. Takes a noticeable moment: that is what the
    /// 100,000 rounds are for.
    pub fn open(mut input: R, passphrase: &SecretString) -> Result<Self, LegacyError> {
        let mut head = [0; 16];
        let length = read_full(&mut input, &mut head).map_err(LegacyError::Io)?;
        let (magic, salt) = head.split_at(MAGIC.len());
        if magic == MAGIC && length == head.len() {
            return Self::with_cipher(input, cipher(&derive(passphrase, salt)));
        }
        if length < head.len() && MAGIC.starts_with(&head[..length.min(MAGIC.len())]) {
            return Err(LegacyError::CutOff);
        }
        Err(LegacyError::NotOpenssl)
    }

    /// Begins behind the salt.
    fn with_cipher(input: R, cipher: Cbc) -> Result<Self, LegacyError> {
        let mut reader = Self {
            input,
            cipher,
            buffer: Vec::new(),
            next: 0,
            ready: 0,
            ended: false,
        };
        reader.fill(BLOCK)?;
        if reader.buffer.starts_with(GZIP) {
            Ok(reader)
        } else if reader.buffer.is_empty() {
            Err(LegacyError::CutOff)
        } else {
            Err(LegacyError::WrongPassphrase)
        }
    }

    /// Decrypts up to `length` more bytes, a whole number of blocks. All bytes that were ready have been handed out.
    fn fill(&mut self, length: usize) -> Result<(), LegacyError> {
        self.buffer.drain(..self.ready);
        self.next = 0;
        let held = self.buffer.len();
        self.buffer.resize(held + length, 0);
        let read = read_full(&mut self.input, &mut self.buffer[held..]).map_err(LegacyError::Io)?;
        self.ready = 0;
        self.ended = read < length;
        self.buffer.truncate(held + read);
        if !read.is_multiple_of(BLOCK) {
            return Err(LegacyError::CutOff);
        }
        let (blocks, _) = Block::<Cbc>::slice_as_chunks_mut(&mut self.buffer[held..]);
        self.cipher.decrypt_blocks(blocks);
        let behind = match self.buffer.last_chunk::<BLOCK>() {
            Some(last) if self.ended => padding(last).ok_or(LegacyError::BadEnd)?,
            Some(_) => BLOCK,
            None => 0,
        };
        self.ready = self.buffer.len() - behind;
        Ok(())
    }
}

impl<R: Read> Read for LegacyReader<R> {
    fn read(&mut self, output: &mut [u8]) -> io::Result<usize> {
        while self.next == self.ready && !self.ended {
            self.fill(CHUNK)?;
        }
        let ready = &self.buffer[self.next..self.ready];
        let count = ready.len().min(output.len());
        output[..count].copy_from_slice(&ready[..count]);
        self.next += count;
        Ok(count)
    }
}

/// 32 bytes of key, then 16 of the first vector, as `openssl enc -pbkdf2` derives them.
type Key = Zeroizing<[u8; 32 + BLOCK]>;

fn derive(passphrase: &SecretString, salt: &[u8]) -> Key {
    let mut key = Key::new([0; 32 + BLOCK]);
    pbkdf2::pbkdf2_hmac::<Sha256>(
        passphrase.expose_secret().as_bytes(),
        salt,
        ITERATIONS,
        &mut *key,
    );
    key
}

fn cipher(key: &Key) -> Cbc {
    let (mut cipher_key, mut vector) = (Zeroizing::new([0; 32]), [0; BLOCK]);
    cipher_key.copy_from_slice(&key[..32]);
    vector.copy_from_slice(&key[32..]);
    Cbc::new((&*cipher_key).into(), (&vector).into())
}

/// How many bytes of `last` are padding; `None` when that is impossible.
fn padding(last: &[u8; BLOCK]) -> Option<usize> {
    let length = usize::from(last[BLOCK - 1]);
    let padded = last.get(BLOCK.checked_sub(length)?..)?;
    (length > 0 && padded.iter().all(|byte| usize::from(*byte) == length)).then_some(length)
}

/// Reads until `buffer` is full or the input ends.
fn read_full(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match input.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};

    use flate2::read::GzDecoder;
    use proptest::prelude::*;

    use super::*;

    /// Made by GNU tar and OpenSSL 3 with the plugin's options.
    const GOLDEN: &[u8] =
        include_bytes!("../../fixtures/backup/backup-20260131T235959Z.tar.gz.enc");

    fn passphrase() -> SecretString {
        "correct horse battery staple".into()
    }

    /// A reader of `object` that does not derive the key again.
    fn reader(object: &[u8]) -> Result<LegacyReader<&[u8]>, LegacyError> {
        static KEY: std::sync::OnceLock<Key> = std::sync::OnceLock::new();
        let key = KEY.get_or_init(|| derive(&passphrase(), &GOLDEN[8..16]));
        LegacyReader::with_cipher(&object[16..], cipher(key))
    }

    fn decrypt(object: &[u8]) -> Result<Vec<u8>, io::Error> {
        let mut plain = Vec::new();
        reader(object)?.read_to_end(&mut plain)?;
        Ok(plain)
    }

    fn unpack(object: &[u8]) -> Result<Vec<u8>, io::Error> {
        let mut tar = Vec::new();
        GzDecoder::new(reader(object)?).read_to_end(&mut tar)?;
        Ok(tar)
    }

    fn names(tar: &[u8]) -> Vec<String> {
        let mut archive = tar::Archive::new(tar);
        let entries = archive.entries().expect("a tar");
        entries
            .map(|entry| {
                String::from_utf8_lossy(&entry.expect("an entry").path_bytes()).into_owned()
            })
            .collect()
    }

    #[test]
    fn a_snapshot_of_the_old_plugin_opens() {
        let mut tar = Vec::new();
        let reader = LegacyReader::open(GOLDEN, &passphrase()).expect("opens");
        GzDecoder::new(reader)
            .read_to_end(&mut tar)
            .expect("unpacks");
        assert_eq!(
            names(&tar),
            ["workspace/", "workspace/MEMORY.md", "openclaw.json"]
        );
    }

    #[test]
    fn a_wrong_passphrase_is_told_from_damage() {
        let error = LegacyReader::open(GOLDEN, &"wrong".into())
            .err()
            .expect("refused");
        assert!(matches!(error, LegacyError::WrongPassphrase), "{error:?}");
        for other in [
            &b"\x1f\x8b\x08 a plain snapshot"[..],
            b"Salted_!",
            b"age-encryption.org/v1\n",
        ] {
            let error = LegacyReader::open(other, &passphrase())
                .err()
                .expect("refused");
            assert!(matches!(error, LegacyError::NotOpenssl), "{error:?}");
        }
        for short in 0..=16 {
            let error = LegacyReader::open(&GOLDEN[..short], &passphrase())
                .err()
                .expect("refused");
            assert!(matches!(error, LegacyError::CutOff), "{short}: {error:?}");
        }
        let mut damaged = GOLDEN.to_vec();
        let last = damaged.len() - 1;
        damaged[last] ^= 1;
        let error = decrypt(&damaged).expect_err("a damaged end");
        assert_eq!(error.to_string(), "its end is missing or damaged");
    }

    #[test]
    fn no_truncation_unpacks() {
        for length in 17..GOLDEN.len() {
            let cut_off = &GOLDEN[..length];
            unpack(cut_off).expect_err("cut off");
            if !length.is_multiple_of(BLOCK) {
                let error = decrypt(cut_off).expect_err("cut off");
                assert_eq!(error.to_string(), "it was cut off", "{length}");
            }
        }
    }

    #[test]
    fn no_flipped_bit_unpacks_as_something_else() {
        let tar = unpack(GOLDEN).expect("unpacks");
        for bit in 16 * 8..GOLDEN.len() * 8 {
            let mut damaged = GOLDEN.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            if let Ok(unpacked) = unpack(&damaged) {
                assert_eq!(unpacked, tar, "bit {bit}");
            }
        }
    }

    #[test]
    fn impossible_paddings_are_known() {
        assert_eq!(padding(&[16; 16]), Some(16));
        assert_eq!(padding(b"fifteen bytes..\x01"), Some(1));
        for wrong in [&[0; 16], &[17; 16], &[255; 16], b"fourteen bytes\x01\x02"] {
            assert_eq!(padding(wrong), None, "{wrong:?}");
        }
    }

    /// What real openssl makes of `plain`; `None` where there is none.
    fn openssl(plain: &[u8], passphrase: &str) -> Option<Vec<u8>> {
        let required = std::env::var("OWS_REQUIRE_PEERS").is_ok_and(|value| value == "1");
        let child = Command::new("openssl")
            .args([
                "enc",
                "-aes-256-cbc",
                "-salt",
                "-pbkdf2",
                "-iter",
                "100000",
                "-pass",
                "env:OPENCLAW_BACKUP_PASS",
            ])
            .env("OPENCLAW_BACKUP_PASS", passphrase)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut child = match child {
            Ok(child) => child,
            Err(_) if !required => {
                writeln!(std::io::stderr(), "skipped: openssl was not found")
                    .expect("stderr is open");
                return None;
            }
            Err(error) => panic!("openssl is required: {error}"),
        };
        let mut stdin = child.stdin.take().expect("a pipe");
        let plain = plain.to_vec();
        let writer = std::thread::spawn(move || stdin.write_all(&plain));
        let output = child.wait_with_output().expect("ends");
        writer.join().expect("joins").expect("writes");
        assert!(output.status.success());
        Some(output.stdout)
    }

    #[test]
    fn what_openssl_encrypts_is_decrypted_at_every_length_around_a_block_and_a_chunk() {
        // Real lengths decide about paddings and chunks; the content only has to begin as gzip does.
        for length in [
            3,
            15,
            16,
            17,
            CHUNK - 1,
            CHUNK,
            CHUNK + 1,
            CHUNK + BLOCK,
            3 * CHUNK + 5,
        ] {
            let plain: Vec<u8> = GZIP.iter().copied().cycle().take(length).collect();
            let word = "p\u{e4}ss w\u{f6}rd'\"$";
            let Some(sealed) = openssl(&plain, word) else {
                return;
            };
            let mut opened = Vec::new();
            LegacyReader::open(sealed.as_slice(), &word.into())
                .expect("opens")
                .read_to_end(&mut opened)
                .expect("decrypts");
            assert!(opened == plain, "{length}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_break_the_reader(bytes in prop::collection::vec(any::<u8>(), 16..200), piece in 1usize..40) {
            let _ = decrypt(&bytes);
            // However the bytes arrive, what comes out is the same.
            let mut trickle = reader(GOLDEN).expect("opens");
            let (mut out, mut buffer) = (Vec::new(), vec![0; piece]);
            loop {
                let count = trickle.read(&mut buffer).expect("reads");
                if count == 0 { break; }
                out.extend_from_slice(&buffer[..count]);
            }
            prop_assert_eq!(out, decrypt(GOLDEN).expect("decrypts"));
        }
    }
}
