use std::io::Cursor;
use std::path::Path;

use super::*;

/// Sealed by the first version of this module.
const GOLDEN: &[u8] = include_bytes!("../../../fixtures/backup/passphrase-17.age");

/// Sealed by Debian's `age -p`, which asks for more work.
const MORE_WORK: &[u8] = include_bytes!("../../../fixtures/backup/passphrase-18.age");

fn passphrase() -> SecretString {
    "correct horse battery staple".into()
}

fn key() -> (Keys, Seal) {
    let identity = x25519::Identity::generate();
    let seal = Seal::Recipients(vec![identity.to_public()]);
    (Keys::new(None, vec![identity]), seal)
}

fn sealed(seal: &Seal, plain: &[u8]) -> Vec<u8> {
    let mut output = seal.seal(Vec::new()).expect("seals");
    output.write_all(plain).expect("takes all");
    output.finish().expect("ends")
}

fn opened(keys: &Keys, object: &[u8]) -> io::Result<Vec<u8>> {
    let mut plain = Vec::new();
    keys.open(object)?.read_to_end(&mut plain)?;
    Ok(plain)
}

fn refusal(keys: &Keys, object: &[u8]) -> OpenError {
    keys.open(object).err().expect("refused")
}

/// Bytes that say where they stand.
fn text(length: usize) -> Vec<u8> {
    let mut text = Vec::with_capacity(length + 8);
    for word in 0u64.. {
        text.extend_from_slice(&word.to_le_bytes());
        if text.len() >= length {
            break;
        }
    }
    text.truncate(length);
    text
}

fn broken(error: &io::Error) -> BrokenSeal {
    *error
        .get_ref()
        .and_then(|inner| inner.downcast_ref())
        .expect("a broken seal")
}

#[test]
fn what_is_sealed_opens_to_the_same_bytes() {
    let (keys, seal) = key();
    let chunk = CHUNK as usize;
    for length in [0, 1, chunk - 1, chunk, chunk + 1, 3 * chunk, 3 * chunk + 7] {
        let plain = text(length);
        let object = sealed(&seal, &plain);
        assert_eq!(opened(&keys, &object).expect("opens"), plain, "{length}");
    }
    assert_eq!(sealed(&Seal::Plain, b"plain"), b"plain");
}

#[test]
fn each_of_several_identities_opens() {
    let identities: Vec<_> = (0..3).map(|_| x25519::Identity::generate()).collect();
    let recipients: Vec<_> = identities.iter().map(x25519::Identity::to_public).collect();
    let seal = Seal::Recipients(recipients);
    let object = sealed(&seal, b"content");
    for identity in identities {
        let stranger = x25519::Identity::generate();
        let keys = Keys::new(Some(passphrase()), vec![stranger, identity]);
        assert_eq!(opened(&keys, &object).expect("opens"), b"content");
    }
}

#[test]
fn a_passphrase_opens_what_it_sealed_now_and_earlier() {
    let keys = Keys::new(Some(passphrase()), Vec::new());
    let object = sealed(&Seal::Passphrase(passphrase()), b"content");
    assert_eq!(opened(&keys, &object).expect("opens"), b"content");
    assert!(
        String::from_utf8_lossy(&object).contains(" 17\n"),
        "the work factor is fixed"
    );
    assert_eq!(opened(&keys, GOLDEN).expect("opens"), b"a snapshot\n");
}

#[test]
fn a_wrong_key_a_missing_one_and_no_age_file_are_told_apart() {
    let (keys, seal) = key();
    let object = sealed(&seal, b"content");
    let with_passphrase = Keys::new(Some("wrong".into()), Vec::new());
    assert!(matches!(
        refusal(&with_passphrase, &object),
        OpenError::NoIdentity
    ));
    assert!(matches!(
        refusal(&with_passphrase, GOLDEN),
        OpenError::WrongPassphrase
    ));
    assert!(matches!(refusal(&keys, GOLDEN), OpenError::NoPassphrase));
    let (strangers, _) = key();
    let other = refusal(&strangers, &object);
    assert!(matches!(other, OpenError::OtherKeys { tried: 1 }));
    assert!(other.is_about_keys());
    assert_eq!(
        other.to_string(),
        "it is sealed to other keys than that of the one identity here (or the first bytes of the object are damaged: \
         age cannot tell these apart)"
    );
    for other in [&b"\x1f\x8b\x08"[..], b"Salted__", b"bge"] {
        assert!(matches!(refusal(&keys, other), OpenError::NotAge));
    }
    let mut newer = object.clone();
    newer[20] = b'9';
    let newer = refusal(&keys, &newer);
    assert!(matches!(newer, OpenError::Newer), "{newer:?}");
}

