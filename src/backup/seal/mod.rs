//! Sealing with age, and opening again: the only place that encrypts.
//!
//! What is sealed here opens with the ordinary `age`: a passphrase (scrypt), or X25519 recipients, never both. The chunks of
//! an age stream are authenticated one by one, with their place and which is the last: what was changed, reordered,
//! repeated or cut off does not decrypt. What is *not* proven is who sealed it: a recipient is a public key.
//!
//! - scrypt's work factor is 2^17 both ways, which is 128 MiB for a moment per object. A higher one, which whoever runs the
//!   storage could ask for, is refused before any work is done.
//! - A header is read up to [`LONGEST_HEADER`].
//! - A wrong key, a missing one, damage and a missing end are told apart ([`OpenError`], [`BrokenSeal`]) as far as age
//!   allows: a damaged stanza is, to whoever holds the key, the same as one for another key.

mod error;
mod keys;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use age::stream::{StreamReader, StreamWriter};
use age::{DecryptError, Decryptor, Encryptor, scrypt, x25519};
use secrecy::SecretString;

use super::manifest;
use crate::config::Encryption;
use crate::error::{Failure, Outcome};
pub use error::{BrokenSeal, OpenError};
pub use keys::{Keys, NewKey, fingerprint, keygen};

/// scrypt's work factor as a power of two: what `age` itself took for years, so it opens everywhere.
const WORK_FACTOR: u8 = 17;

/// The longest header that is read: age's parser begins anew with each line. One of [`MOST_RECIPIENTS`] is shorter.
pub const LONGEST_HEADER: u64 = 64 << 10;

/// To how many keys a snapshot can be sealed.
pub const MOST_RECIPIENTS: usize = 256;

/// How much of the plain text one chunk of an age stream holds.
const CHUNK: u64 = 64 << 10;

/// How much longer a chunk is when it is sealed.
const TAG: u64 = 16;

/// How what is written is sealed.
#[derive(Clone)]
pub enum Seal {
    /// Not at all.
    Plain,
    /// With a passphrase.
    Passphrase(SecretString),
    /// To the owners of these keys.
    Recipients(Vec<x25519::Recipient>),
}

impl fmt::Debug for Seal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain => formatter.write_str("Plain"),
            Self::Passphrase(_) => formatter.write_str("Passphrase"),
            Self::Recipients(recipients) => write!(formatter, "Recipients({})", recipients.len()),
        }
    }
}

impl Seal {
    /// As the configuration says.
    pub fn new(encryption: &Encryption) -> Outcome<Self> {
        match encryption {
            Encryption::None => Ok(Self::Plain),
            Encryption::Passphrase(passphrase) => Ok(Self::Passphrase(passphrase.clone())),
            Encryption::Recipients(texts) => {
                let mut recipients = Vec::new();
                for (text, number) in texts.iter().zip(1..) {
                    let recipient = text.parse().map_err(|_: &str| {
                        // Never shown: it may be the secret key.
                        Failure::usage(format!(
                            "number {number} of `backup.recipients` is no age public key"
                        ))
                        .with_hint("write `age1...` keys there; `ows backup keygen` makes one")
                    })?;
                    if !recipients.contains(&recipient) {
                        recipients.push(recipient);
                    }
                }
                if recipients.len() > MOST_RECIPIENTS {
                    return Err(Failure::usage(format!(
                        "`backup.recipients` has {} keys; allowed: {MOST_RECIPIENTS}",
                        recipients.len()
                    )));
                }
                Ok(Self::Recipients(recipients))
            }
        }
    }

    /// What the manifest says about it.
    pub fn describe(&self) -> manifest::Encryption {
        match self {
            Self::Plain => manifest::Encryption::None,
            Self::Passphrase(_) => manifest::Encryption::Passphrase,
            Self::Recipients(recipients) => manifest::Encryption::Recipients {
                fingerprints: recipients.iter().map(fingerprint).collect(),
            },
        }
    }

    /// Whether anything is sealed.
    pub fn is_on(&self) -> bool {
        !matches!(self, Self::Plain)
    }

    /// Begins to seal what is written into `output`. With a passphrase this takes a noticeable moment.
    pub fn seal<W: Write>(&self, output: W) -> io::Result<Sealed<W>> {
        let encryptor = match self {
            Self::Plain => return Ok(Sealed(State::Plain(output))),
            Self::Passphrase(passphrase) => {
                let mut recipient = scrypt::Recipient::new(passphrase.clone());
                recipient.set_work_factor(WORK_FACTOR);
                Encryptor::with_recipients(std::iter::once(&recipient as &dyn age::Recipient))
            }
            Self::Recipients(recipients) => Encryptor::with_recipients(
                recipients
                    .iter()
                    .map(|recipient| recipient as &dyn age::Recipient),
            ),
        };
        let stream = encryptor.map_err(io::Error::other)?.wrap_output(output)?;
        Ok(Sealed(State::Age(stream)))
    }
}

