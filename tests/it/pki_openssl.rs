//! OpenSSL as the other side: its responder answers our questions, its lists are read. Without the tool the test says
//! so and passes.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use amtsbote::clock::{Clock, SystemClock};
use amtsbote::pki::certificate::Certificate;
use amtsbote::pki::revocation::answers::{Answers, Question};
use amtsbote::pki::revocation::fetch::{Client, Settings};
use amtsbote::pki::revocation::list::{List, Said};
use amtsbote::pki::revocation::ocsp::Status;

use crate::ports::own_port;
use crate::tools;

/// Ends with the test.
struct Responder(Child);

impl Drop for Responder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn openssl(folder: &Path, arguments: &str) {
    let ran = Command::new("openssl").args(arguments.split(' ')).current_dir(folder).output().expect("runs");
    assert!(ran.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&ran.stderr));
}

/// A CA, three certificates of which one is revoked and one unknown to the index, and a delegated responder.
fn make(folder: &Path, port: u16) {
    let extensions = format!(
        "[ca]\nbasicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n\
         [leaf]\nbasicConstraints=critical,CA:FALSE\nauthorityInfoAccess=OCSP;URI:http://127.0.0.1:{port}\n\
         [ocsp]\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=OCSPSigning\nnoCheck=ignored\n\
         [books]\ndatabase=index.txt\ndefault_md=sha256\ncrlnumber=number\ndefault_crl_days=30\n\
         [delta]\n2.5.29.27=critical,DER:020101\n"
    );
    std::fs::write(folder.join("x.cnf"), extensions).expect("writes");
    std::fs::write(folder.join("number"), "02\n").expect("writes");
    let index = "V\t20991231235959Z\t\t1001\tunknown\t/CN=good\n\
                 R\t20991231235959Z\t261101000000Z,keyCompromise\t1002\tunknown\t/CN=revoked\n";
    std::fs::write(folder.join("index.txt"), index).expect("writes");
    for name in ["ca", "good", "revoked", "strange", "responder"] {
        openssl(folder, &format!("ecparam -name prime256v1 -genkey -noout -out {name}.key"));
        openssl(folder, &format!("req -new -key {name}.key -subj /CN={name} -out {name}.csr"));
    }
    openssl(
        folder,
        "x509 -req -in ca.csr -signkey ca.key -days 999 -extfile x.cnf -extensions ca -out ca.crt",
    );
    for (name, serial, kind) in [
        ("good", 1001, "leaf"),
        ("revoked", 1002, "leaf"),
        ("strange", 1003, "leaf"),
        ("responder", 1004, "ocsp"),
    ] {
        let issue =
            format!("x509 -req -in {name}.csr -CA ca.crt -CAkey ca.key -set_serial 0x{serial} -days 998");
        openssl(folder, &format!("{issue} -extfile x.cnf -extensions {kind} -out {name}.crt"));
    }
}

fn read(folder: &Path, name: &str) -> Certificate {
    Certificate::from_pem(&std::fs::read(folder.join(name)).expect("a file")).expect("a certificate")
}

#[tokio::test]
async fn openssl_answers_and_lists() {
    if !tools::is_here("openssl", &["version"], "OpenSSL's responder and lists are not asked") {
        return;
    }
    let place = tempfile::tempdir().expect("a folder");
    let (folder, port) = (place.path(), own_port());
    make(folder, port);
    let issuer = read(folder, "ca.crt");
    let client = Client::new(Settings {
        hosts: vec![format!("127.0.0.1:{port}")],
        folder: folder.join("kept"),
        nonce_required: true,
        time_max: Duration::from_secs(10),
    });
    for signer in ["ca", "responder"] {
        let arguments = format!(
            "ocsp -index index.txt -port {port} -CA ca.crt -rsigner {signer}.crt -rkey {signer}.key -nmin 60"
        );
        let child = Command::new("openssl")
            .args(arguments.split(' '))
            .current_dir(folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        let _responder = Responder(child);
        let answers = Answers::default();
        let ask = async |name: &str| {
            let question =
                Question { certificate: read(folder, &format!("{name}.crt")), issuer: issuer.clone() };
            let mut outcome = client.ask(&answers, &question, SystemClock.now()).await;
            for _ in 0..100 {
                if outcome.is_ok() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
                outcome = client.ask(&answers, &question, SystemClock.now()).await;
            }
            outcome.unwrap_or_else(|error| panic!("{name} by {signer}: {error}")).status
        };
        assert_eq!(ask("good").await, Status::Good, "{signer}");
        assert!(matches!(ask("revoked").await, Status::Revoked { .. }), "{signer}");
        assert_eq!(ask("strange").await, Status::Unknown, "{signer}");
    }
    let list = |extensions: &str| {
        openssl(
            folder,
            &format!(
                "ca -config x.cnf -name books -gencrl -keyfile ca.key -cert ca.crt -out x.crl{extensions}"
            ),
        );
        openssl(folder, "crl -in x.crl -outform DER -out x.der");
        List::from_der(&std::fs::read(folder.join("x.der")).expect("a list")).expect("read")
    };
    let (full, delta) = (list(""), list(" -crlexts delta"));
    assert!(!full.is_delta() && delta.is_delta() && delta.adds_to(&full));
    let says = |list: &List, name: &str| list.says(&read(folder, name), &issuer, SystemClock.now());
    assert_eq!(says(&full, "good.crt"), Some(Said::Clear));
    assert_eq!(says(&full, "revoked.crt"), Some(Said::Revoked));
    assert_eq!(says(&delta, "good.crt"), None);
    assert_eq!(says(&delta, "revoked.crt"), Some(Said::Revoked));
}
