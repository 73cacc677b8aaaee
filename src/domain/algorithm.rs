//! Names of the algorithms that a participant's requests may use in OSCI-Transport 1.2, as an administrator writes them.
//!
//! Only names: which URI each stands for is the protocol's room's to say, and what is taken of anybody at all is the
//! post office's policy, which a participant's list narrows and never widens. Sources: sections 6 and 7 of our notes.

/// Makes an enum whose variants have one spelling each, in files and on screens.
macro_rules! named {
    ($(#[$about:meta])* $name:ident { $($variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $name {
            $(#[serde(rename = $word)] $variant),+
        }

        impl $name {
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $word),+
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                out.write_str(self.name())
            }
        }
    };
}

named! {
    /// What a request is signed by.
    SignatureMethod {
        RsaSha256 = "rsa-sha256",
        RsaSha384 = "rsa-sha384",
        RsaSha512 = "rsa-sha512",
        RsaPssSha256 = "rsa-pss-sha256",
        RsaPssSha384 = "rsa-pss-sha384",
        RsaPssSha512 = "rsa-pss-sha512",
        RsaPssSha3_256 = "rsa-pss-sha3-256",
        RsaPssSha3_384 = "rsa-pss-sha3-384",
        RsaPssSha3_512 = "rsa-pss-sha3-512",
        EcdsaSha256 = "ecdsa-sha256",
        EcdsaSha384 = "ecdsa-sha384",
        EcdsaSha512 = "ecdsa-sha512",
    }
}

named! {
    /// What a signature's references are digested by.
    DigestMethod {
        Sha256 = "sha256",
        Sha384 = "sha384",
        Sha512 = "sha512",
        Sha3_256 = "sha3-256",
        Sha3_384 = "sha3-384",
        Sha3_512 = "sha3-512",
    }
}

named! {
    /// What a request is encrypted by.
    ContentMethod {
        Aes128Gcm = "aes128-gcm",
        Aes192Gcm = "aes192-gcm",
        Aes256Gcm = "aes256-gcm",
        Aes128Cbc = "aes128-cbc",
        Aes192Cbc = "aes192-cbc",
        Aes256Cbc = "aes256-cbc",
    }
}

named! {
    /// What a request's content key is encrypted by; OAEP is named by its digest, whatever its mask.
    KeyTransport {
        RsaOaepSha256 = "rsa-oaep-sha256",
        RsaOaepSha384 = "rsa-oaep-sha384",
        RsaOaepSha512 = "rsa-oaep-sha512",
        RsaOaepSha3_256 = "rsa-oaep-sha3-256",
        RsaOaepSha3_384 = "rsa-oaep-sha3-384",
        RsaOaepSha3_512 = "rsa-oaep-sha3-512",
        Rsa15 = "rsa-1-5",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_back() {
        for method in SignatureMethod::ALL {
            let written = serde_json::to_string(method).expect("a word");
            assert_eq!(written, format!("\"{method}\""));
            assert_eq!(serde_json::from_str::<SignatureMethod>(&written).expect("a method"), *method);
        }
        assert!(serde_json::from_str::<SignatureMethod>("\"rsa-sha1\"").is_err());
        assert!(serde_json::from_str::<ContentMethod>("\"tripledes-cbc\"").is_err());
    }
}
