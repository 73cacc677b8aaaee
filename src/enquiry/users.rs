//! Registered users (section 49(2) BMG: who asks by a portal is known to it), their passwords as PBKDF2 (RFC 8018).
//!
//! A wrong name costs as much time as a wrong password, and after some wrong passwords every name waits, whether it is a
//! user's or not: nobody finds out who is one.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::pbkdf2;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use jiff::Timestamp;

use crate::register::rights::Asker;

/// Iterations of new entries, with SHA-256.
const ITERATIONS: u32 = 600_000;
/// What an entry in the configuration may ask for.
const ITERATIONS_MAX: u32 = 10_000_000;
const SALT_BYTES: usize = 16;
const HASH_BYTES: usize = 32;
pub const PASSWORD_CHARS_MIN: usize = 12;
const PASSWORD_BYTES_MAX: usize = 1024;
const WRONG_MAX: u32 = 5;
const WAIT_SECONDS: i64 = 15 * 60;
/// Longest name of a user, in bytes.
pub const NAME_BYTES_MAX: usize = 60;
/// Names whose wrong passwords are counted.
const NAMES_MAX: usize = 10_000;

/// A password as it stands in the configuration: `pbkdf2-sha256$iterations$salt$hash`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secret {
    iterations: NonZeroU32,
    salt: Vec<u8>,
    hash: Vec<u8>,
}

impl Secret {
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let wrong = "is not what `amtsbote register password` writes";
        let parts: Vec<&str> = text.split('$').collect();
        let ["pbkdf2-sha256", iterations, salt, hash] = parts.as_slice() else { return Err(wrong) };
        let iterations = iterations.parse().ok().filter(|count| *count <= ITERATIONS_MAX);
        let iterations = iterations.and_then(NonZeroU32::new).ok_or(wrong)?;
        let bytes = |text: &str| STANDARD_NO_PAD.decode(text).map_err(|_| wrong);
        let (salt, hash) = (bytes(salt)?, bytes(hash)?);
        if salt.len() < 8 || hash.len() != HASH_BYTES {
            return Err(wrong);
        }
        Ok(Self { iterations, salt, hash })
    }

    /// For the configuration.
    pub fn of(password: &str) -> Result<String, &'static str> {
        if password.chars().count() < PASSWORD_CHARS_MIN || password.len() > PASSWORD_BYTES_MAX {
            return Err("has less than 12 characters, or more than 1024 bytes");
        }
        let (mut salt, mut hash) = ([0; SALT_BYTES], [0; HASH_BYTES]);
        aws_lc_rs::rand::fill(&mut salt).map_err(|_| "the machine has no random numbers to give")?;
        let iterations = NonZeroU32::new(ITERATIONS).unwrap_or(NonZeroU32::MIN);
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, &salt, password.as_bytes(), &mut hash);
        Ok(format!(
            "pbkdf2-sha256${ITERATIONS}${}${}",
            STANDARD_NO_PAD.encode(salt),
            STANDARD_NO_PAD.encode(hash)
        ))
    }

    fn is(&self, password: &str) -> bool {
        let algorithm = pbkdf2::PBKDF2_HMAC_SHA256;
        password.len() <= PASSWORD_BYTES_MAX
            && pbkdf2::verify(algorithm, self.iterations, &self.salt, password.as_bytes(), &self.hash).is_ok()
    }
}

#[derive(Debug, Clone)]
pub struct User {
    pub name: String,
    /// A citizen or a firm: nobody else asks here.
    pub kind: Asker,
    pub secret: Secret,
}

/// Why somebody is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    Wrong,
    TooOften,
}

pub struct Users {
    all: Vec<User>,
    /// Wrong passwords by name, and when the last one came.
    wrong: Mutex<HashMap<String, (u32, Timestamp)>>,
    /// Passwords are tried one after the other: trying is made to be slow, and must not take all cores.
    trying: tokio::sync::Semaphore,
}

/// Whom the register answers: no identifier of a mailbox has a space.
pub fn asker(user: &str) -> String {
    format!("page user {user}")
}

