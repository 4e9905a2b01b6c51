//! Which arithmetic does the work: the portable one, or eight lanes of AVX-512 IFMA where the processor has it.

use std::sync::atomic::{AtomicU8, Ordering};

/// One way to compute; all give the same answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tier {
    /// Four 64-bit words, any processor.
    Portable,
    /// Eight lanes of five 52-bit limbs; AVX-512 F, DQ, VL and IFMA.
    Avx512Ifma,
}

const AUTOMATIC: u8 = 0;
static FORCED: AtomicU8 = AtomicU8::new(AUTOMATIC);

impl Tier {
    /// The tier's name, as Python says it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx512Ifma => "avx512ifma",
        }
    }

    /// The tier of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Portable, Self::Avx512Ifma]
            .into_iter()
            .find(|tier| tier.name() == name)
    }

    /// Whether this processor can compute so.
    pub fn is_available(self) -> bool {
        match self {
            Self::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Ifma => super::ifma::is_available(),
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx512Ifma => false,
        }
    }

    /// The forced tier, else the fastest one that is available.
    pub fn active() -> Self {
        match FORCED.load(Ordering::Relaxed) {
            AUTOMATIC if Self::Avx512Ifma.is_available() => Self::Avx512Ifma,
            2 => Self::Avx512Ifma,
            _ => Self::Portable,
        }
    }

    /// Compute with `tier` from now on, in the whole process; `None` chooses by processor again. For tests.
    /// Answers false, and changes nothing, when the processor cannot.
    pub fn force(tier: Option<Self>) -> bool {
        let code = match tier {
            None => AUTOMATIC,
            Some(tier) if !tier.is_available() => return false,
            Some(Self::Portable) => 1,
            Some(Self::Avx512Ifma) => 2,
        };
        FORCED.store(code, Ordering::Relaxed);
        true
    }
}
