//! Destinations and the routing table on the command line, against a real server.

use crate::cli_fixture::Office;

const TOWN: &str = "5b0f6d0e-4a3e-4f61-9a6e-0f3b9d9e8a01";
const LAND: &str = "5b0f6d0e-4a3e-4f61-9a6e-0f3b9d9e8a02";
const SERVICE: &str = "99050012104000";

/// Two destinations beside the participants that `init` made.
fn participants(folder: &std::path::Path) {
    let file = folder.join("participants.toml");
    let mut text = std::fs::read_to_string(&file).expect("the participants");
    let jwk = include_str!("../data/portal/encryption.jwk").trim_end();
    text.push_str("\n[[account]]\nname = \"portal-town\"\nidentifiers = [{ value = \"portal:town\" }]\n");
    for (id, name) in [(TOWN, "Stadt"), (LAND, "Land")] {
        text.push_str(&format!(
            "[[account.portal.destination]]\nid = \"{id}\"\nname = \"{name}\"\nkeys = [{{ jwk = '{jwk}' }}]\n\
             encryption_kid = \"authority-encryption-2026\"\n\
             callback = {{ url = \"https://{name}.example/\", secret = \"{}\" }}\n",
            "s3cret".repeat(8)
        ));
    }
    std::fs::write(file, text).expect("written");
}

#[test]
fn a_table_is_imported_explained_checked_and_exported() {
    let office = Office::open_in(tempfile::tempdir().expect("a folder"), participants);
    let listed = office.run(&["destination", "list"]).ends(0).stdout;
    assert!(listed.contains(TOWN) && listed.contains("portal:town"), "{listed}");
    for arguments in [&["destination", "show", TOWN][..], &["destination", "show", TOWN, "--json"]] {
        let shown = office.run(arguments).ends(0).stdout;
        assert!(shown.contains("authority-encryption-2026") && shown.contains("https://Stadt.example/"));
        assert!(!shown.contains("s3cret"), "a callback's secret is never shown: {shown}");
    }
    office.run(&["destination", "show", "nobody"]).ends(6);

    let csv = format!(
        "ars,leika,destination,valid_from,valid_until\n100000000000,{SERVICE},{LAND},,\n\
         100410100100,{SERVICE},{TOWN},,\n"
    );
    std::fs::write(office.folder.path().join("routes.csv"), &csv).expect("written");
    let import = |file: &str, more: &[&str]| {
        office.run(&[&["route", "import", file, "--reason", "test"], more].concat())
    };
    import("routes.csv", &["--dry-run"]).ends(4);
    assert_eq!(
        office.run(&["route", "export"]).ends(0).stdout,
        "ars,leika,destination,valid_from,valid_until\n"
    );
    import("routes.csv", &["--yes"]).ends(0);
    assert!(import("routes.csv", &["--yes"]).ends(0).stderr.contains("nothing to do"));
    assert_eq!(office.run(&["route", "export"]).ends(0).stdout, csv);
    let toml = office.run(&["route", "export", "--toml"]).ends(0).stdout;
    std::fs::write(office.folder.path().join("routes.toml"), toml).expect("written");
    assert!(import("routes.toml", &["--yes"]).ends(0).stderr.contains("nothing to do"));

    let explain = |area: &[&str]| {
        office.run(&[&["route", "explain", "--leika", SERVICE, "--json"], area].concat()).ends(0).json()
    };
    for (area, expected, considered) in [
        (["--ars", "100410100100"], TOWN, 2),
        (["--ags", "10041100"], TOWN, 2),
        (["--name", "Saarbrücken"], TOWN, 2),
        (["--ags", "10042113"], LAND, 1),
        (["--name", "Merzig"], LAND, 1),
    ] {
        let told = explain(&area);
        assert_eq!(told["rule"]["destination"], expected, "{area:?}");
        assert_eq!(told["considered"].as_array().map(Vec::len), Some(considered), "{area:?}");
    }
    let told = office.run(&["route", "explain", "--leika", SERVICE, "--ars", "100410100100"]).ends(0).stdout;
    assert!(
        told.contains("Stadt of portal-town") && told.contains("a rule for a smaller region wins"),
        "{told}"
    );
    office.run(&["route", "explain", "--leika", SERVICE, "--ars", "091620000000"]).ends(6);
    office.run(&["route", "explain", "--leika", "1", "--ars", "10"]).ends(2);
    office.run(&["route", "explain", "--leika", SERVICE, "--name", "Nirgendwo"]).ends(6);

    assert_eq!(office.run(&["route", "check"]).ends(0).stdout, "");
    let until = csv.replace(&format!("{LAND},,"), &format!("{LAND},,2099-12-31"));
    std::fs::write(office.folder.path().join("until.csv"), until).expect("written");
    import("until.csv", &["--yes"]).ends(0);
    assert_eq!(office.run(&["route", "check", "--day", "2099-12-31"]).ends(0).stdout, "");
    let found = office.run(&["route", "check", "--day", "2100-01-01"]).ends(0).stdout;
    assert!(found.contains("gap: "), "{found}");
    let twice = csv.replace(TOWN, LAND).replace("100410100100", "100000000000").replacen(LAND, TOWN, 1);
    std::fs::write(office.folder.path().join("twice.csv"), twice).expect("written");
    import("twice.csv", &["--yes"]).ends(0);
    let found = office.run(&["route", "check"]).ends(4).stdout;
    assert!(found.starts_with("overlap: "), "{found}");
    office.run(&["route", "explain", "--leika", SERVICE, "--ags", "10042113"]).ends(4);
    std::fs::write(office.folder.path().join("wrong.csv"), csv.replace(TOWN, &TOWN.replace("8a01", "8aff")))
        .expect("written");
    assert!(import("wrong.csv", &["--yes"]).ends(2).stderr.contains("no participant has the destination"));
    // Without any rule it would take every service.
    let without: String =
        csv.lines().filter(|line| !line.contains(TOWN)).map(|line| format!("{line}\n")).collect();
    std::fs::write(office.folder.path().join("without.csv"), without).expect("written");
    assert!(import("without.csv", &["--yes"]).ends(2).stderr.contains("takes every service"));
    office.run(&["destination", "deactivate", TOWN, "--yes", "--reason", "closed"]).ends(0);
    import("without.csv", &["--yes"]).ends(0);
}

