//! Memory for the parts of large files, used again and again.
//!
//! A fresh allocation of some megabytes for each part costs page faults, and allocators keep what other threads have
//! freed: ten files of 100 MB left 200 MiB behind. How many buffers there are at once is bounded by the budget that
//! transfers share; this only keeps them.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

/// Buffers that nobody uses now.
#[derive(Debug, Default)]
pub struct Buffers {
    idle: Mutex<Vec<Vec<u8>>>,
}

impl Buffers {
    /// A buffer of `length` bytes, whose content is whatever it held before.
    pub fn take(self: &Arc<Self>, length: usize) -> Buffer {
        let idle = self
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        let mut bytes = idle.unwrap_or_default();
        if bytes.capacity() < length {
            // Growing would copy what nobody wants.
            bytes = Vec::new();
        }
        bytes.resize(length, 0);
        Buffer {
            bytes,
            home: Arc::clone(self),
        }
    }
}

/// One buffer; it goes back where it came from when the last user drops it.
#[derive(Debug)]
pub struct Buffer {
    bytes: Vec<u8>,
    home: Arc<Buffers>,
}

impl Buffer {
    /// To be filled.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// To be read by many.
    pub fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        self.home
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_used_again_once_nobody_reads_it() {
        let buffers = Arc::new(Buffers::default());
        let mut first = buffers.take(1000);
        first.as_mut_slice().fill(7);
        let address = first.as_ref().as_ptr();
        let shared = first.freeze();
        let second = buffers.take(1000);
        assert_ne!(second.as_ref().as_ptr(), address);
        let copy = shared.clone();
        drop(shared);
        assert!(copy.iter().all(|byte| *byte == 7));
        drop(copy);
        let third = buffers.take(600);
        assert_eq!(
            (third.as_ref().as_ptr(), third.as_ref().len()),
            (address, 600)
        );
    }
}
