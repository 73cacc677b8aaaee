//! `xmlsec1` as a foreign peer, by a matrix: for each algorithm, form of reference and canonicalization we verify what
//! it signs and it verifies what we sign, and the same both ways for encryption. The matrix is printed; a cell is
//! passed, or has a reason that is checked too: the peer itself says that it lacks the algorithm. PSS with SHA-3, which
//! no such peer signs, is signed by `openssl`.
//!
//! `cargo test --test it xml_peers -- --ignored --nocapture` (`tests/peers/run` does it).

use std::path::{Path, PathBuf};
use std::process::Command;

use amtsbote::xml::c14n::Algorithm;
use amtsbote::xml::dsig::sign::{Plan, Planned, Signer, SigningKey};
use amtsbote::xml::dsig::signature::{Canonicalization, Form};
use amtsbote::xml::dsig::verify::read_once;
use amtsbote::xml::dsig::{DigestMethod, NS_DSIG, SignatureMethod, Target};
use amtsbote::xml::enc::{self, ContentMethod, IvLength, KeyTransport, NS_XENC, OaepHash, RecipientKey};
use amtsbote::xml::tree::Element;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Methods with a key's name, the peer's name for the method, and whether we make such signatures.
const METHODS: [(SignatureMethod, &str, &str, bool); 16] = [
    (SignatureMethod::RsaSha256, "rsa", "rsa-sha256", true),
    (SignatureMethod::RsaSha384, "rsa", "rsa-sha384", true),
    (SignatureMethod::RsaSha512, "rsa", "rsa-sha512", true),
    (SignatureMethod::RsaPssSha256, "rsa", "rsa-pss-sha256", true),
    (SignatureMethod::RsaPssSha384, "rsa", "rsa-pss-sha384", true),
    (SignatureMethod::RsaPssSha512, "rsa", "rsa-pss-sha512", true),
    (SignatureMethod::EcdsaSha256, "P-256", "ecdsa-sha256", true),
    (SignatureMethod::EcdsaSha384, "P-384", "ecdsa-sha384", true),
    (SignatureMethod::EcdsaSha512, "P-521", "ecdsa-sha512", true),
    (SignatureMethod::EcdsaSha512, "P-256", "ecdsa-sha512", false),
    (SignatureMethod::EcdsaSha256, "P-384", "ecdsa-sha256", false),
    (SignatureMethod::EcdsaSha256, "P-521", "ecdsa-sha256", false),
    (SignatureMethod::EcdsaSha256, "brainpoolP256r1", "ecdsa-sha256", false),
    (SignatureMethod::EcdsaSha384, "brainpoolP384r1", "ecdsa-sha384", false),
    (SignatureMethod::EcdsaSha512, "brainpoolP512r1", "ecdsa-sha512", false),
    (SignatureMethod::EcdsaSha512, "brainpoolP256r1", "ecdsa-sha512", false),
];
const DIGESTS: [(DigestMethod, &str); 6] = [
    (DigestMethod::Sha256, "sha256"),
    (DigestMethod::Sha384, "sha384"),
    (DigestMethod::Sha512, "sha512"),
    (DigestMethod::Sha3_256, "sha3-256"),
    (DigestMethod::Sha3_384, "sha3-384"),
    (DigestMethod::Sha3_512, "sha3-512"),
];
const CANONICALIZATIONS: [Algorithm; 4] = [
    Algorithm::Inclusive,
    Algorithm::InclusiveWithComments,
    Algorithm::Exclusive,
    Algorithm::ExclusiveWithComments,
];
const FORMS: [&str; 4] = ["enveloped", "enveloping", "detached", "cid"];
const PART: &str =
    "<part xmlns:f='urn:f' Id='part' f:b=\"2\" a='1'>\u{e4} &amp; <!-- c -->\r\n<f:q xmlns=''/></part>";
const ATTACHMENT: &[u8] = b"octets\r\n\0";

struct Peer {
    folder: tempfile::TempDir,
    version: String,
    transforms: String,
}