/// A certificate of this key that ends in twenty days (DER, base64).
fn ends_soon(pem: &str) -> String {
    use base64::Engine;
    let pair = rcgen::KeyPair::from_pem(pem).expect("a key");
    let mut params = rcgen::CertificateParams::new(vec!["authority.example".to_owned()]).expect("a name");
    let end = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date() + jiff::Span::new().days(20);
    params.not_after = rcgen::date_time_ymd(end.year().into(), end.month() as u8, end.day() as u8);
    let made = params.self_signed(&pair).expect("signed");
    base64::engine::general_purpose::STANDARD.encode(made.der())
}

#[test]
fn state_and_keys_of_a_destination_are_changed_one_by_one() {
    let mut office = Office::open_in(tempfile::tempdir().expect("a folder"), participants);
    let change = |arguments: &[&str]| {
        office.run(&[&["destination"], arguments, &["--yes", "--reason", "roll-over"]].concat())
    };
    let shown = || office.run(&["destination", "show", TOWN, "--json"]).ends(0).json();
    let told = change(&["deactivate", TOWN]).ends(0).stderr;
    assert!(told.contains("inactive") && told.contains("participant export"), "{told}");
    assert_eq!(shown()["status"], "inactive");
    assert!(change(&["deactivate", TOWN]).ends(0).stderr.contains("nothing to do"));
    change(&["activate", TOWN]).ends(0);
    assert_eq!(shown()["status"], "active");
    change(&["activate", &TOWN.replace("8a01", "8aff")]).ends(6);

    let file = |name: &str, text: String| {
        std::fs::write(office.folder.path().join(name), text).expect("written");
        name.to_owned()
    };
    let present = include_str!("../data/portal/encryption.jwk");
    let next = file("next.jwk", present.replace("authority-encryption-2026", "authority-encryption-2027"));
    let other = file("other.jwk", present.replace("AQAB", "AQAD"));
    let secret = file("secret.jwk", present.replacen("\"e\":", "\"d\":\"AQAB\",\"e\":", 1));
    let kids = || -> Vec<String> {
        let keys = shown()["keys"].as_array().expect("keys").clone();
        let jwk = |key: &serde_json::Value| -> serde_json::Value {
            serde_json::from_str(key["jwk"].as_str().expect("a key")).expect("JSON")
        };
        keys.iter().map(|key| jwk(key)["kid"].as_str().expect("a name").to_owned()).collect()
    };
    assert!(change(&["key", "add", TOWN, &secret]).ends(2).stderr.contains("secret part"));
    assert!(change(&["key", "add", TOWN, &other]).ends(2).stderr.contains("another key"));
    assert_eq!(kids(), ["authority-encryption-2026"], "nothing was changed");
    change(&["key", "add", TOWN, &next, "--remark", "from July"]).ends(0);
    assert!(change(&["key", "add", TOWN, &next]).ends(0).stderr.contains("nothing to do"));
    assert_eq!(kids(), ["authority-encryption-2026", "authority-encryption-2027"]);
    assert_eq!(shown()["encryption_kid"], "authority-encryption-2026", "portals go on as before");
    let refused = change(&["key", "remove", TOWN, "authority-encryption-2026"]).ends(2).stderr;
    assert!(refused.contains("portals encrypt for") && refused.contains("key use"), "{refused}");
    change(&["key", "use", TOWN, "authority-encryption-2028"]).ends(6);
    change(&["key", "use", TOWN, "authority-encryption-2027"]).ends(0);
    change(&["key", "remove", TOWN, "authority-encryption-2026"]).ends(0);
    assert_eq!(kids(), ["authority-encryption-2027"]);
    assert_eq!(shown()["encryption_kid"], "authority-encryption-2027");
    let signature = file("signature.jwk", include_str!("../data/portal/signature.jwk").to_owned());
    change(&["key", "add", TOWN, &signature]).ends(0);
    change(&["key", "retire", TOWN, "authority-signature-2026"]).ends(0);
    let told = office.run(&["destination", "show", TOWN]).ends(0).stdout;
    assert!(told.contains("authority-signature-2026 (signature, former)"), "{told}");
    let refused = change(&["key", "retire", TOWN, "authority-encryption-2027"]).ends(2).stderr;
    assert!(refused.contains("is for encryption"), "{refused}");
    change(&["key", "remove", TOWN, "authority-signature-2026"]).ends(0);
    assert_eq!(kids(), ["authority-encryption-2027"]);

    // Of a key that brings its certificate the end is announced.
    let expiring = || office.run(&["cert", "expiring", "--json"]).stdout;
    assert!(!expiring().contains("\"destination\""));
    let with = |name: &str, x5c: &str| {
        let text = include_str!("../data/portal/signature.jwk");
        file(name, text.replacen("\"kty\"", &format!("\"x5c\":[\"{x5c}\"],\"kty\""), 1))
    };
    let foreign = with("foreign.jwk", &ends_soon(include_str!("../data/portal/encryption.key")));
    let refused = change(&["key", "add", TOWN, &foreign]).ends(2).stderr;
    assert!(refused.contains("for another key"), "{refused}");
    let own = with("own.jwk", &ends_soon(include_str!("../data/portal/signature.key")));
    change(&["key", "add", TOWN, &own]).ends(0);
    let told = expiring();
    assert!(told.contains("\"destination\"") && told.contains("portal-town"), "{told}");
    // A next key that lasts longer does not help before it is used.
    let text = include_str!("../data/portal/signature.jwk");
    let next =
        file("next-signature.jwk", text.replace("authority-signature-2026", "authority-signature-2027"));
    change(&["key", "add", TOWN, &next]).ends(0);
    assert!(expiring().contains("\"destination\""));
    change(&["key", "retire", TOWN, "authority-signature-2026"]).ends(0);
    assert!(!expiring().contains("\"destination\""), "nothing more depends on it");
    let land = office.run(&["destination", "show", LAND, "--json"]).ends(0).stdout;
    assert!(land.contains("authority-encryption-2026"), "another destination is as it was");
    assert!(!office.run(&["check"]).ends(0).stdout.contains("destinations"));

    // As a program stored it that did not look.
    let foreign = std::fs::read_to_string(office.path(&foreign)).expect("a key");
    office.restart_after(|folder| store_key(folder, TOWN, &foreign));
    let told = |text: &str| {
        let line =
            text.lines().find(|line| line.contains("for another key")).unwrap_or_else(|| panic!("{text}"));
        for word in [TOWN, "authority-signature-2026", "participant export"] {
            assert!(line.contains(word), "{line}");
        }
    };
    told(&office.run(&["check"]).ends(0).stdout);
    let log = || std::fs::read_to_string(office.path("server.log")).expect("a log");
    for _ in 0..100 {
        if log().contains("destination-key-certificate") {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    told(&log());
    let change = |arguments: &[&str]| {
        office.run(&[&["destination"], arguments, &["--yes", "--reason", "roll-over"]].concat())
    };
    assert!(change(&["deactivate", TOWN]).ends(2).stderr.contains("for another key"));
    let exported = office.run(&["participant", "export"]).ends(0).stdout;
    let bare = include_str!("../data/portal/signature.jwk");
    let mended = exported.replace(foreign.trim_end(), bare.trim_end());
    std::fs::write(office.path("mended.toml"), mended).expect("written");
    office.run(&["participant", "apply", "mended.toml", "--yes", "--reason", "mended"]).ends(0);
    assert!(!office.run(&["check"]).ends(0).stdout.contains("destinations"));
}

/// Puts a key in the place of the destination's one of the same name, past every rule.
fn store_key(folder: &std::path::Path, id: &str, jwk: &str) {
    use amtsbote::store::embedded::{EmbeddedStore, Settings};
    use amtsbote::store::{AdminAct, Store};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let settings = Settings { disk_reserve_bytes: 0, ..Settings::new(folder.join("store")) };
        let store = EmbeddedStore::open(settings).expect("the store");
        let directory = store.directory().await.expect("a directory");
        let mut accounts: Vec<_> = directory.accounts().cloned().collect();
        let mut all = accounts.iter_mut().flat_map(|account| &mut account.portal.destinations);
        let keys = &mut all.find(|one| one.id.as_str() == id).expect("a destination").keys;
        let key = keys.iter_mut().find(|key| key.jwk.contains("authority-signature-2026")).expect("a key");
        key.jwk = jwk.to_owned();
        let word = || "test".to_owned();
        let at = jiff::Timestamp::now();
        let act = AdminAct { at, by: word(), act: word(), object: word(), reason: word() };
        let profiles = directory.profiles().cloned().collect();
        store.apply_directory(directory.revision(), accounts, profiles, act).await.expect("applied");
        store.close().await.expect("closed");
    });
}
