//! What each room is handed of the configuration.

use std::time::Duration;

use super::{Config, Portal};
use crate::domain::profile::{ProfileName, ServiceProfile};
use crate::net::Bounds;
use crate::pki::inspection::Purpose;
use crate::pki::jose::jwe::Zip;
use crate::pki::revocation::fetch;
use crate::pki::trust::{self, PurposeSettings};
use crate::{osci, portal, relay, store, xta};

impl Config {
    /// What listeners may be made to hold.
    pub fn bounds(&self) -> Bounds {
        let limits = &self.limits;
        Bounds {
            handshake: Duration::from_secs(limits.handshake_seconds),
            header: Duration::from_secs(limits.header_seconds),
            idle: limits.idle(),
            keep_alive: Duration::from_secs(limits.keep_alive_seconds),
            bytes_per_second_min: limits.body_bytes_per_second_min,
            header_bytes_max: limits.http_header_bytes_max,
            drain: Duration::from_secs(limits.drain_seconds),
            ..Bounds::default()
        }
    }

    pub fn relay_settings(&self) -> relay::Settings {
        relay::Settings {
            limits: self.limits,
            profile_default: self.profile.clone(),
            profile_portals: Some(self.portal.profile()),
            time_stamp_interval: Duration::from_secs(self.evidence.time_stamp_interval_seconds),
            time_stamp_renew_ahead: Duration::from_secs(
                u64::from(self.evidence.time_stamp_renew_days) * 86_400,
            ),
            former_evidence_keys: self.evidence.former_keys.clone(),
            ..relay::Settings::new(&self.server.system, &self.server.identity)
        }
    }

    pub fn store_settings(&self) -> store::embedded::Settings {
        store::embedded::Settings {
            disk_reserve_bytes: self.limits.disk_reserve_bytes,
            ..store::embedded::Settings::new(&self.store.folder)
        }
    }

    pub fn xta_settings(&self) -> xta::server::Settings {
        xta::server::Settings { path: self.xta.path.clone(), limits: self.limits }
    }

    /// How lists and responders' answers are brought.
    pub fn fetch_settings(&self) -> fetch::Settings {
        let revocation = &self.revocation;
        fetch::Settings {
            hosts: revocation.hosts.clone(),
            folder: revocation.folder.clone(),
            nonce_required: revocation.ocsp_nonce_required,
            time_max: Duration::from_secs(u64::from(revocation.fetch_seconds)),
        }
    }

    pub fn osci_settings(&self) -> osci::server::Settings {
        let policy = crate::xml::enc::Policy {
            cbc: self.osci.aes_cbc,
            rsa_1_5: self.osci.rsa_1_5,
            ..osci::envelope::encrypted::policy()
        };
        osci::server::Settings {
            path: self.osci.path.clone(),
            spool_folder: self.store.folder.join("incoming"),
            chunk_folder: self.store.folder.join("osci-chunks"),
            limits: self.limits,
            inside_wait: Duration::from_secs(20),
            dialog_idle: Duration::from_secs(self.osci.dialog_idle_seconds),
            unproven_senders: self.osci.unproven_senders,
            unproven: Default::default(),
            policy,
            push: osci::server::push::Settings {
                time_max: Duration::from_secs(self.osci.push_seconds),
                per_recipient_max: self.osci.pushes_per_recipient_max,
            },
        }
    }

    pub fn portal_settings(&self) -> portal::server::Settings {
        let portal = &self.portal;
        portal::server::Settings {
            base: portal.url.trim_end_matches('/').to_owned(),
            folder: portal.folder.clone(),
            limits: self.limits,
            submission_bytes_max: portal.submission_bytes_max,
            token_seconds: portal.token_seconds,
            requests_per_minute_max: portal.requests_per_minute_max,
            announced_hours: portal.announced_hours,
            uploads_bytes_max: portal.uploads_bytes_max.max(self.limits.content_bytes_max),
            profile: portal.profile(),
            zip: if portal.zip { Zip::Passes } else { Zip::Refused },
        }
    }

