//! Payloads that do not compress, made from one number.

/// Random bytes, and payloads cut from them at changing places.
#[derive(Clone)]
pub(crate) struct Payloads {
    bytes: Vec<u8>,
    length: usize,
}

const CHOICES: usize = 1 << 16;

impl Payloads {
    pub(crate) fn new(length: usize) -> Self {
        let mut random = Random(0x9E37_79B9_7F4A_7C15);
        let bytes = (0..(CHOICES + length).div_ceil(8)).flat_map(|_| random.next().to_le_bytes()).collect();
        Self { bytes, length }
    }

    /// Bytes of each.
    pub(crate) fn length(&self) -> usize {
        self.length
    }

    /// The payload of that number.
    pub(crate) fn at(&self, number: u64) -> &[u8] {
        let from = (number as usize).wrapping_mul(61) % CHOICES;
        &self.bytes[from..from + self.length]
    }
}

/// A small generator of random numbers: xorshift64*.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }
}
