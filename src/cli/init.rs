//! `amtsbote init`: a configuration and development certificates in a folder, ready for `serve`.
//!
//! The same preparation serves the demo. Certificates from here are for trying out: the authority's key lies beside
//! them. For production, `amtsbote cert request` makes a request for a real one.

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

use super::exit::{Exit, Stop};
use super::screen;
use crate::admin::directory as file;
use crate::admin::protocol::DirectoryView;
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::domain::account::{
    Account, AccountKey, AccountName, CipherCertificate, OsciParticipant, Rights, SignatureCertificate,
};
use crate::domain::content::Digest;
use crate::domain::party::PartyIdentifier;
use crate::pki::certificate::Certificate;
use crate::pki::development::{DevelopmentPki, KeyChoice, Leaf, Plan, Role, Validity};
use crate::pki::key::{self, Readers};

/// A registry office, Standesamt.
pub(super) const REGISTRY: &str = "standesamt";
pub(super) const REGISTRY_IDENTIFIER: &str = "psw:100411000000";
/// A registration office, Meldebehörde; the key is the one of Saarbrücken.
pub(super) const REGISTRATION: &str = "meldebehoerde";
pub(super) const REGISTRATION_IDENTIFIER: &str = "ags:10041100";

const VALID_DAYS: u64 = 365;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder to write into; made if it does not exist
    #[arg(default_value = "amtsbote", value_name = "FOLDER")]
    folder: PathBuf,
    /// Further host names or addresses for the server's development certificate
    #[arg(long = "name", value_name = "HOST")]
    names: Vec<String>,
    /// Address of the XTA listener
    #[arg(long, default_value = "127.0.0.1:8443", value_name = "ADDRESS")]
    xta: SocketAddr,
    /// Address of the OSCI listener
    #[arg(long, default_value = "127.0.0.1:8444", value_name = "ADDRESS")]
    osci: SocketAddr,
    /// Address of the operator's listener
    #[arg(long, default_value = "127.0.0.1:9464", value_name = "ADDRESS")]
    operator: SocketAddr,
}

/// What was written, with paths that can be used at once.
pub(super) struct Prepared {
    pub config: PathBuf,
    pub participants: PathBuf,
    /// Certificates, keys, lists.
    pub tls: PathBuf,
    /// Who has a certificate beside the two of every first set-up, and is not in `participants`.
    pub further: Vec<Account>,
}

impl Args {
    pub fn run(&self) -> Result<Exit, Stop> {
        let names: Vec<&str> = self.names.iter().map(String::as_str).collect();
        let prepared =
            prepare(&self.folder, &names, &[], [self.xta, self.osci, self.operator], SystemClock.now())?;
        let config = prepared.config.display();
        screen::sentences(&format!(
            "The configuration is in {config}, every key explained.\n\
             Development certificates for the server and two participants are in {} (valid for {VALID_DAYS} days, \
             not for production).\n\
             The participants are described in {}.\n\
             Next, start the server:\n  amtsbote serve --config {config}\n\
             and, beside it, let the participants in:\n  \
             amtsbote participant apply {} --reason \"first set-up\" --config {config}",
            prepared.tls.display(),
            prepared.participants.display(),
            prepared.participants.display(),
        ));
        screen::data(&format!("{config}\n"))?;
        Ok(Exit::Done)
    }
}

/// Name, identifier, title, category.
pub(super) type FurtherOffice = (&'static str, &'static str, &'static str, &'static str);