impl Users {
    pub fn new(all: Vec<User>) -> Self {
        Self { all, wrong: Mutex::default(), trying: tokio::sync::Semaphore::new(1) }
    }

    pub fn find(&self, name: &str) -> Option<&User> {
        self.all.iter().find(|user| user.name == name)
    }

    /// The user's name, if the password is theirs.
    pub async fn prove(&self, name: &str, password: &str, now: Timestamp) -> Result<String, Refused> {
        let known = self.find(name);
        // Somebody's, so that a wrong name takes as long.
        let secret = known.or(self.all.first()).map(|user| user.secret.clone());
        let password = password.to_owned();
        let _one = self.trying.acquire().await;
        // Only when it is its turn: else as many could be tried at once as there are connections.
        if self.waits(name, now) {
            return Err(Refused::TooOften);
        }
        let fits =
            tokio::task::spawn_blocking(move || secret.is_some_and(|secret| secret.is(&password))).await;
        match known.filter(|_| fits.unwrap_or_default()) {
            Some(user) => {
                self.wrong.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
                Ok(user.name.clone())
            }
            None => {
                self.count(name, now);
                Err(Refused::Wrong)
            }
        }
    }

    fn count(&self, name: &str, now: Timestamp) {
        if name.len() > NAME_BYTES_MAX {
            return;
        }
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        if wrong.len() >= NAMES_MAX {
            wrong.retain(|_, (_, last)| now.duration_since(*last).as_secs() < WAIT_SECONDS);
        }
        // Names that are nobody's make no room for themselves.
        if wrong.len() < NAMES_MAX || self.find(name).is_some() {
            let entry = wrong.entry(name.to_owned()).or_insert((0, now));
            *entry = (entry.0 + 1, now);
        }
    }

    fn waits(&self, name: &str, now: Timestamp) -> bool {
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((count, last)) = wrong.get(name).copied() else { return false };
        if now.duration_since(last).as_secs() >= WAIT_SECONDS {
            wrong.remove(name);
            return false;
        }
        count >= WRONG_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_right_password_lets_in_and_guessing_ends() {
        let mut secret = Secret::parse(&Secret::of("a long password").expect("written")).expect("read");
        // Cheap, for a test.
        secret.iterations = NonZeroU32::MIN;
        pbkdf2::derive(
            pbkdf2::PBKDF2_HMAC_SHA256,
            secret.iterations,
            &secret.salt,
            b"a long password",
            &mut secret.hash,
        );
        let users = Users::new(vec![User { name: "kanzlei".to_owned(), kind: Asker::Firm, secret }]);
        let users = std::sync::Arc::new(users);
        let at = |seconds: i64| Timestamp::from_second(1_800_000_000 + seconds).expect("an instant");
        assert_eq!(users.prove("kanzlei", "a long password", at(0)).await.as_deref(), Ok("kanzlei"));
        // A name that is nobody's is told the same, as often.
        for name in ["kanzlei", "other"] {
            let mut tried = tokio::task::JoinSet::new();
            for _ in 0..2 * WRONG_MAX {
                let users = users.clone();
                tried.spawn(async move { users.prove(name, "a long passwore", at(1)).await });
            }
            let told = tried.join_all().await;
            let wrong = told.iter().filter(|one| **one == Err(Refused::Wrong)).count();
            assert_eq!((told.len(), wrong), (10, 5), "guesses at the same time");
            assert_eq!(users.prove(name, "a long password", at(2)).await, Err(Refused::TooOften));
        }
        assert_eq!(users.prove("kanzlei", "a long password", at(901)).await.as_deref(), Ok("kanzlei"));
    }

    #[test]
    fn only_what_was_written_for_it_is_a_password() {
        assert!(Secret::of("short").is_err());
        for wrong in [
            "",
            "secret",
            "pbkdf2-sha256$0$AAAAAAAAAAA$AAAA",
            "pbkdf2-sha1$1$AAAAAAAAAAA$AAAA",
            "pbkdf2-sha256$99999999$AAAAAAAAAAA$AAAA",
        ] {
            assert!(Secret::parse(wrong).is_err(), "{wrong}");
        }
    }
}
