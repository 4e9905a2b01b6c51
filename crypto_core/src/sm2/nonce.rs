//! The secret numbers k of signatures.
//!
//! Per chunk of signatures the kernel gives 32 bytes; keyed with d they become a key K = HMAC-SM3(d, entropy), and
//! k_i = HMAC-SM3(K, e_i ‖ i ‖ attempt), drawn again until 1 <= k < n. Kernel entropy alone would do; keyed with d and bound to
//! e, a broken generator still never gives one k to two messages (the idea of RFC 6979, hedged).
//! Nothing survives the call, so a fork cannot repeat a nonce.

use super::scalar::Scalar;
use crate::errors::Result;
use crate::random;
use crate::sm3::HmacSm3;
use zeroize::{Zeroize, Zeroizing};

/// The source of the nonces of one chunk.
pub struct Nonces {
    mac: HmacSm3,
    count: u64,
}

impl Nonces {
    /// Draw kernel entropy; `private` is HMAC-SM3 keyed with d.
    pub fn new(private: &HmacSm3) -> Result<Self> {
        let mut entropy = Zeroizing::new([0; 32]);
        random::fill(entropy.as_mut())?;
        let key = Zeroizing::new(private.mac(&[entropy.as_ref()]));
        Ok(Self {
            mac: HmacSm3::new(key.as_ref()),
            count: 0,
        })
    }

    /// A k for `digest`, uniform in 1..n and never the same twice. A candidate out of range has a chance of 2^-32 and
    /// tells nothing of the others.
    pub fn draw(&mut self, digest: &[u8; 32]) -> Scalar {
        loop {
            let input = self.next_input(digest);
            let mut candidate = self.mac.mac(&[&input]);
            let scalar = Scalar::from_bytes_nonzero(&candidate);
            candidate.zeroize();
            if let Some(k) = scalar {
                return k;
            }
        }
    }

    fn next_input(&mut self, digest: &[u8; 32]) -> [u8; 40] {
        self.count += 1;
        let mut input = [0; 40];
        input[..32].copy_from_slice(digest);
        input[32..].copy_from_slice(&self.count.to_be_bytes());
        input
    }

    /// A k for each digest, in order.
    pub fn draw_all(&mut self, digests: &[[u8; 32]]) -> Zeroizing<Vec<Scalar>> {
        let inputs: Vec<_> = digests
            .iter()
            .map(|digest| self.next_input(digest))
            .collect();
        let mut candidates = self.mac.mac_many(&inputs);
        let mut nonces = Zeroizing::new(Vec::with_capacity(digests.len()));
        for (candidate, digest) in candidates.iter().zip(digests) {
            let k = Scalar::from_bytes_nonzero(candidate);
            nonces.push(k.unwrap_or_else(|| self.draw(digest)));
        }
        candidates.zeroize();
        nonces
    }
}
