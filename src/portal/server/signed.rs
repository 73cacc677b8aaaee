//! Tokens of our own that were signed a short while ago.
//!
//! What the post office has to say of a submission never changes, and portals ask again and again whether there is news.
//! A signature of 4096 bits costs more than all the rest of such an answer, so the token is kept by what it claims.
//! Bounded in number and size; whatever is forgotten is signed anew.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use crate::domain::content::Digest;

/// Tokens of a generation. Two generations live.
const GENERATION_MAX: usize = 1024;
/// Longer ones are signed each time; with two attachments they have below 2 kB.
const TOKEN_BYTES_MAX: usize = 4 * 1024;

#[derive(Default)]
pub struct Signed(Mutex<Generations>);

#[derive(Default)]
struct Generations {
    young: HashMap<[u8; 32], String>,
    old: HashMap<[u8; 32], String>,
}

impl Signed {
    /// The token that says so, kept or made by `sign`.
    pub fn get_or<E>(
        &self,
        typ: &str,
        claims: &impl Serialize,
        sign: impl FnOnce() -> Result<String, E>,
    ) -> Result<String, E> {
        let Ok(said) = serde_json::to_vec(&(typ, claims)) else { return sign() };
        let key = Digest::of(&said).0;
        if let Some(known) = self.find(&key) {
            return Ok(known);
        }
        let token = sign()?;
        if token.len() <= TOKEN_BYTES_MAX {
            self.held().keep(key, token.clone());
        }
        Ok(token)
    }

    fn find(&self, key: &[u8; 32]) -> Option<String> {
        let mut held = self.held();
        if let Some(known) = held.young.get(key) {
            return Some(known.clone());
        }
        let known = held.old.remove(key)?;
        held.keep(*key, known.clone());
        Some(known)
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Generations> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Generations {
    fn keep(&mut self, key: [u8; 32], token: String) {
        if self.young.len() >= GENERATION_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, token);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn the_same_is_signed_once_and_others_by_themselves() {
        let (signed, count) = (Signed::default(), Cell::new(0));
        let ask = |typ: &str, claims: &str| {
            let sign = || {
                count.set(count.get() + 1);
                Ok::<_, ()>(format!("{typ} {claims}"))
            };
            signed.get_or(typ, &claims, sign).expect("signed")
        };
        for _ in 0..3 {
            assert_eq!(ask("a", "1"), "a 1");
            assert_eq!(ask("a", "2"), "a 2");
            assert_eq!(ask("b", "1"), "b 1");
        }
        assert_eq!(count.get(), 3);
        let long = "x".repeat(TOKEN_BYTES_MAX);
        for _ in 0..2 {
            ask("a", &long);
        }
        assert_eq!(count.get(), 5, "a long one is not kept");
        for n in 0..GENERATION_MAX * 3 {
            ask("a", &format!("n{n}"));
            ask("a", "1");
        }
        assert_eq!(count.get(), 5 + GENERATION_MAX * 3, "what is asked for stays");
        let held = signed.held();
        assert!(held.young.len() + held.old.len() <= GENERATION_MAX * 2);
        drop(held);
        ask("a", "n0");
        assert_eq!(count.get(), 6 + GENERATION_MAX * 3, "what is not goes");
        assert_eq!(signed.get_or("c", &1, || Err::<String, _>("no")), Err("no"));
        assert_eq!(signed.get_or("c", &1, || Ok::<_, ()>("yes".to_owned())), Ok("yes".to_owned()));
    }
}