impl Peer {
    fn new() -> Self {
        let run = |argument: &str| {
            let output = Command::new("xmlsec1").arg(argument).output().expect("xmlsec1 is installed");
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        let version = run("--version").split_whitespace().nth(1).unwrap().to_owned();
        let peer =
            Self { folder: tempfile::tempdir().unwrap(), version, transforms: run("--list-transforms") };
        std::fs::write(peer.path("attachment"), ATTACHMENT).unwrap();
        peer
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn has(&self, transform: &str) -> bool {
        self.transforms.contains(&format!("\"{transform}\""))
    }

    /// Makes a key pair, once: `NAME.key` and `NAME.pub`.
    fn key(&self, name: &str) -> PathBuf {
        let path = self.path(&format!("{name}.key"));
        if !path.exists() {
            let (kind, option) = match name {
                "rsa" | "other" => ("RSA", "rsa_keygen_bits:2048".to_owned()),
                curve => ("EC", format!("ec_paramgen_curve:{curve}")),
            };
            openssl(&["genpkey", "-algorithm", kind, "-pkeyopt", &option], &path);
            openssl(&["pkey", "-pubout", "-in", path.to_str().unwrap()], &self.path(&format!("{name}.pub")));
        }
        path
    }

    fn pkcs8(&self, name: &str) -> Vec<u8> {
        pem(&self.key(name))
    }

    fn spki(&self, name: &str) -> Vec<u8> {
        self.key(name);
        pem(&self.path(&format!("{name}.pub")))
    }

    fn run(&self, arguments: &[&str], keys: &[(&str, &Path)], input: &str) -> Result<String, String> {
        let (file, out) = (self.path("in.xml"), self.path("out.xml"));
        std::fs::write(&file, input).unwrap();
        let mut command = Command::new("xmlsec1");
        command.args(arguments).args(["--id-attr:Id", "urn:d:part", "--id-attr:Id"]);
        command.arg(format!("{NS_DSIG}:Object")).arg("--url-map:cid:part").arg(self.path("attachment"));
        for (option, path) in keys {
            command.arg(option).arg(path);
        }
        let output = command.arg("--output").arg(&out).arg(&file).output().unwrap();
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        Ok(std::fs::read_to_string(out).unwrap_or_default())
    }

    fn sign(&self, key: &str, template: &str) -> Result<String, String> {
        self.run(&["--sign"], &[("--privkey-pem", &self.key(key))], template)
    }

    fn verify(&self, key: &str, document: &str) -> Result<(), String> {
        self.key(key);
        let public = self.path(&format!("{key}.pub"));
        self.run(&["--verify"], &[("--pubkey-pem", &public)], document).map(|_| ())
    }
}

fn openssl(arguments: &[&str], out: &Path) {
    let output = Command::new("openssl").args(arguments).arg("-out").arg(out).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn pem(path: &Path) -> Vec<u8> {
    let lines = std::fs::read_to_string(path).unwrap();
    STANDARD.decode(lines.lines().filter(|line| !line.starts_with('-')).collect::<String>()).unwrap()
}

/// What passed and what did not.
#[derive(Default)]
struct Matrix {
    passed: usize,
    failed: Vec<String>,
    reasons: std::collections::BTreeSet<String>,
}

impl Matrix {
    fn cell(&mut self, name: &str, outcome: Result<(), String>) {
        match outcome {
            Ok(()) => self.passed += 1,
            Err(why) => self.failed.push(format!("{name}: {why}")),
        }
    }

    fn end(self) {
        self.reasons.iter().for_each(|reason| println!("left out: {reason}"));
        println!("{} passed, {} failed", self.passed, self.failed.len());
        assert!(self.passed > 0 && self.failed.is_empty(), "{}", self.failed.join("\n"));
    }
}

fn canonicalization(algorithm: Algorithm) -> Canonicalization {
    Canonicalization { algorithm, prefix_list: String::new() }
}

fn document(form: &str) -> String {
    let part = if matches!(form, "enveloping" | "cid") { "" } else { PART };
    format!("<e:doc xmlns:e='urn:e' xmlns='urn:d' xml:lang='de'>{part}<!-- d --></e:doc>")
}

fn object(form: &str) -> String {
    let inner = PART.replace("Id='part'", "");
    if form == "enveloping" { format!("<ds:Object Id=\"part\">{inner}</ds:Object>") } else { String::new() }
}

fn place(document: &str) -> usize {
    document.rfind("</e:doc>").unwrap()
}

fn template(form: &str, method: SignatureMethod, algorithm: Algorithm, digest: DigestMethod) -> String {
    let (method, algorithm, digest) = (method.uri(), algorithm.uri(), digest.uri());
    let canonical = format!("<ds:Transform Algorithm=\"{algorithm}\"/>");
    let (uri, transforms) = match form {
        "enveloped" => ("", format!("<ds:Transform Algorithm=\"{NS_DSIG}enveloped-signature\"/>{canonical}")),
        "cid" => ("cid:part", String::new()),
        _ => ("#part", canonical),
    };
    let transforms = if transforms.is_empty() {
        transforms
    } else {
        format!("<ds:Transforms>{transforms}</ds:Transforms>")
    };
    let signature = format!(
        "<ds:Signature xmlns:ds=\"{NS_DSIG}\"><ds:SignedInfo><ds:CanonicalizationMethod Algorithm=\"{algorithm}\"/>\
         <ds:SignatureMethod Algorithm=\"{method}\"/><ds:Reference URI=\"{uri}\">{transforms}\
         <ds:DigestMethod Algorithm=\"{digest}\"/><ds:DigestValue/></ds:Reference></ds:SignedInfo>\
         <ds:SignatureValue/>{}</ds:Signature>",
        object(form)
    );
    let mut document = document(form);
    document.insert_str(place(&document), &signature);
    document
}

fn our_signature(
    form: &str,
    method: SignatureMethod,
    algorithm: Algorithm,
    digest_method: DigestMethod,
    signer: &dyn Signer,
) -> Result<String, String> {
    let part = Target::Element("part".to_owned());
    let covered = match form {
        "enveloped" => Planned::canonical(Target::Document, canonicalization(algorithm), digest_method),
        "cid" => Planned::attachment("part", digest_method, digest(digest_method)),
        _ => Planned::canonical(part, canonicalization(algorithm), digest_method),
    };
    let canonicalization = canonicalization(algorithm);
    let plan = Plan { method, canonicalization, covered: vec![covered], key_info: String::new() };
    let document = document(form);
    let signed = plan.sign_with_object(&document, place(&document), &object(form), signer);
    signed.map_err(|error| error.to_string())
}

fn digest(method: DigestMethod) -> Vec<u8> {
    let mut running = method.begin();
    running.update(ATTACHMENT);
    running.finish().as_ref().to_vec()
}

fn we_verify(document: &str, spki: &[u8]) -> Result<(), String> {
    let open = || Ok(document.as_bytes());
    let (verification, found) = read_once(open, &Default::default(), &Default::default(), |_| true)
        .map_err(|error| error.to_string())?;
    let mut verification = verification.ok_or("no signature")?;
    let [candidate] = found.as_slice() else { return Err("signatures".to_owned()) };
    let references = candidate.signature.as_ref().map_err(ToString::to_string)?.references().to_vec();
    for reference in references.iter().filter(|reference| reference.form == Form::Octets) {
        verification.attachment("part", &digest(reference.digest_method));
    }
    verification.finish(spki).map(|_| ()).map_err(|error| error.to_string())
}

/// Verifies, and refuses the same with its content changed.
fn we_verify_and_refuse(document: &str, form: &str, spki: &[u8]) -> Result<(), String> {
    we_verify(document, spki)?;
    let changed = if form == "cid" {
        document.replacen("<ds:DigestValue>", "<ds:DigestValue>AAAA", 1)
    } else {
        document.replace("f:b=\"2\"", "f:b=\"3\"")
    };
    assert_ne!(changed, document);
    if we_verify(&changed, spki).is_ok() { Err("changed content was accepted".to_owned()) } else { Ok(()) }
}

#[test]
#[ignore = "needs xmlsec1 and openssl"]
fn signatures_both_ways() {
    let peer = Peer::new();
    let mut matrix = Matrix::default();
    println!("signatures, xmlsec1 {}: it signs and we verify / we sign and it verifies", peer.version);
    println!("{:16} {:16} {}", "method", "key", FORMS.map(|form| format!("{form:>12}")).join(""));
    for (method, key, transform, we_sign) in METHODS {
        let mut row = String::new();
        for form in FORMS {
            let (mut theirs, mut ours) = (0, 0);
            for algorithm in CANONICALIZATIONS {
                let name = format!("{transform} {key} {form} {algorithm:?}");
                let signer = SigningKey::from_pkcs8(&peer.pkcs8(key));
                if !peer.has(transform) {
                    matrix.reasons.insert(format!("xmlsec1 {} has no {transform}", peer.version));
                    // Both ends are ours: it must hold nevertheless.
                    let signed =
                        our_signature(form, method, algorithm, DigestMethod::Sha256, &signer.unwrap());
                    matrix.cell(&name, signed.and_then(|signed| we_verify(&signed, &peer.spki(key))));
                    continue;
                }
                let signed = peer.sign(key, &template(form, method, algorithm, DigestMethod::Sha256));
                let outcome = signed.and_then(|signed| we_verify_and_refuse(&signed, form, &peer.spki(key)));
                theirs += usize::from(outcome.is_ok());
                matrix.cell(&format!("{name}, it signs"), outcome);
                if we_sign {
                    let signer = signer.unwrap();
                    let signed = our_signature(form, method, algorithm, DigestMethod::Sha256, &signer);
                    let outcome = signed.and_then(|signed| peer.verify(key, &signed));
                    ours += usize::from(outcome.is_ok());
                    matrix.cell(&format!("{name}, we sign"), outcome);
                }
            }
            let cell = match (peer.has(transform), we_sign) {
                (false, _) => "not there".to_owned(),
                (true, false) => format!("{theirs}/-"),
                (true, true) => format!("{theirs}/{ours}"),
            };
            row.push_str(&format!("{cell:>12}"));
        }
        println!("{transform:16} {key:16} {row}");
    }
    for (digest, transform) in DIGESTS {
        let (method, algorithm) = (SignatureMethod::RsaSha256, Algorithm::Exclusive);
        let signer = SigningKey::from_pkcs8(&peer.pkcs8("rsa")).unwrap();
        let signed = our_signature("detached", method, algorithm, digest, &signer);
        if !peer.has(transform) {
            matrix.reasons.insert(format!("xmlsec1 {} has no {transform}", peer.version));
            matrix.cell(transform, signed.and_then(|signed| we_verify(&signed, &peer.spki("rsa"))));
            continue;
        }
        matrix.cell(transform, signed.and_then(|signed| peer.verify("rsa", &signed)));
        let signed = peer.sign("rsa", &template("detached", method, algorithm, digest));
        matrix.cell(
            transform,
            signed.and_then(|signed| we_verify_and_refuse(&signed, "detached", &peer.spki("rsa"))),
        );
        println!("digest {transform:9} both ways");
    }
    matrix.end();
}

/// Signs by the command, for a method we verify and do not make.
struct ByOpenssl<'a>(&'a Peer, &'a str);

impl Signer for ByOpenssl<'_> {
    fn sign(&self, _: SignatureMethod, message: &[u8]) -> Option<Vec<u8>> {
        let (input, out) = (self.0.path("message"), self.0.path("value"));
        std::fs::write(&input, message).ok()?;
        let key = self.0.key("rsa");
        let pss = ["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest", "-sign"];
        let mut arguments = vec!["dgst", self.1];
        arguments.extend(pss);
        arguments.extend([key.to_str()?, input.to_str()?]);
        let mut command = Command::new("openssl");
        let (last, options) = arguments.split_last()?;
        command.args(options).arg("-out").arg(&out).arg(last);
        command.status().ok()?.success().then(|| std::fs::read(out).ok())?
    }
}

#[test]
#[ignore = "needs xmlsec1 and openssl"]
fn pss_with_sha3_is_verified() {
    let peer = Peer::new();
    for (method, hash, other) in [
        (SignatureMethod::RsaPssSha3_256, "-sha3-256", "-sha3-512"),
        (SignatureMethod::RsaPssSha3_384, "-sha3-384", "-sha3-256"),
        (SignatureMethod::RsaPssSha3_512, "-sha3-512", "-sha384"),
    ] {
        let sign = |hash: &str| {
            let signer = ByOpenssl(&peer, hash);
            our_signature("detached", method, Algorithm::Inclusive, DigestMethod::Sha3_512, &signer).unwrap()
        };
        we_verify_and_refuse(&sign(hash), "detached", &peer.spki("rsa")).unwrap();
        assert!(we_verify(&sign(other), &peer.spki("rsa")).is_err(), "{method:?} took {other}");
    }
}

#[test]
#[ignore = "needs xmlsec1 and openssl"]
fn encryption_both_ways() {
    let peer = Peer::new();
    let mut matrix = Matrix::default();
    let names = ["rsa", "other"];
    let read = |xml: &str| Element::parse(xml.as_bytes(), &Default::default(), &Default::default()).unwrap();
    let allowed = enc::Policy { cbc: true, rsa_1_5: true, oaep_sha1: true, ..Default::default() };
    let we_decrypt = |xml: &str, policy: &enc::Policy| {
        for name in names {
            let mine =
                |info: &Element| info.child(NS_DSIG, "KeyName").is_some_and(|found| found.text() == name);
            let key = RecipientKey::from_pkcs8(&peer.pkcs8(name)).unwrap();
            match enc::decrypt(&read(xml), &mine, &key, policy) {
                Ok(content) if content == b"<geheim/>" => {}
                Ok(content) => return Err(format!("other content: {}", String::from_utf8_lossy(&content))),
                Err(error) => return Err(format!("{name}: {error}")),
            }
        }
        Ok(())
    };
    for name in names {
        peer.key(name);
    }
    std::fs::write(peer.path("plain.xml"), "<geheim/>").unwrap();
    println!("encryption for two recipients, xmlsec1 {}", peer.version);
    for method in [
        ContentMethod::Aes128Gcm,
        ContentMethod::Aes192Gcm,
        ContentMethod::Aes256Gcm,
        ContentMethod::Aes128Cbc,
        ContentMethod::Aes192Cbc,
        ContentMethod::Aes256Cbc,
    ] {
        let size = method.uri().split(['#', '-']).nth(1).unwrap().trim_start_matches("aes").to_owned();
        let size: String = size.chars().filter(char::is_ascii_digit).collect();
        for transport in ["rsa-oaep-mgf1p", "rsa-1_5"] {
            let keys = names.map(|name| {
                format!(
                    "<xenc:EncryptedKey><xenc:EncryptionMethod Algorithm='{NS_XENC}{transport}'/><ds:KeyInfo>\
                     <ds:KeyName>{name}</ds:KeyName></ds:KeyInfo><xenc:CipherData><xenc:CipherValue/>\
                     </xenc:CipherData></xenc:EncryptedKey>"
                )
            });
            let template = format!(
                "<xenc:EncryptedData xmlns:xenc='{NS_XENC}' xmlns:ds='{NS_DSIG}'><xenc:EncryptionMethod \
                 Algorithm='{}'/><ds:KeyInfo>{}</ds:KeyInfo><xenc:CipherData><xenc:CipherValue/>\
                 </xenc:CipherData></xenc:EncryptedData>",
                method.uri(),
                keys.concat()
            );
            let plain = peer.path("plain.xml");
            let session = format!("aes-{size}");
            let arguments =
                ["--encrypt", "--session-key", &session, "--binary-data", plain.to_str().unwrap()];
            let (one, two) = (peer.path("rsa.pub"), peer.path("other.pub"));
            let keys: [(&str, &Path); 2] = [("--pubkey-pem:rsa", &one), ("--pubkey-pem:other", &two)];
            let encrypted = peer.run(&arguments, &keys, &template);
            let name = format!("{method:?} {transport}, it encrypts");
            if let Ok(encrypted) = &encrypted {
                let refused = we_decrypt(encrypted, &enc::Policy::default()).is_err();
                matrix.cell(&name, if refused { Ok(()) } else { Err("accepted without policy".to_owned()) });
            }
            let outcome = encrypted.and_then(|encrypted| we_decrypt(&encrypted, &allowed));
            println!("{name}: {}", if outcome.is_ok() { "passed" } else { "failed" });
            matrix.cell(&name, outcome);
        }
        if method.is_cbc() {
            continue;
        }
        for (transport, theirs) in [
            (KeyTransport::Oaep { digest: OaepHash::Sha1, mask: OaepHash::Sha1 }, "rsa-oaep-mgf1p"),
            (KeyTransport::OAEP_SHA256, "rsa-oaep-enc11"),
            (KeyTransport::OAEP_SHA512, "rsa-oaep-enc11"),
            (KeyTransport::Oaep { digest: OaepHash::Sha512, mask: OaepHash::Sha256 }, "rsa-oaep-enc11"),
        ] {
            let recipients = names.map(|name| enc::Recipient {
                spki_der: peer.spki(name),
                key_info: format!("<ds:KeyName>{name}</ds:KeyName>"),
            });
            let plan = enc::Plan { method, iv: IvLength::Twelve, transport, recipients: recipients.to_vec() };
            let encrypted = enc::encrypt(b"<geheim/>", &plan).unwrap();
            let name = format!("{method:?} {transport:?}, we encrypt");
            if !peer.has(theirs) {
                matrix.reasons.insert(format!("xmlsec1 {} has no {theirs}", peer.version));
                matrix.cell(&name, we_decrypt(&encrypted, &allowed));
                continue;
            }
            for recipient in names {
                let option = format!("--privkey-pem:{recipient}");
                let decrypted = peer.run(&["--decrypt"], &[(&option, &peer.key(recipient))], &encrypted);
                let outcome = decrypted.and_then(|text| {
                    if text.contains("<geheim/>") { Ok(()) } else { Err(format!("other content: {text}")) }
                });
                println!("{name}: {}", if outcome.is_ok() { "passed" } else { "failed" });
                matrix.cell(&name, outcome);
            }
        }
    }
    matrix.end();
}