    /// Whom callbacks believe; nothing where no authority is named.
    pub fn receiver_trust(&self) -> Option<trust::Settings> {
        let (portal, lists) = (&self.portal, self.revocation.lists.iter());
        let believed = PurposeSettings {
            anchors: portal.callback_anchors.clone(),
            intermediates: Vec::new(),
            revocation_lists: portal.callback_crls.clone(),
            fetched_lists: lists.map(|url| fetch::list_path(&self.revocation.folder, url)).collect(),
            unknown_revocation: portal.callback_unknown_revocation,
        };
        let is_named = portal.address.is_some() && !portal.callback_anchors.is_empty();
        is_named.then(|| [(Purpose::ServerTls, believed)].into())
    }

    pub fn callback_settings(&self, tls: portal::callback::Receivers) -> portal::callback::Settings {
        portal::callback::Settings {
            tls,
            networks: self.portal.callback_networks.clone(),
            time_max: Duration::from_secs(self.portal.callback_seconds),
            give_up_after: Duration::from_secs(u64::from(self.portal.callback_hours) * 3600),
            looked_at_max: portal::callback::LOOKED_AT_MAX,
        }
    }

    /// Whom the listeners believe.
    pub fn trust_settings(&self) -> trust::Settings {
        let lists = self.revocation.lists.iter();
        let fetched_lists: Vec<_> = lists.map(|url| fetch::list_path(&self.revocation.folder, url)).collect();
        let participants = PurposeSettings {
            anchors: self.tls.anchors.clone(),
            intermediates: self.tls.intermediates.clone(),
            revocation_lists: self.tls.crls.clone(),
            fetched_lists: fetched_lists.clone(),
            unknown_revocation: self.tls.unknown_revocation,
        };
        let mut settings: trust::Settings = [(Purpose::ParticipantTls, participants)].into();
        let (osci, evidence) = (&self.osci, &self.evidence);
        if !evidence.time_stamp_anchors.is_empty() {
            let believed = PurposeSettings {
                anchors: evidence.time_stamp_anchors.clone(),
                intermediates: Vec::new(),
                revocation_lists: evidence.time_stamp_crls.clone(),
                fetched_lists: fetched_lists.clone(),
                unknown_revocation: evidence.time_stamp_unknown_revocation,
            };
            settings.insert(Purpose::TimeStamps, believed);
        }
        if osci.address.is_some() {
            for (purpose, anchors) in [
                (Purpose::OsciSignature, &osci.signature_anchors),
                (Purpose::OsciEncryption, &osci.cipher_anchors),
            ] {
                let believed = PurposeSettings {
                    anchors: anchors.clone(),
                    intermediates: osci.intermediates.clone(),
                    revocation_lists: osci.crls.clone(),
                    fetched_lists: fetched_lists.clone(),
                    unknown_revocation: osci.unknown_revocation,
                };
                settings.insert(purpose, believed);
            }
            if !osci.receiver_anchors.is_empty() {
                let believed = PurposeSettings {
                    anchors: osci.receiver_anchors.clone(),
                    intermediates: osci.intermediates.clone(),
                    revocation_lists: osci.crls.clone(),
                    fetched_lists,
                    unknown_revocation: osci.unknown_revocation,
                };
                settings.insert(Purpose::ServerTls, believed);
            }
        }
        settings
    }
}

impl Portal {
    /// Deadlines of submissions whose destination names no profile. The name is one that no participants' file can have
    /// meant otherwise.
    fn profile(&self) -> ServiceProfile {
        let standard = ServiceProfile::standard();
        ServiceProfile {
            name: ProfileName::parse("urn:amtsbote:profile:portal").unwrap_or(standard.name.clone()),
            expiry_days: self.reject_days,
            reminder_days: self.remind_days,
            retain_payload_days: self.retain_payload_days,
            retain_card_days: self.retain_card_days,
            ..standard
        }
    }
}
