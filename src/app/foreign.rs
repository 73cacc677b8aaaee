//! Other OSCI intermediaries of the configuration as outlets of the relay: certificates and keys read, and one client for
//! each. They are read at the start; a change takes a restart.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::metadata::XtaMetadata;
use super::trust::read_identity;
use crate::clock::Clock;
use crate::config::{Config, Intermediary};
use crate::osci::client::exchange::Settings;
use crate::osci::client::keys::{Keys, Signature};
use crate::osci::client::session::Client;
use crate::osci::outlet::ForeignIntermediary;
use crate::pki::certificate::Certificate;
use crate::pki::expiry::{Dependence, Holder, Role};
use crate::pki::inspection::{Purpose, UnknownRevocation};
use crate::pki::key;
use crate::pki::tls::client_config;
use crate::pki::trust::{PurposeSettings, TrustAnchors};
use crate::relay::Relay;
use crate::xml::dsig::sign::SigningKey;
use crate::xml::enc::RecipientKey;

/// From here on the mailboxes of its readers are emptied to there. Returns the certificates that this depends on.
pub(super) fn add(
    foreign: &Intermediary,
    relay: &Arc<Relay>,
    config: &Config,
    clock: &Arc<dyn Clock>,
) -> Result<Vec<Dependence>, String> {
    // What waits on its way lies beside what comes in, in files without names.
    let spool_folder = config.osci_settings().spool_folder;
    std::fs::create_dir_all(&spool_folder)
        .map_err(|error| format!("{} cannot be used: {error}", spool_folder.display()))?;
    let mut settings = settings(foreign, clock)?;
    settings.scratch = spool_folder;
    // As much as answers may use: what is on its way out makes room.
    settings.reserve_bytes = config.limits.disk_reserve_bytes / 2;
    // The relay ends each attempt by what it carries; no exchange of it need end sooner.
    settings.transport.exchange_time_max = config.limits.outlet_time(config.limits.content_bytes_max);
    let dependences = dependences(foreign, &settings)?;
    let mut readers = BTreeMap::new();
    for reader in &foreign.readers {
        readers.insert(reader.mailbox.clone(), certificate(&reader.certificate)?);
    }
    let mailboxes = readers.keys().cloned().collect();
    let (client, metadata) = (Client::new(settings), Arc::new(XtaMetadata));
    let outlet = ForeignIntermediary::new(relay, client, readers, metadata, foreign.chunk_kilobytes);
    relay.add_outlet(mailboxes, Arc::new(outlet));
    Ok(dependences)
}

/// Every certificate, ours and theirs, without which nothing travels there any more.
pub fn dependences(foreign: &Intermediary, settings: &Settings) -> Result<Vec<Dependence>, String> {
    let of = |holder, place: String, certificate: Certificate| Dependence {
        holder,
        role: Role::Intermediary,
        owner: foreign.url.clone(),
        place,
        certificate,
    };
    let ours = |place: &str, own: &Certificate| of(Holder::Own, format!("our {place}"), own.clone());
    let mut all = vec![ours("encryption", &settings.keys.cipher)];
    all.extend(settings.keys.signature.as_ref().map(|own| ours("signature", &own.certificate)));
    let theirs =
        |place: &str, one: &Certificate| of(Holder::Participant, format!("their {place}"), one.clone());
    all.push(theirs("encryption", &settings.peer_cipher));
    all.extend(settings.peer_signature.as_ref().map(|one| theirs("signature", one)));
    for reader in &foreign.readers {
        all.push(of(Holder::Participant, reader.mailbox.to_string(), certificate(&reader.certificate)?));
    }
    Ok(all)
}

/// How it is spoken to. Everything that the configuration names is read, so this is also how `check` looks at it.
pub fn settings(foreign: &Intermediary, clock: &Arc<dyn Clock>) -> Result<Settings, String> {
    let address =
        foreign.url.parse().map_err(|error: crate::osci::client::address::AddressError| error.to_string())?;
    let (cipher, pkcs8) = read_identity(&foreign.own_cipher_certificate, &foreign.own_cipher_key)?;
    let cipher_key = RecipientKey::from_pkcs8(&pkcs8)
        .ok_or_else(|| format!("{}: OSCI encryption needs an RSA key", foreign.own_cipher_key.display()))?;
    let (own, pkcs8) = read_identity(&foreign.own_signature_certificate, &foreign.own_signature_key)?;
    let key = SigningKey::from_pkcs8(&pkcs8)
        .map_err(|error| format!("{}: {error}", foreign.own_signature_key.display()))?;
    let keys = Keys { cipher, cipher_key, signature: Some(Signature { certificate: own, key }) };
    let mut settings = Settings::new(address, keys, certificate(&foreign.cipher_certificate)?);
    settings.peer_signature = foreign.signature_certificate.as_deref().map(certificate).transpose()?;
    for reader in &foreign.readers {
        certificate(&reader.certificate)?;
    }
    if !foreign.tls_anchors.is_empty() {
        let believed = PurposeSettings {
            anchors: foreign.tls_anchors.clone(),
            unknown_revocation: UnknownRevocation::Warn,
            ..PurposeSettings::default()
        };
        let anchors = TrustAnchors::load(&[(Purpose::ServerTls, believed)].into());
        let anchors = anchors.map_err(|error| error.to_string())?;
        let tls = client_config(Arc::new(anchors), None, clock.clone()).map_err(|error| error.to_string())?;
        settings.transport.tls = Some(Arc::new(tls));
    }
    Ok(settings)
}

fn certificate(path: &Path) -> Result<Certificate, String> {
    let pem = key::read_bounded(path).map_err(|error| error.to_string())?;
    let chain = Certificate::chain_from_pem(&pem).map_err(|error| format!("{}: {error}", path.display()))?;
    chain.into_iter().next().ok_or_else(|| format!("{} holds no certificate", path.display()))
}
