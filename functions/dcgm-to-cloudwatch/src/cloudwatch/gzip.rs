//! Compresses the bodies that go to CloudWatch fast.
//!
//! The SDK compresses PutMetricData's too, always at level 6. That takes a third of a run's processor time and
//! saves a sixth of the bytes.
//! <https://docs.rs/aws-smithy-compression/latest/aws_smithy_compression/struct.CompressionOptions.html>

use std::sync::{Mutex, PoisonError};

use flate2::{Compress, CompressError, Compression, FlushCompress, Status};

/// The largest window of deflate, as a power of two.
const WINDOW_BITS: u8 = 15;

/// Compresses one body after the other. A compressor of its own for each would allocate some 300 kB each time.
#[derive(Debug)]
pub(crate) struct Packer(Mutex<Compress>);

impl Packer {
    /// A packer of a level from 1 to 9.
    pub(crate) fn new(level: u32) -> Self {
        let compressor = Compress::new_gzip(Compression::new(level), WINDOW_BITS);
        Self(Mutex::new(compressor))
    }

    /// A body, compressed.
    ///
    /// # Errors
    /// None: memory takes all that is written to it.
    pub(crate) fn pack(&self, body: &[u8]) -> Result<Vec<u8>, CompressError> {
        let mut compressor = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        compressor.reset();
        let mut packed = Vec::with_capacity(body.len() / 8 + 64);
        loop {
            let rest = &body[compressor.total_in() as usize..];
            let status = compressor.compress_vec(rest, &mut packed, FlushCompress::Finish)?;
            if status == Status::StreamEnd {
                return Ok(packed);
            }
            packed.reserve(packed.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read::GzDecoder;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn each_body_is_read_back_whatever_was_packed_before(
            level in 1u32..=9,
            bodies in prop::collection::vec((any::<Vec<u8>>(), 0usize..2_000), 1..5),
        ) {
            let packer = Packer::new(level);
            for (part, times) in bodies {
                let body = part.repeat(times);
                let mut read = Vec::new();
                GzDecoder::new(&packer.pack(&body).unwrap()[..]).read_to_end(&mut read).unwrap();
                prop_assert!(read == body);
            }
        }
    }
}