#[test]
fn more_work_than_ows_asks_for_is_refused_before_it_is_done() {
    let keys = Keys::new(Some(passphrase()), Vec::new());
    assert_eq!(
        refusal(&keys, MORE_WORK).to_string(),
        "its passphrase takes 2^18 of scrypt's work, and `ows` seals with 2^17: it is not from `ows`, or was changed \
         (`age -d` opens it if it is whole)"
    );
    let at = GOLDEN.windows(4).position(|bytes| bytes == b" 17\n");
    let at = at.expect("the factor");
    let mut object = GOLDEN.to_vec();
    object[at + 1..at + 3].copy_from_slice(b"63");
    let error = refusal(&keys, &object);
    assert!(matches!(error, OpenError::TooMuchWork { factor: 63 }));
}

#[test]
fn the_longest_list_of_recipients_still_opens() {
    let identity = x25519::Identity::generate();
    let recipient = || x25519::Identity::generate().to_public().to_string();
    let mut texts: Vec<_> = (1..MOST_RECIPIENTS).map(|_| recipient()).collect();
    texts.push(identity.to_public().to_string());
    let seal = Seal::new(&Encryption::Recipients(texts.clone())).expect("allowed");
    let keys = Keys::new(None, vec![identity]);
    assert_eq!(opened(&keys, &sealed(&seal, b"x")).expect("opens"), b"x");
    texts.push(recipient());
    Seal::new(&Encryption::Recipients(texts)).expect_err("one too many");
}

#[test]
fn a_header_without_an_end_is_not_read_for_ever() {
    let (keys, _) = key();
    let endless = io::Read::chain(
        &b"age-encryption.org/v1\n"[..],
        Cursor::new(b"-> X25519 aaaa\n".repeat(1 << 20)),
    );
    let mut input = Counted(endless, 0);
    assert!(matches!(
        keys.open(&mut input).err(),
        Some(OpenError::BadHeader)
    ));
    assert!(
        input.1 <= LONGEST_HEADER + 2 * CHUNK,
        "{} bytes read",
        input.1
    );
    let line = io::Read::chain(&b"age-encryption.org/v1\n-> X"[..], io::repeat(b'a'));
    let mut input = Counted(line, 0);
    assert!(keys.open(&mut input).is_err());
    assert!(
        input.1 <= LONGEST_HEADER + 2 * CHUNK,
        "{} bytes read",
        input.1
    );
}

struct Counted<R>(R, u64);

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.0.read(buffer)?;
        self.1 += count as u64;
        Ok(count)
    }
}

#[test]
fn no_flipped_bit_opens_to_something_else() {
    let (keys, seal) = key();
    let plain = text(200);
    let object = sealed(&seal, &plain);
    for bit in 0..object.len() * 8 {
        let mut damaged = object.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        opened(&keys, &damaged).expect_err("damaged");
    }
}

#[test]
fn no_truncation_reads_as_whole() {
    let (keys, seal) = key();
    let plain = text(2 * CHUNK as usize + 100);
    let object = sealed(&seal, &plain);
    let header = object.len() - plain.len() - 3 * 16;
    for length in (0..header + 40).chain(object.len() - 40..object.len()) {
        let error = opened(&keys, &object[..length]).expect_err("cut off");
        if length < header {
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{length}");
        }
    }
    let second = header + CHUNK as usize + 16;
    let error = opened(&keys, &object[..second]).expect_err("cut off");
    assert_eq!(broken(&error), BrokenSeal::CutOff { at: CHUNK });
    let error = opened(&keys, &object[..second + 5]).expect_err("cut off");
    assert_eq!(broken(&error), BrokenSeal::BadEnd { at: CHUNK });
    let mut longer = object;
    longer.push(0);
    let error = opened(&keys, &longer).expect_err("too long");
    assert_eq!(broken(&error), BrokenSeal::BadEnd { at: 2 * CHUNK });
}

#[test]
fn chunks_that_are_moved_repeated_or_left_out_do_not_open() {
    let (keys, seal) = key();
    let object = sealed(&seal, &text(4 * CHUNK as usize));
    let whole = CHUNK as usize + 16;
    let header = object.len() - 4 * whole;
    let chunks: Vec<&[u8]> = object[header..].chunks(whole).collect();
    for (order, at) in [
        (&[1, 0, 2, 3][..], 0),
        (&[0, 0, 1, 2, 3], CHUNK),
        (&[0, 2, 3], CHUNK),
        (&[0, 1, 3], 2 * CHUNK),
        (&[0, 1, 2, 2], 3 * CHUNK),
    ] {
        let mut other = object[..header].to_vec();
        for chunk in order {
            other.extend_from_slice(chunks[*chunk]);
        }
        let mut stream = keys.open(other.as_slice()).expect("its header is good");
        let mut read = Vec::new();
        let error = stream.read_to_end(&mut read).expect_err("damaged");
        assert_eq!(broken(&error), BrokenSeal::Damaged { at }, "{order:?}");
        assert_eq!(read.len() as u64, at, "what stands before it is good");
        assert_eq!(
            broken(&stream.read(&mut [0]).expect_err("for good")),
            BrokenSeal::Damaged { at }
        );
    }
}