/// Seals what is written. Only [`Sealed::finish`] ends it: dropped, it leaves something that reads as cut off.
pub struct Sealed<W: Write>(State<W>);

enum State<W: Write> {
    Plain(W),
    Age(StreamWriter<W>),
}

impl<W: Write> Sealed<W> {
    /// Writes the end, and hands the output back.
    pub fn finish(self) -> io::Result<W> {
        match self.0 {
            State::Plain(output) => Ok(output),
            State::Age(stream) => stream.finish(),
        }
    }
}

impl<W: Write> Write for Sealed<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match &mut self.0 {
            State::Plain(output) => output.write(buffer),
            State::Age(stream) => stream.write(buffer),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.0 {
            State::Plain(output) => output.flush(),
            State::Age(stream) => stream.flush(),
        }
    }
}

impl Keys {
    /// Opens what `input` holds; reads its header only. Takes a noticeable moment with a passphrase.
    pub fn open<R: Read>(&self, input: R) -> Result<Opened<R>, OpenError> {
        let gate = Arc::new(GateState::default());
        let mut input = Gate {
            input: BufReader::with_capacity(CHUNK as usize, input),
            state: Arc::clone(&gate),
        };
        expect_age(&mut input)?;
        let decryptor =
            Decryptor::new_buffered(input).map_err(|error| header_error(error, &gate))?;
        let header = gate.header.load(Ordering::Relaxed);
        gate.open.store(true, Ordering::Relaxed);
        let stream = match (decryptor.is_scrypt(), self.passphrase()) {
            (true, None) => return Err(OpenError::NoPassphrase),
            (true, Some(passphrase)) => {
                let mut identity = scrypt::Identity::new(passphrase.clone());
                identity.set_max_work_factor(WORK_FACTOR);
                decryptor.decrypt(std::iter::once(&identity as &dyn age::Identity))
            }
            (false, _) if self.identities().is_empty() => return Err(OpenError::NoIdentity),
            (false, _) => decryptor.decrypt(
                self.identities()
                    .iter()
                    .map(|identity| identity as &dyn age::Identity),
            ),
        };
        let stream = stream.map_err(|error| match error {
            DecryptError::NoMatchingKeys => OpenError::OtherKeys {
                tried: self.identities().len(),
            },
            other => header_error(other, &gate),
        })?;
        Ok(Opened {
            stream,
            gate,
            header,
            at: 0,
            broken: None,
        })
    }
}

/// What was stored, sealed or not, as it was before.
pub enum Unsealed<R> {
    /// It was not sealed.
    Plain(R),
    /// It was.
    Age(Box<Opened<R>>),
}

impl Keys {
    /// Opens `input` where it is sealed, and takes it as it is where it is not.
    pub fn unseal<R: Read>(&self, is_sealed: bool, input: R) -> Result<Unsealed<R>, OpenError> {
        match is_sealed {
            true => Ok(Unsealed::Age(Box::new(self.open(input)?))),
            false => Ok(Unsealed::Plain(input)),
        }
    }
}

impl<R> Unsealed<R> {
    /// Up to which stored byte one must read for all before the byte `end` of what it holds.
    pub fn stored_end(&self, end: u64) -> u64 {
        match self {
            Self::Plain(_) => end,
            Self::Age(opened) => end
                .div_ceil(CHUNK)
                .saturating_mul(CHUNK + TAG)
                .saturating_add(opened.header),
        }
    }
}

impl<R: Read> Read for Unsealed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(input) => input.read(buffer),
            Self::Age(opened) => opened.read(buffer),
        }
    }
}

impl<R: Read + Seek> Seek for Unsealed<R> {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        match self {
            Self::Plain(input) => input.seek(position),
            Self::Age(opened) => opened.seek(position),
        }
    }
}

/// Whether `input` begins as age's files do.
fn expect_age(input: &mut impl BufRead) -> Result<(), OpenError> {
    const MAGIC: &[u8] = b"age-encryption.org/";
    // What is buffered may be shorter than what there is; its first bytes decide then.
    let begin = input.fill_buf().map_err(OpenError::Io)?;
    let common = begin.len().min(MAGIC.len());
    match begin[..common] == MAGIC[..common] {
        true if begin.is_empty() => Err(OpenError::CutOff),
        true => Ok(()),
        false => Err(OpenError::NotAge),
    }
}