pub(super) fn prepare(
    folder: &Path,
    names: &[&str],
    further: &[FurtherOffice],
    [xta, osci, operator]: [SocketAddr; 3],
    now: Timestamp,
) -> Result<Prepared, Stop> {
    let mut prepared = Prepared {
        config: folder.join("amtsbote.toml"),
        participants: folder.join("participants.toml"),
        tls: folder.join("tls"),
        further: Vec::new(),
    };
    for path in [&prepared.config, &prepared.participants, &prepared.tls] {
        if path.symlink_metadata().is_ok() {
            return Err(Stop::failed(format!("{} exists already", path.display()))
                .then("Choose another folder, or remove it first"));
        }
    }
    let mut config = Config::default();
    config.xta.address = xta;
    config.osci.address = Some(osci);
    config.osci.crls = vec!["tls/ca.crl".into()];
    config.server.operator_address = operator;
    config.server.identity = match xta.port() {
        0 => "https://localhost/".to_owned(),
        port => format!("https://localhost:{port}/"),
    };
    config.tls.crls = vec!["tls/ca.crl".into()];
    let text = config.to_documented_toml();
    Config::parse(&text, &prepared.config)?;

    // A little before now, for the clocks of machines beside this one.
    let day = Duration::from_secs(86_400);
    let validity = Validity {
        from: now.checked_sub(Duration::from_secs(3600)).unwrap_or(now),
        until: now.checked_add(day * VALID_DAYS as u32).unwrap_or(now),
    };
    let names_of_all: Vec<&str> =
        [REGISTRY, REGISTRATION].into_iter().chain(further.iter().map(|(name, ..)| *name)).collect();
    let plan = Plan { validity, server_names: names, participants: &names_of_all };
    let made = |error: crate::pki::development::Error| Stop::failed(error.to_string());
    let pki = DevelopmentPki::make(&plan).map_err(made)?;
    let unwritable =
        |error: std::io::Error| Stop::failed(format!("{} cannot be written: {error}", folder.display()));
    fs::create_dir_all(&prepared.tls).map_err(unwritable)?;
    pki.write(&prepared.tls).map_err(made)?;
    let offices = [
        (REGISTRY, REGISTRY_IDENTIFIER, "Standesamt Saarbrücken (development)", "Standesamt"),
        (REGISTRATION, REGISTRATION_IDENTIFIER, "Meldebehörde Saarbrücken (development)", "Meldebehörde"),
    ];
    issue(&pki, validity, &prepared.tls, "osci", "OSCI intermediary")?;
    let mut accounts = Vec::new();
    for (name, identifier, title, category) in offices {
        let issued = pki.participants.get(name).ok_or_else(|| Stop::failed("a certificate is missing"))?;
        let mut account = account(name, identifier, title, category, issued.certificate())?;
        account.osci = issue(&pki, validity, &prepared.tls, name, name)?;
        accounts.push(account);
    }
    for (name, identifier, title, category) in further {
        let issued = pki.participants.get(*name).ok_or_else(|| Stop::failed("a certificate is missing"))?;
        prepared.further.push(account(name, identifier, title, category, issued.certificate())?);
    }
    let view = DirectoryView { revision: 0, accounts, profiles: Vec::new() };
    let listed = file::export(&view).map_err(|error| Stop::failed(error.to_string()))?;
    write_new(&prepared.participants, &listed).map_err(unwritable)?;
    write_new(&prepared.config, &text).map_err(unwritable)?;
    Ok(prepared)
}

fn account(
    name: &str,
    identifier: &str,
    title: &str,
    category: &str,
    certificate: &Certificate,
) -> Result<Account, Stop> {
    let wrong = |error: String| Stop::failed(error);
    Ok(Account {
        name: AccountName::parse(name).map_err(|error| wrong(error.to_string()))?,
        title: title.to_owned(),
        blocked: false,
        keys: vec![AccountKey {
            key: certificate.key_fingerprint(),
            certificate: Some(certificate.pem()),
            remark: Some("development".to_owned()),
        }],
        identifiers: vec![
            PartyIdentifier::with_labels(identifier, Some("xoev"), None, Some(category))
                .map_err(|error| wrong(error.to_string()))?,
        ],
        accepts: None,
        rights: Rights::default(),
        profile: None,
        osci: Default::default(),
        portal: Default::default(),
    })
}

/// Writes `STEM-cipher` and `STEM-signature`, each with its key; returns them as a participant's.
fn issue(
    pki: &DevelopmentPki,
    validity: Validity,
    folder: &Path,
    stem: &str,
    common_name: &str,
) -> Result<OsciParticipant, Stop> {
    let stop = |error: String| Stop::failed(error);
    let mut issued = Vec::new();
    for (purpose, role) in [("cipher", Role::Encryption), ("signature", Role::Signature)] {
        let common_name = format!("{common_name} {purpose}");
        let leaf = Leaf { common_name: &common_name, role, key: KeyChoice::Rsa3072, validity, names: &[] };
        let made = pki.authority.issue(&leaf).map_err(|error| stop(error.to_string()))?;
        let file = |ending: &str| folder.join(format!("{stem}-{purpose}.{ending}"));
        key::write_new(&file("crt"), made.chain_pem().as_bytes(), Readers::Everybody)
            .and_then(|()| key::write_new(&file("key"), made.key_pem().as_bytes(), Readers::Owner))
            .map_err(|error| stop(error.to_string()))?;
        issued.push(made.certificate().clone());
    }
    let fingerprint = |certificate: &Certificate| Digest(certificate.fingerprint().0);
    let remark = || Some("development".to_owned());
    let cipher = issued.first().map(|certificate| CipherCertificate {
        fingerprint: fingerprint(certificate),
        identifier: None,
        certificate: Some(certificate.pem()),
        remark: remark(),
    });
    let signature = issued.get(1).map(|certificate| SignatureCertificate {
        fingerprint: fingerprint(certificate),
        certificate: Some(certificate.pem()),
        remark: remark(),
    });
    Ok(OsciParticipant {
        cipher: cipher.into_iter().collect(),
        signature: signature.into_iter().collect(),
        ..OsciParticipant::default()
    })
}

fn write_new(path: &Path, text: &str) -> std::io::Result<()> {
    fs::OpenOptions::new().write(true).create_new(true).open(path)?.write_all(text.as_bytes())
}
