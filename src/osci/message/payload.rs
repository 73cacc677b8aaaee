//! What a message says beyond its envelope: one variant for each kind, read from and written as the element that is
//! named after the kind.

use super::Error;
use super::accept_delivery::{AcceptDelivery, ResponseToAcceptDelivery};
use super::exit_dialog::ResponseToExitDialog;
use super::feedback::Feedback;
use super::fetch_delivery::{FetchDelivery, ResponseToFetchDelivery};
use super::fetch_process_card::{FetchProcessCard, ResponseToFetchProcessCard};
use super::forward_delivery::{ForwardDelivery, ResponseToForwardDelivery};
use super::init_dialog::ResponseToInitDialog;
use super::kind::{Kind, Operation};
use super::markup;
use super::mediate_delivery::{MediateDelivery, ResponseToMediateDelivery};
use super::message_id::ResponseToGetMessageId;
use super::partial_fetch_delivery::{PartialFetchDelivery, ResponseToPartialFetchDelivery};
use super::partial_store_delivery::{PartialStoreDelivery, ResponseToPartialStoreDelivery};
use super::process_delivery::{ProcessDelivery, ResponseToProcessDelivery};
use super::store_delivery::{ResponseToStoreDelivery, StoreDelivery};
use crate::xml::tree::Element;
use crate::xml::write::Writer;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    InitDialog,
    ExitDialog,
    GetMessageId,
    StoreDelivery(StoreDelivery),
    FetchDelivery(FetchDelivery),
    FetchProcessCard(FetchProcessCard),
    ForwardDelivery(ForwardDelivery),
    MediateDelivery(MediateDelivery),
    AcceptDelivery(Box<AcceptDelivery>),
    ProcessDelivery(Box<ProcessDelivery>),
    PartialStoreDelivery(PartialStoreDelivery),
    PartialFetchDelivery(PartialFetchDelivery),
    ResponseToInitDialog(ResponseToInitDialog),
    ResponseToExitDialog(ResponseToExitDialog),
    ResponseToGetMessageId(ResponseToGetMessageId),
    ResponseToStoreDelivery(Box<ResponseToStoreDelivery>),
    ResponseToFetchDelivery(Box<ResponseToFetchDelivery>),
    ResponseToFetchProcessCard(Box<ResponseToFetchProcessCard>),
    ResponseToForwardDelivery(Box<ResponseToForwardDelivery>),
    ResponseToMediateDelivery(Box<ResponseToMediateDelivery>),
    ResponseToAcceptDelivery(ResponseToAcceptDelivery),
    ResponseToProcessDelivery(ResponseToProcessDelivery),
    ResponseToPartialStoreDelivery(Box<ResponseToPartialStoreDelivery>),
    ResponseToPartialFetchDelivery(Box<ResponseToPartialFetchDelivery>),
}

