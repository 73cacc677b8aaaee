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

/// What a token says, in short; nothing where it cannot be told.
pub struct Name(Option<[u8; 32]>);

impl Name {
    pub fn of(typ: &str, claims: &impl Serialize) -> Self {
        Self(serde_json::to_vec(&(typ, claims)).ok().map(|said| Digest::of(&said).0))
    }
}

impl Signed {
    pub fn known(&self, name: &Name) -> Option<String> {
        self.held().find(name.0.as_ref()?)
    }

    /// Keeps a token that was signed. If another says the same by now, that one is kept, and returned.
    pub fn keep(&self, Name(name): Name, token: String) -> String {
        let Some(name) = name.filter(|_| token.len() <= TOKEN_BYTES_MAX) else { return token };
        let mut held = self.held();
        if let Some(known) = held.find(&name) {
            return known;
        }
        held.keep(name, token.clone());
        token
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Generations> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Generations {
    fn find(&mut self, key: &[u8; 32]) -> Option<String> {
        if let Some(known) = self.young.get(key) {
            return Some(known.clone());
        }
        let known = self.old.remove(key)?;
        self.keep(*key, known.clone());
        Some(known)
    }

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
            let name = Name::of(typ, &claims);
            signed.known(&name).unwrap_or_else(|| {
                count.set(count.get() + 1);
                signed.keep(name, format!("{typ} {claims}"))
            })
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
        // Two signed the same at the same time.
        assert_eq!(signed.keep(Name::of("c", &1), "first".to_owned()), "first");
        assert_eq!(signed.keep(Name::of("c", &1), "second".to_owned()), "first");
    }
}
