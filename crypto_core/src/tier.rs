//! Which instructions the engines may use: chosen by the processor, or forced for tests and measurements.
//!
//! Every tier gives the same results; only the speed differs.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

/// Sets of instructions, slowest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Tier {
    /// Plain Rust, any processor.
    Portable,
    /// x86-64 with AVX2, BMI, AES-NI and PCLMULQDQ.
    Avx2,
    /// x86-64 with AVX-512 F/BW/DQ/VL/IFMA, GFNI and VPCLMULQDQ (Ice Lake server, Zen 4 and later).
    Avx512,
}

impl Tier {
    /// All tiers, slowest first.
    pub const ALL: [Self; 3] = [Self::Portable, Self::Avx2, Self::Avx512];

    /// The name used in settings and measurements.
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        }
    }

    /// The tier of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tier| tier.name() == name)
    }
}

const NOT_FORCED: u8 = u8::MAX;
static FORCED: AtomicU8 = AtomicU8::new(NOT_FORCED);

/// Use `tier` in the whole process from now on; `None` returns to the best one. False, and nothing changed, where the
/// processor lacks its instructions.
pub fn force(tier: Option<Tier>) -> bool {
    let allowed = tier.is_none_or(|tier| tier <= best());
    if allowed {
        FORCED.store(
            tier.map_or(NOT_FORCED, |tier| tier as u8),
            Ordering::Relaxed,
        );
    }
    allowed
}

/// The tier in use; never one that this processor lacks.
#[inline]
pub fn current() -> Tier {
    match FORCED.load(Ordering::Relaxed) {
        0 => Tier::Portable,
        1 => Tier::Avx2,
        2 => Tier::Avx512,
        _ => best(),
    }
}

/// The best tier of this processor; asked once, because short messages would notice the dozen questions.
#[inline]
pub fn best() -> Tier {
    static BEST: OnceLock<Tier> = OnceLock::new();
    *BEST.get_or_init(detect)
}

#[cfg(target_arch = "x86_64")]
fn detect() -> Tier {
    let avx2 = is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("aes")
        && is_x86_feature_detected!("pclmulqdq")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2");
    let avx512 = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512ifma")
        && is_x86_feature_detected!("gfni")
        && is_x86_feature_detected!("vpclmulqdq");
    match (avx2, avx512) {
        (true, true) => Tier::Avx512,
        (true, false) => Tier::Avx2,
        _ => Tier::Portable,
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn detect() -> Tier {
    Tier::Portable
}

/// The tiers of this processor, for tests that go through all of them.
pub fn available() -> impl Iterator<Item = Tier> {
    Tier::ALL.into_iter().filter(|tier| *tier <= best())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::sync::{Mutex, MutexGuard, PoisonError};

    /// Tests that force tiers take turns. Others may meanwhile run in that tier, which must not matter to them.
    pub fn one_at_a_time() -> MutexGuard<'static, ()> {
        static FORCING: Mutex<()> = Mutex::new(());
        FORCING.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[test]
    fn names_lead_back_to_their_tier_and_only_present_tiers_can_be_forced() {
        let _guard = one_at_a_time();
        for tier in Tier::ALL {
            assert_eq!(Tier::from_name(tier.name()), Some(tier));
            assert_eq!(force(Some(tier)), tier <= best());
        }
        assert!(force(None));
        assert_eq!(current(), best());
        assert_eq!(Tier::from_name("sse2"), None);
    }
}