impl Payload {
    pub fn kind(&self) -> Kind {
        use Operation as O;
        match self {
            Self::InitDialog => Kind::Request(O::InitDialog),
            Self::ExitDialog => Kind::Request(O::ExitDialog),
            Self::GetMessageId => Kind::Request(O::GetMessageId),
            Self::StoreDelivery(_) => Kind::Request(O::StoreDelivery),
            Self::FetchDelivery(_) => Kind::Request(O::FetchDelivery),
            Self::FetchProcessCard(_) => Kind::Request(O::FetchProcessCard),
            Self::ForwardDelivery(_) => Kind::Request(O::ForwardDelivery),
            Self::MediateDelivery(_) => Kind::Request(O::MediateDelivery),
            Self::AcceptDelivery(_) => Kind::Request(O::AcceptDelivery),
            Self::ProcessDelivery(_) => Kind::Request(O::ProcessDelivery),
            Self::PartialStoreDelivery(_) => Kind::Request(O::PartialStoreDelivery),
            Self::PartialFetchDelivery(_) => Kind::Request(O::PartialFetchDelivery),
            Self::ResponseToInitDialog(_) => Kind::Response(O::InitDialog),
            Self::ResponseToExitDialog(_) => Kind::Response(O::ExitDialog),
            Self::ResponseToGetMessageId(_) => Kind::Response(O::GetMessageId),
            Self::ResponseToStoreDelivery(_) => Kind::Response(O::StoreDelivery),
            Self::ResponseToFetchDelivery(_) => Kind::Response(O::FetchDelivery),
            Self::ResponseToFetchProcessCard(_) => Kind::Response(O::FetchProcessCard),
            Self::ResponseToForwardDelivery(_) => Kind::Response(O::ForwardDelivery),
            Self::ResponseToMediateDelivery(_) => Kind::Response(O::MediateDelivery),
            Self::ResponseToAcceptDelivery(_) => Kind::Response(O::AcceptDelivery),
            Self::ResponseToProcessDelivery(_) => Kind::Response(O::ProcessDelivery),
            Self::ResponseToPartialStoreDelivery(_) => Kind::Response(O::PartialStoreDelivery),
            Self::ResponseToPartialFetchDelivery(_) => Kind::Response(O::PartialFetchDelivery),
        }
    }

    /// Reads the element that is named after the kind.
    pub fn read(kind: Kind, element: &Element) -> Result<Self, Error> {
        use Operation as O;
        let nothing = |payload: Self| markup::empty(element).map(|()| payload);
        match kind {
            Kind::Request(O::InitDialog) => nothing(Self::InitDialog),
            Kind::Request(O::ExitDialog) => nothing(Self::ExitDialog),
            Kind::Request(O::GetMessageId) => nothing(Self::GetMessageId),
            Kind::Request(O::StoreDelivery) => StoreDelivery::read(element).map(Self::StoreDelivery),
            Kind::Request(O::FetchDelivery) => FetchDelivery::read(element).map(Self::FetchDelivery),
            Kind::Request(O::FetchProcessCard) => FetchProcessCard::read(element).map(Self::FetchProcessCard),
            Kind::Request(O::ForwardDelivery) => ForwardDelivery::read(element).map(Self::ForwardDelivery),
            Kind::Request(O::MediateDelivery) => MediateDelivery::read(element).map(Self::MediateDelivery),
            Kind::Request(O::AcceptDelivery) => {
                AcceptDelivery::read(element).map(Box::new).map(Self::AcceptDelivery)
            }
            Kind::Request(O::ProcessDelivery) => {
                ProcessDelivery::read(element).map(Box::new).map(Self::ProcessDelivery)
            }
            Kind::Request(O::PartialStoreDelivery) => {
                PartialStoreDelivery::read(element).map(Self::PartialStoreDelivery)
            }
            Kind::Request(O::PartialFetchDelivery) => {
                PartialFetchDelivery::read(element).map(Self::PartialFetchDelivery)
            }
            Kind::Response(O::InitDialog) => {
                ResponseToInitDialog::read(element).map(Self::ResponseToInitDialog)
            }
            Kind::Response(O::ExitDialog) => {
                ResponseToExitDialog::read(element).map(Self::ResponseToExitDialog)
            }
            Kind::Response(O::GetMessageId) => {
                ResponseToGetMessageId::read(element).map(Self::ResponseToGetMessageId)
            }
            Kind::Response(O::StoreDelivery) => {
                ResponseToStoreDelivery::read(element).map(Box::new).map(Self::ResponseToStoreDelivery)
            }
            Kind::Response(O::FetchDelivery) => {
                ResponseToFetchDelivery::read(element).map(Box::new).map(Self::ResponseToFetchDelivery)
            }
            Kind::Response(O::FetchProcessCard) => {
                ResponseToFetchProcessCard::read(element).map(Box::new).map(Self::ResponseToFetchProcessCard)
            }
            Kind::Response(O::ForwardDelivery) => {
                ResponseToForwardDelivery::read(element).map(Box::new).map(Self::ResponseToForwardDelivery)
            }
            Kind::Response(O::MediateDelivery) => {
                ResponseToMediateDelivery::read(element).map(Box::new).map(Self::ResponseToMediateDelivery)
            }
            Kind::Response(O::AcceptDelivery) => {
                ResponseToAcceptDelivery::read(element).map(Self::ResponseToAcceptDelivery)
            }
            Kind::Response(O::ProcessDelivery) => {
                ResponseToProcessDelivery::read(element).map(Self::ResponseToProcessDelivery)
            }
            Kind::Response(O::PartialStoreDelivery) => {
                let read = ResponseToPartialStoreDelivery::read(element);
                read.map(Box::new).map(Self::ResponseToPartialStoreDelivery)
            }
            Kind::Response(O::PartialFetchDelivery) => {
                let read = ResponseToPartialFetchDelivery::read(element);
                read.map(Box::new).map(Self::ResponseToPartialFetchDelivery)
            }
        }
    }

