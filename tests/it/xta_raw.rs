//! Raw HTTP over TLS for the tests of the XTA door: what no well-behaved client would send.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::xta_office::Office;

pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// What stands between two marks in the body.
    pub fn between(&self, from: &str, to: &str) -> Option<String> {
        let text = self.text();
        let (_, rest) = text.split_once(from)?;
        rest.split_once(to).map(|(found, _)| found.to_owned())
    }

    pub fn code(&self) -> String {
        self.between("<code>", "</code>").unwrap_or_default()
    }

    pub fn exception(&self) -> String {
        self.between("<soap:Detail><xta:", ">").unwrap_or_default()
    }

    pub fn sentence(&self) -> String {
        self.between("<name>", "</name>").unwrap_or_default()
    }
}

pub async fn connect(office: &Office, who: Option<&str>) -> TlsStream<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", office.port)).await.expect("connected");
    let name = amtsbote::pki::tls::server_name("localhost").expect("a name");
    TlsConnector::from(office.tls(who)).connect(name, stream).await.expect("TLS")
}

/// Reads one answer; nothing where the connection ends before it.
pub async fn answer(stream: &mut TlsStream<TcpStream>) -> Option<Answer> {
    let read = async {
        let mut bytes = Vec::new();
        let mut buffer = vec![0; 16 * 1024];
        loop {
            if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&bytes[..at]).into_owned();
                let length: usize = head
                    .lines()
                    .find_map(|line| {
                        line.to_ascii_lowercase().strip_prefix("content-length:").map(str::to_owned)
                    })
                    .map_or(0, |length| length.trim().parse().expect("a length"));
                if bytes.len() >= at + 4 + length {
                    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok())?;
                    return Some(Answer { status, head, body: bytes[at + 4..at + 4 + length].to_vec() });
                }
            }
            match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return None,
                Ok(read) => bytes.extend_from_slice(&buffer[..read]),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), read).await.expect("an answer in time")
}

pub async fn exchange(office: &Office, who: Option<&str>, request: &[u8]) -> Option<Answer> {
    let mut stream = connect(office, who).await;
    // A server that refuses may close before everything is written.
    let _ = stream.write_all(request).await;
    let _ = stream.flush().await;
    answer(&mut stream).await
}

/// A request with its length.
pub fn post(content_type: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let head = format!(
        "POST /xta HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// SOAP 1.2 with the operation's action in Content-Type.
pub fn soap(action: &str, headers: &str, body: &str) -> Vec<u8> {
    post(&format!("application/soap+xml; charset=utf-8; action=\"{action}\""), envelope(headers, body))
}

pub fn envelope(headers: &str, body: &str) -> String {
    format!(
        "<s:Envelope xmlns:s=\"http://www.w3.org/2003/05/soap-envelope\" xmlns:m=\"http://www.osci.eu/ws/2014/10/transport\" \
         xmlns:b=\"http://www.osci.eu/ws/2008/05/transport\" xmlns:a=\"http://www.w3.org/2005/08/addressing\" \
         xmlns:x=\"http://xoev.de/transport/xta/211\" xmlns:i=\"http://www.w3.org/2004/08/xop/include\">\
         <s:Header>{headers}</s:Header><s:Body>{body}</s:Body></s:Envelope>"
    )
}

pub fn metadata(id: &str, author: &str, reader: &str, service: &str, delivery_attributes: &str) -> String {
    format!(
        "<m:MessageMetaData><m:DeliveryAttributes>{delivery_attributes}</m:DeliveryAttributes><m:Originators>\
         <m:Author><m:Identifier type=\"xoev\">{author}</m:Identifier></m:Author></m:Originators><m:Destinations>\
         <m:Reader><m:Identifier>{reader}</m:Identifier></m:Reader></m:Destinations><m:MsgIdentification>\
         <a:MessageID>{id}</a:MessageID></m:MsgIdentification><m:Qualifier><m:Service>{service}</m:Service>\
         </m:Qualifier></m:MessageMetaData>"
    )
}

pub fn container(inside: &str) -> String {
    format!(
        "<x:GenericContentContainer><x:ContentContainer>{inside}</x:ContentContainer></x:GenericContentContainer>"
    )
}
