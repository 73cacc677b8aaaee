//! Pushes to passive recipients: forwardDelivery and mediateDelivery of OSCI-Transport 1.2.
//!
//! A sender may name a URL at which the recipient listens, instead of a mailbox that he empties. The post office then
//! becomes a client: it hands the delivery over (acceptDelivery), or asks for a reply at once (processDelivery), while the
//! sender waits on his connection.
//!
//! # Who is dialled
//!
//! The URL comes from a stranger, so it is dialled only where you have listed it for the participant whose cipher
//! certificate the delivery is addressed to:
//!
//! ```toml
//! [account.osci]
//! receivers = ["https://ewo.example/osci-backend-entry/externalentry"]
//! ```
//! A URL stands for everything below its path; scheme, host and port must be the same. A host *name* that leads to this
//! machine or to its link is refused even if it is listed: list the address itself if you mean it. Everything else is
//! answered 9811 before anything is stored (but where a listed name leads is known only when it is dialled: 9809, the
//! message is cancelled and its id used). The log says which URL to add for which participant. For `https`, name
//! the authorities of the recipients' servers in `osci.receiver_anchors`.
//!
//! # What becomes of the message
//!
//! It is accepted like any other, with card and evidence, and *held* while it is pushed. Then:
//!
//! | the recipient | sender hears | message |
//! | --- | --- | --- |
//! | says yes | 0800 or 0801, with 3802 unsigned, 3803 unencrypted | received; content deleted at once; a reply is in the sender's mailbox; one transaction |
//! | says yes to a question and replies nothing | 9806 | received; content deleted |
//! | says no, or has trouble of his own | 9805, 9808 | cancelled, the reason on its card |
//! | certainly saw nothing of it | 9809 | cancelled, the reason on its card |
//! | may have taken it: silence, a broken answer, a foreign challenge | 9810 | stays held |
//! | says yes by a certificate that is not his, not trusted or revoked, or unsigned though his account has `signature_required` | 9807, 9711, 9712 | stays held |
//! | took it, and his reply could not be kept (its sender may not write to the author, disk full) | 9810 | received |
//!
//! A *no* is believed whoever signed it, for nothing is lost by it but time; where the path to the recipient is open, use
//! `https` and encryption. A yes counts unsigned (3802) unless `osci.signature_required` of the recipient's account says
//! otherwise: set it where anybody could sit on the path.
//!
//! A message whose ObsoleteAfter (or expiry) comes within `osci.push_seconds` and twenty seconds more is refused. If an
//! operator releases or cancels a message while it is pushed, what the recipient says counts all the same: a yes
//! receives the released message, and stands as the finding `push-taken-late` on the cancelled one; his reply is kept
//! either way; a no leaves the released one in the mailbox.
//!
//! A reply is handed out in the sender's dialog and received by his next request in it. If the answer is lost, the reply
//! is in his mailbox and fetchDelivery brings it. A mediateDelivery without MessageId leaves neither cards nor anything
//! else behind, as the standard has it; its rights are the same. A reply goes only to whoever has proven who he is, even
//! where `osci.unproven_senders` lets others send.
//!
//! The id of a message that was accepted is used, whatever came of it: a repeated request hears 9801, nobody is asked
//! twice, and fetchProcessCard tells how far it came. Its card has a Forwarding and no Reception where the outcome stayed
//! open; neither where the server was killed in the middle.
//!
//! # What is left to you
//!
//! A message stays held where the recipient may have it, or the server ended in the middle of a push: it was killed, or
//! stopped and the push took longer than `limits.drain_seconds`.
//! `amtsbote message list --state held` shows them; `amtsbote message show ID` says why: a step `push-failed` with the
//! code, or only "held while it is pushed to its recipient" after such an end. No timer repeats the push, because a recipient
//! might then have it twice. Ask him, and then
//!
//! - `amtsbote message release ID` if he does not have it: it enters his mailbox, and he fetches it like any other (an
//!   outlet of that mailbox takes it, too);
//! - `amtsbote message cancel ID` if he has it: the card says so with your reason. Reception is not written, because it
//!   would be the recipient's word.
//!
//! Without either it expires like everything else that nobody fetches.
//!
//! # What a slow recipient costs
//!
//! `osci.push_seconds` bounds one push, `osci.pushes_per_recipient_max` those to one participant at a time; further ones
//! are refused with 9809 after two seconds, and nothing of them is stored. Each push that is under way keeps its sender's
//! connection open, so this number times the recipients that may hang at once should stay well below
//! `limits.connections_max`. Delivery and reply wait in files, not in memory. A push that has begun is finished even if
//! its sender hangs up; a server that stops waits for it, too, within `limits.drain_seconds`. Where the store has trouble
//! when the recipient has said yes, it is tried for ten seconds with his reply and ten more without; the reply may use
//! half of `limits.disk_reserve_bytes`. `amtsbote_osci_pushes_total` counts pushes by operation and outcome (`taken` or the code).