fn header_error(error: DecryptError, gate: &GateState) -> OpenError {
    match error {
        DecryptError::DecryptionFailed | DecryptError::KeyDecryptionFailed => {
            OpenError::WrongPassphrase
        }
        DecryptError::ExcessiveWork { required, .. } => OpenError::TooMuchWork { factor: required },
        DecryptError::InvalidMac => OpenError::ChangedHeader,
        DecryptError::UnknownFormat => OpenError::Newer,
        DecryptError::Io(error) if gate.failed.load(Ordering::Relaxed) => OpenError::Io(error),
        DecryptError::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            OpenError::CutOff
        }
        _ => OpenError::BadHeader,
    }
}

/// What the two ends of an age stream must know of each other.
#[derive(Default)]
struct GateState {
    /// The header was read.
    open: AtomicBool,
    /// What lies below failed: an error that comes up is its own, and not about what it holds.
    failed: AtomicBool,
    /// What lies below has ended.
    ended: AtomicBool,
    /// How much of the header was read.
    header: AtomicU64,
}

/// Stands below age's reader: ends a header without end, and notes what happens below.
struct Gate<R> {
    input: BufReader<R>,
    state: Arc<GateState>,
}

impl<R: Read> Gate<R> {
    fn note(&self, result: io::Result<usize>, wanted: usize) -> io::Result<usize> {
        match &result {
            Ok(0) if wanted > 0 => self.state.ended.store(true, Ordering::Relaxed),
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                self.state.failed.store(true, Ordering::Relaxed);
            }
            _ => {}
        }
        result
    }
}

impl<R: Read> Read for Gate<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let result = self.input.read(buffer);
        if let (Ok(count), false) = (&result, self.state.open.load(Ordering::Relaxed)) {
            // The nonce, behind the lines of the header.
            self.state
                .header
                .fetch_add(*count as u64, Ordering::Relaxed);
        }
        self.note(result, buffer.len())
    }
}

impl<R: Read> BufRead for Gate<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let header = self.state.header.load(Ordering::Relaxed);
        if header > LONGEST_HEADER && !self.state.open.load(Ordering::Relaxed) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the header has no end",
            ));
        }
        let result = self.input.fill_buf().map(<[u8]>::len);
        self.note(result, 1)?;
        Ok(self.input.buffer())
    }

    fn consume(&mut self, amount: usize) {
        self.state
            .header
            .fetch_add(amount as u64, Ordering::Relaxed);
        self.input.consume(amount);
    }
}

impl<R: Read + Seek> Seek for Gate<R> {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        let result = self.input.seek(position);
        if result.is_err() {
            self.state.failed.store(true, Ordering::Relaxed);
        }
        self.state.ended.store(false, Ordering::Relaxed);
        result
    }
}

/// Reads what was sealed. Once an error came, all that follows is that error: nothing behind damage is ever handed out.
pub struct Opened<R> {
    stream: StreamReader<Gate<R>>,
    gate: Arc<GateState>,
    /// How long the header is.
    header: u64,
    at: u64,
    broken: Option<BrokenSeal>,
}

impl<R> Opened<R> {
    /// Finds out what `error` of the stream means.
    fn broke(&mut self, error: io::Error) -> io::Error {
        if self.gate.failed.swap(false, Ordering::Relaxed) {
            return error;
        }
        let at = self.at / CHUNK * CHUNK;
        let broken = match error.kind() {
            io::ErrorKind::UnexpectedEof => BrokenSeal::CutOff { at },
            _ if self.gate.ended.load(Ordering::Relaxed) => BrokenSeal::BadEnd { at },
            _ => BrokenSeal::Damaged { at },
        };
        self.broken = Some(broken);
        broken.into()
    }
}

impl<R: Read> Read for Opened<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(broken) = self.broken {
            return Err(broken.into());
        }
        // An empty read would decrypt a chunk all the same.
        if buffer.is_empty() {
            return Ok(0);
        }
        match self.stream.read(buffer) {
            Ok(count) => {
                self.at += count as u64;
                Ok(count)
            }
            Err(error) => Err(self.broke(error)),
        }
    }
}

impl<R: Read + Seek> Seek for Opened<R> {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        let target = match position {
            SeekFrom::Start(target) => Some(target),
            SeekFrom::Current(distance) => self.at.checked_add_signed(distance),
            SeekFrom::End(_) => None,
        };
        if let Some(broken) = self.broken {
            return Err(broken.into());
        }
        let Some(target) = target else {
            self.at = self
                .stream
                .seek(position)
                .map_err(|error| self.broke(error))?;
            return Ok(self.at);
        };
        // At the first byte of a chunk the crate looks whether that is the end, and reads the last chunk for it, which over a
        // network is a request of its own. From the byte before one simply reads on.
        let aligned = target > 0 && target.is_multiple_of(CHUNK);
        let first = target - u64::from(aligned);
        self.at = first;
        self.stream
            .seek(SeekFrom::Start(first))
            .map_err(|error| self.broke(error))?;
        if aligned {
            self.read_exact(&mut [0])?;
        }
        Ok(self.at)
    }
}
