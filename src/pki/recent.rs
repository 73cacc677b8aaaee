//! Certificates that were read a short while ago.
//!
//! A client shows the same certificates with every request, and several rooms of the house look at each of them. What
//! [`Certificate::from_der`] says of given bytes never changes, so the answer is kept by those bytes, all of them: no
//! digest stands for them. Bounded in number and size; whoever shows ever new certificates only has them read anew.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::certificate::Certificate;

/// Certificates of a generation. Two generations live.
const GENERATION_MAX: usize = 256;
/// Larger ones are read each time; real ones are below 4 kB.
const BYTES_MAX: usize = 4 * 1024;

#[derive(Default)]
pub struct Recent(Mutex<Generations>);

#[derive(Default)]
struct Generations {
    young: HashMap<Box<[u8]>, Certificate>,
    old: HashMap<Box<[u8]>, Certificate>,
}

impl Recent {
    pub fn get(&self, der: &[u8]) -> Option<Certificate> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = held.young.get(der) {
            return Some(known.clone());
        }
        let (key, known) = held.old.remove_entry(der)?;
        held.keep(key, known.clone());
        Some(known)
    }

    pub fn keep(&self, certificate: &Certificate) {
        let der = certificate.der();
        if der.len() <= BYTES_MAX {
            let key = Box::from(der.as_ref());
            self.0.lock().unwrap_or_else(PoisonError::into_inner).keep(key, certificate.clone());
        }
    }
}

impl Generations {
    fn keep(&mut self, key: Box<[u8]>, certificate: Certificate) {
        if self.young.len() >= GENERATION_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, certificate);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(name: &str) -> Certificate {
        let key = rcgen::KeyPair::generate().expect("a key");
        let made = rcgen::CertificateParams::new(vec![name.to_owned()]).expect("parameters");
        let der = made.self_signed(&key).expect("signed");
        Certificate::read(der.der()).expect("readable")
    }

    #[test]
    fn what_is_used_stays_and_the_rest_goes() {
        let recent = Recent::default();
        let (used, unused) = (certificate("used.example"), certificate("unused.example"));
        recent.keep(&used);
        recent.keep(&unused);
        for number in 0..3 * GENERATION_MAX {
            // Keys of its own making, so that no thousand key pairs are needed.
            let key = number.to_be_bytes().to_vec().into_boxed_slice();
            recent.0.lock().expect("unharmed").keep(key, unused.clone());
            assert_eq!(recent.get(used.der()), Some(used.clone()), "after {number}");
        }
        assert_eq!(recent.get(unused.der()), None);
        let held = recent.0.lock().expect("unharmed");
        assert!(held.young.len() <= GENERATION_MAX && held.old.len() <= GENERATION_MAX);
    }

    #[test]
    fn bytes_alone_decide() {
        let recent = Recent::default();
        let one = certificate("one.example");
        recent.keep(&one);
        for at in 0..one.der().len() {
            let mut other = one.der().to_vec();
            other[at] ^= 1;
            assert_eq!(recent.get(&other), None, "a bit of byte {at}");
        }
        assert_eq!(recent.get(&one.der()[1..]), None);
    }
}