#[test]
fn any_place_can_be_read_without_what_stands_before_it_or_the_end() {
    let (keys, seal) = key();
    let plain = text(5 * CHUNK as usize + 100);
    let object = sealed(&seal, &plain);
    let end = object.len();
    let mut places = vec![
        0,
        1,
        CHUNK - 1,
        CHUNK,
        CHUNK + 1,
        3 * CHUNK,
        2,
        4 * CHUNK + 50,
    ];
    places.extend([plain.len() as u64 - 1, 4 * CHUNK]);
    // The last bytes are out of reach until they are asked for.
    let mut stream = keys
        .open(Fenced(Cursor::new(&object), end - 90))
        .expect("opens");
    for place in places {
        if place > 5 * CHUNK {
            continue;
        }
        assert_eq!(stream.seek(SeekFrom::Start(place)).expect("seeks"), place);
        let mut read = [0; 300];
        stream.read_exact(&mut read[..]).expect("reads");
        let from = place as usize;
        assert_eq!(read[..], plain[from..from + 300], "{place}");
    }
    let unsealed = keys.unseal(true, Cursor::new(&object)).expect("opens");
    let header = object.len() as u64 - plain.len() as u64 - 6 * TAG;
    assert_eq!(unsealed.stored_end(0), header);
    assert_eq!(unsealed.stored_end(1), header + CHUNK + TAG);
    assert_eq!(unsealed.stored_end(CHUNK), header + CHUNK + TAG);
    assert_eq!(unsealed.stored_end(CHUNK + 1), header + 2 * (CHUNK + TAG));
    let mut stream = keys.open(Cursor::new(&object)).expect("opens");
    let length = plain.len() as u64;
    assert_eq!(stream.seek(SeekFrom::End(-5)).expect("seeks"), length - 5);
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).expect("reads");
    assert_eq!(rest, plain[plain.len() - 5..]);
}

/// Fails where it is read behind a place.
struct Fenced<R>(R, usize);

impl<R: Read + Seek> Read for Fenced<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let at = usize::try_from(self.0.stream_position()?).expect("small");
        assert!(at < self.1, "read at {at}");
        let most = buffer.len().min(self.1 - at);
        self.0.read(&mut buffer[..most])
    }
}

impl<R: Seek> Seek for Fenced<R> {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        assert!(!matches!(position, SeekFrom::End(_)), "no look at the end");
        self.0.seek(position)
    }
}

#[test]
fn a_failure_of_the_network_is_not_told_as_damage() {
    struct Failing(Cursor<Vec<u8>>);
    impl Read for Failing {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.0.position() > CHUNK {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "the network"));
            }
            let most = buffer.len().min(1000);
            self.0.read(&mut buffer[..most])
        }
    }
    let (keys, seal) = key();
    let object = sealed(&seal, &text(2 * CHUNK as usize));
    let mut stream = keys.open(Failing(Cursor::new(object))).expect("opens");
    let error = stream.read_to_end(&mut Vec::new()).expect_err("fails");
    assert_eq!(error.to_string(), "the network");
}

#[test]
fn the_configuration_says_how_and_the_manifest_is_told() {
    assert!(!Seal::new(&Encryption::None).expect("plain").is_on());
    let seal = Seal::new(&Encryption::Passphrase(passphrase())).expect("a passphrase");
    assert_eq!(seal.describe(), manifest::Encryption::Passphrase);
    assert!(!format!("{seal:?}").contains("horse"));
    let recipient = "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj".to_owned();
    let twice = vec![recipient.clone(), recipient];
    let seal = Seal::new(&Encryption::Recipients(twice)).expect("recipients");
    let manifest::Encryption::Recipients { fingerprints } = seal.describe() else {
        panic!("recipients");
    };
    assert_eq!(fingerprints, ["6a804773982840fa"]);
    let wrong = Encryption::Recipients(vec!["AGE-SECRET-KEY-1QQQ".into()]);
    let failure = Seal::new(&wrong).expect_err("no public key");
    assert!(!failure.to_string().contains("QQQ"));
}

#[test]
fn identity_files_are_read_and_their_place_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("key.txt");
    let new = keygen("2026-01-31T23:59:59Z".parse().expect("a time"));
    std::fs::write(&file, secrecy::ExposeSecret::expose_secret(&new.identity)).expect("written");
    let keys = Keys::read(None, std::slice::from_ref(&file)).expect("reads");
    assert_eq!(keys.identities().len(), 1);
    let seal = Seal::new(&Encryption::Recipients(vec![new.recipient])).expect("its recipient");
    assert_eq!(opened(&keys, &sealed(&seal, b"x")).expect("opens"), b"x");
    let missing = Path::new("/nowhere/key.txt").to_path_buf();
    let failure = Keys::read(None, &[missing]).expect_err("is missing");
    assert_eq!(
        failure.to_string(),
        "could not read the identity file `/nowhere/key.txt`"
    );
    assert_eq!(failure.kind.exit_code(), 2);
}
