//! Reads ahead on a thread of its own, so that inflating goes on while what came before is hashed and written.
//!
//! Memory: [`PIECES`] + 2 pieces of [`PIECE`]. The thread ends when the reader is dropped, at the latest when the piece that
//! it waits for has come.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

/// How much is read at a time.
const PIECE: usize = 256 << 10;

/// How many pieces wait.
const PIECES: usize = 6;

/// What another thread reads ahead.
pub struct Ahead {
    pieces: Receiver<Piece>,
    /// Pieces to fill again.
    spare: SyncSender<Vec<u8>>,
    piece: Piece,
    at: usize,
}

/// Bytes, and what comes behind them: more, the end, or an error. What came before an error is good.
#[derive(Default)]
struct Piece {
    bytes: Vec<u8>,
    end: Option<io::Result<()>>,
}

impl Ahead {
    /// Begins to read `input`.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub fn new(mut input: impl Read + Send + 'static) -> io::Result<Self> {
        let (full, pieces) = sync_channel(PIECES);
        let (spare, refill) = sync_channel::<Vec<u8>>(PIECES + 2);
        thread::Builder::new()
            .name("read-ahead".to_owned())
            .spawn(move || {
                loop {
                    let piece = fill(&mut input, refill.try_recv().unwrap_or_default());
                    let is_last = piece.end.is_some();
                    // When nobody reads any more, nothing is to be told.
                    if full.send(piece).is_err() || is_last {
                        return;
                    }
                }
            })?;
        Ok(Self {
            pieces,
            spare,
            piece: Piece::default(),
            at: 0,
        })
    }
}

fn fill(input: &mut impl Read, mut bytes: Vec<u8>) -> Piece {
    bytes.clear();
    let end = match input.take(PIECE as u64).read_to_end(&mut bytes) {
        Ok(count) if count == PIECE => None,
        Ok(_) => Some(Ok(())),
        Err(error) => Some(Err(error)),
    };
    Piece { bytes, end }
}

impl Read for Ahead {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        while self.at == self.piece.bytes.len() {
            match self.piece.end.take() {
                None => {}
                Some(Ok(())) => {
                    self.piece.end = Some(Ok(()));
                    return Ok(0);
                }
                // Reading on after an error finds that the thread has ended, which is one too.
                Some(Err(error)) => return Err(error),
            }
            // Not taken when there are enough of them.
            let _enough = self.spare.try_send(std::mem::take(&mut self.piece.bytes));
            self.at = 0;
            self.piece = self
                .pieces
                .recv()
                .map_err(|_| io::Error::other("the thread that reads ahead has ended"))?;
        }
        let ready = &self.piece.bytes[self.at..];
        let count = ready.len().min(buffer.len());
        buffer[..count].copy_from_slice(&ready[..count]);
        self.at += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes, then an error.
    struct Failing(usize);

    impl Read for Failing {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.0 == 0 {
                return Err(io::Error::other("the end of it"));
            }
            let count = buffer.len().min(self.0).min(1000);
            buffer[..count].fill(7);
            self.0 -= count;
            Ok(count)
        }
    }

    #[test]
    fn all_bytes_come_in_order_and_the_end_is_the_end() {
        for length in [0, 1, PIECE - 1, PIECE, PIECE + 1, 20 * PIECE + 3] {
            let content: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            let mut ahead = Ahead::new(io::Cursor::new(content.clone())).expect("a thread");
            let mut read = Vec::new();
            ahead.read_to_end(&mut read).expect("reads");
            assert!(read == content, "{length}");
            assert_eq!(ahead.read(&mut [0]).expect("the end"), 0);
        }
    }

    #[test]
    fn what_came_before_an_error_is_handed_out_before_it() {
        for length in [0, 5, PIECE, 3 * PIECE + 5] {
            let mut ahead = Ahead::new(Failing(length)).expect("a thread");
            let mut read = Vec::new();
            let error = ahead.read_to_end(&mut read).expect_err("fails");
            assert_eq!(
                (read.len(), error.to_string()),
                (length, "the end of it".to_owned())
            );
            ahead.read(&mut [0]).expect_err("for good");
        }
    }

    #[test]
    fn a_reader_that_goes_away_ends_the_thread() {
        let (alive, gone) = sync_channel::<()>(0);
        struct Endless {
            _alive: SyncSender<()>,
        }
        impl Read for Endless {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                Ok(buffer.len())
            }
        }
        let mut ahead = Ahead::new(Endless { _alive: alive }).expect("a thread");
        ahead.read_exact(&mut [0; 10]).expect("reads");
        drop(ahead);
        // The sender goes with the thread.
        gone.recv().expect_err("nothing is ever sent");
    }
}