    /// Writes what is inside the element; prefixes are those of [`super::names::STANDARD`] and `osci2017`.
    pub fn write(&self, writer: &mut Writer) {
        match self {
            Self::InitDialog | Self::ExitDialog | Self::GetMessageId => {}
            Self::StoreDelivery(payload) => payload.write(writer),
            Self::FetchDelivery(payload) => payload.write(writer),
            Self::FetchProcessCard(payload) => payload.write(writer),
            Self::ForwardDelivery(payload) => payload.write(writer),
            Self::MediateDelivery(payload) => payload.write(writer),
            Self::AcceptDelivery(payload) => payload.write(writer),
            Self::ProcessDelivery(payload) => payload.write(writer),
            Self::PartialStoreDelivery(payload) => payload.write(writer),
            Self::PartialFetchDelivery(payload) => payload.write(writer),
            Self::ResponseToInitDialog(payload) => payload.write(writer),
            Self::ResponseToExitDialog(payload) => payload.write(writer),
            Self::ResponseToGetMessageId(payload) => payload.write(writer),
            Self::ResponseToStoreDelivery(payload) => payload.write(writer),
            Self::ResponseToFetchDelivery(payload) => payload.write(writer),
            Self::ResponseToFetchProcessCard(payload) => payload.write(writer),
            Self::ResponseToForwardDelivery(payload) => payload.write(writer),
            Self::ResponseToMediateDelivery(payload) => payload.write(writer),
            Self::ResponseToAcceptDelivery(payload) => payload.write(writer),
            Self::ResponseToProcessDelivery(payload) => payload.write(writer),
            Self::ResponseToPartialStoreDelivery(payload) => payload.write(writer),
            Self::ResponseToPartialFetchDelivery(payload) => payload.write(writer),
        }
    }

    /// The feedback of a response.
    pub fn feedback(&self) -> Option<&Feedback> {
        match self {
            Self::ResponseToInitDialog(payload) => Some(&payload.feedback),
            Self::ResponseToExitDialog(payload) => Some(&payload.feedback),
            Self::ResponseToGetMessageId(payload) => Some(&payload.feedback),
            Self::ResponseToStoreDelivery(payload) => Some(&payload.feedback),
            Self::ResponseToFetchDelivery(payload) => Some(&payload.feedback),
            Self::ResponseToFetchProcessCard(payload) => Some(&payload.feedback),
            Self::ResponseToForwardDelivery(payload) => Some(&payload.feedback),
            Self::ResponseToMediateDelivery(payload) => Some(&payload.feedback),
            Self::ResponseToAcceptDelivery(payload) => Some(&payload.feedback),
            Self::ResponseToProcessDelivery(payload) => Some(&payload.feedback),
            Self::ResponseToPartialStoreDelivery(payload) => Some(&payload.feedback),
            Self::ResponseToPartialFetchDelivery(payload) => Some(&payload.feedback),
            _ => None,
        }
    }
}

#[cfg(test)]
#[path = "payload_tests.rs"]
mod tests;
