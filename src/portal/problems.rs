//! Every problem type of the door with what it means and what to do: for the page behind its URL, and for
//! `amtsbote explain`.

/// One problem type (RFC 9457), by the last part of its URI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Explanation {
    pub code: &'static str,
    pub english: &'static str,
    pub german: &'static str,
    /// For whoever got it.
    pub peer: &'static str,
    /// For the operator of this post office.
    pub operator: &'static str,
}

const fn of(
    code: &'static str,
    english: &'static str,
    german: &'static str,
    peer: &'static str,
    operator: &'static str,
) -> Explanation {
    Explanation { code, english, german, peer, operator }
}

/// Sorted by code.
pub const ALL: &[Explanation] = &[
    of(
        "ambiguous-route",
        "Two destinations are competent; whoever keeps the routing table must decide.",
        "Zwei Zustellpunkte sind zuständig; wer die Zuständigkeiten pflegt, muss entscheiden.",
        "Tell the operator the place and the service.",
        "`amtsbote route check` names the overlap; end one of the rules.",
    ),
    of(
        "area-invalid",
        "Exactly one of ags, ars and areaId is needed, well-formed, and a LeiKa key.",
        "Genau eine der Angaben ags, ars und areaId wird gebraucht, wohlgeformt, und ein LeiKa-Schlüssel.",
        "Name the place by 8 digits (ags) or 12 (ars, areaId), the service by 14.",
        "Nothing.",
    ),
    of(
        "attachment-exists",
        "The attachment was uploaded before with other bytes.",
        "Die Anlage wurde schon mit anderen Bytes hochgeladen.",
        "Send the same bytes again, or announce a new submission.",
        "Nothing.",
    ),
    of(
        "attachment-incomplete",
        "Attachments were announced that have not been uploaded.",
        "Es wurden Anlagen angekündigt, die nicht hochgeladen sind.",
        "Upload what the detail names, then submit again.",
        "Nothing.",
    ),
    of(
        "attachment-not-announced",
        "The attachment was not announced with the submission.",
        "Die Anlage wurde mit der Einreichung nicht angekündigt.",
        "Name every attachment in announcedAttachments.",
        "Nothing.",
    ),
    of(
        "body-invalid",
        "The body or a parameter is not what this request takes.",
        "Der Inhalt oder ein Parameter ist nicht, was diese Anfrage erwartet.",
        "Compare the request with /openapi.json.",
        "Nothing.",
    ),
    of(
        "body-too-large",
        "The body is larger than is taken.",
        "Der Inhalt ist größer als erlaubt.",
        "Send less; the detail names the limit.",
        "portal.submission_bytes_max and limits.content_bytes_max decide.",
    ),
    of(
        "case-not-found",
        "There is no such case between this client and the destination.",
        "Diesen Vorgang gibt es zwischen diesem Client und dem Zustellpunkt nicht.",
        "Leave caseId out, and a new case begins; a case is continued at the destination where it began.",
        "`amtsbote message show ID` tells whose a submission is; a case is known as long as one of its cards.",
    ),
    of(
        "content-type",
        "The media type is not what this request takes.",
        "Der Medientyp passt nicht zu dieser Anfrage.",
        "Set Content-Type to what the detail names, without a Content-Encoding.",
        "Nothing.",
    ),
    of(
        "destination-not-found",
        "There is no such destination.",
        "Diesen Zustellpunkt gibt es nicht.",
        "Ask /routes who is competent.",
        "`amtsbote destination list` names them.",
    ),
    of(
        "destination-state-invalid",
        "The destination takes nothing at present.",
        "Der Zustellpunkt nimmt zurzeit nichts an.",
        "Try later, or ask the authority.",
        "Its status is inactive, or its participant is blocked: see the participants' file.",
    ),
    of(
        "encryption-invalid",
        "The content is not encrypted as the destination wants it.",
        "Der Inhalt ist nicht so verschlüsselt, wie es der Zustellpunkt verlangt.",
        "Use RSA-OAEP-256 and A256GCM with the key that encryptionKid names.",
        "If older clients compress (zip), portal.zip lets that pass.",
    ),
    of(
        "event-invalid",
        "The event is not taken: form, signature, claims or authentication tags.",
        "Das Ereignis wird nicht angenommen: Form, Signatur, Angaben oder Authentication-Tags.",
        "Sign as PS512 with a key of the destination; the detail names what differs.",
        "See the keys by `amtsbote destination show ID`.",
    ),
    of(
        "event-out-of-order",
        "The submission has been decided, or is over.",
        "Über die Einreichung ist entschieden, oder sie ist beendet.",
        "Read its event log; nothing more is needed.",
        "`amtsbote card show ID` tells what happened to it.",
    ),
    of(
        "internal",
        "A mistake of the post office.",
        "Ein Fehler der Poststelle.",
        "Try again, and tell the operator the instance of the problem.",
        "Find the correlation id in the log.",
    ),
    of(
        "invalid-client",
        "The client is not known, or did not prove who it is.",
        "Der Client ist nicht bekannt oder hat sich nicht ausgewiesen.",
        "Check client_id and client_secret, or show the certificate that the operator knows.",
        "See [[account.portal.client]] in the participants' file; `amtsbote destination secret` makes a new secret.",
    ),
    of(
        "invalid-request",
        "The token request is malformed.",
        "Die Anfrage nach einem Token ist fehlerhaft.",
        "Send grant_type=client_credentials and client_id once each, as a form.",
        "Nothing.",
    ),
    of(
        "invalid-scope",
        "The client may not do what the scope asks for.",
        "Der Client darf nicht, was der Scope verlangt.",
        "Ask for send or subscribe as you were told, or for no scope.",
        "See sends and subscribes of the client; who subscribes needs a destination.",
    ),
    of(
        "method-not-allowed",
        "The method is not served at this path.",
        "Die Methode gibt es an diesem Pfad nicht.",
        "Compare the request with /openapi.json.",
        "Nothing.",
    ),
    of(
        "no-destination",
        "No destination is competent for this service in this place.",
        "Für diese Leistung ist an diesem Ort kein Zustellpunkt zuständig.",
        "Tell the applicant; the authority is not reached this way.",
        "`amtsbote route explain --ars … --leika …` says what was considered; `amtsbote route check` finds gaps.",
    ),
    of(
        "not-allowed",
        "The client may not do this.",
        "Der Client darf das nicht.",
        "Use a client, and a token, with the scope for it.",
        "See sends and subscribes of the client, and the account's rights, in the participants' file.",
    ),
    of(
        "not-found",
        "Nothing is served at this path.",
        "An diesem Pfad gibt es nichts.",
        "Compare the path with /openapi.json.",
        "Nothing.",
    ),
    of(
        "offset-conflict",
        "The upload stands at another offset.",
        "Das Hochladen steht an einer anderen Stelle.",
        "Ask by HEAD for Upload-Offset and go on there.",
        "Nothing.",
    ),
    of(
        "rate-limited",
        "Too many requests.",
        "Zu viele Anfragen.",
        "Wait the seconds that Retry-After names.",
        "portal.requests_per_minute_max decides; wrong secrets from one address (IPv6: one /64) are limited as well.",
    ),
    of(
        "service-not-offered",
        "The destination does not take this service, or the client may not use it.",
        "Der Zustellpunkt nimmt diese Leistung nicht an, oder der Client darf sie nicht nutzen.",
        "Ask /routes who takes the service in the place.",
        "See serves of the destination, accepts of its account and rights.services of the sender's.",
    ),
    of(
        "store-full",
        "The post office is full for the time being.",
        "Die Poststelle ist vorübergehend voll.",
        "Try again later; nothing was lost.",
        "Free space on the disks of store.folder and portal.folder; accepting goes on by itself.",
    ),
    of(
        "submission-exists",
        "The submission was made before with other content.",
        "Die Einreichung wurde schon mit anderem Inhalt vorgenommen.",
        "Announce a new one for other content.",
        "Nothing.",
    ),
    of(
        "submission-not-found",
        "There is no such submission for this client.",
        "Diese Einreichung gibt es für diesen Client nicht.",
        "Check the id; what was announced and not submitted is forgotten after a time.",
        "portal.announced_hours decides; `amtsbote message show ID` tells whose it is.",
    ),
    of(
        "token-invalid",
        "The access token is missing, expired or not one of this post office.",
        "Das Zugriffstoken fehlt, ist abgelaufen oder nicht von dieser Poststelle.",
        "Ask /token for a new one.",
        "If all fail: see portal.url, which tokens are made for, and the clock.",
    ),
    of(
        "too-many-announced",
        "More submissions are announced and not made than are kept.",
        "Es sind mehr Einreichungen angekündigt und nicht vorgenommen, als aufgehoben werden.",
        "Submit or let lapse what was announced; announce only what is about to be uploaded.",
        "2048 of one client and 4096 of one account are kept; those without an upload give way after a minute.",
    ),
    of(
        "too-much-uploaded",
        "This client has uploaded too much that it has not submitted.",
        "Dieser Client hat zu viel hochgeladen, das nicht eingereicht ist.",
        "Submit what is uploaded, then upload again; what is not submitted is forgotten after some hours.",
        "portal.uploads_bytes_max decides how much is kept, portal.announced_hours how long.",
    ),
    of(
        "unavailable",
        "The post office cannot work for the time being.",
        "Die Poststelle kann vorübergehend nicht arbeiten.",
        "Try again later; nothing was lost.",
        "See `amtsbote store health` and the log.",
    ),
    of(
        "upload-broken",
        "The upload ended early; what came is kept and can be continued.",
        "Das Hochladen brach ab; was ankam, ist aufgehoben und kann fortgesetzt werden.",
        "Ask by HEAD for Upload-Offset and go on there by PATCH.",
        "Nothing.",
    ),
];

pub fn find(code: &str) -> Option<&'static Explanation> {
    ALL.iter().find(|one| one.code == code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_explained_once_in_whole_sentences() {
        assert!(ALL.is_sorted_by(|one, other| one.code < other.code));
        for one in ALL {
            for words in [one.english, one.german, one.peer, one.operator] {
                assert!(words.ends_with('.') && !words.contains(".."), "{}: {words}", one.code);
            }
        }
    }
}
