//! Help and complaints under snapshot: the command line is an interface, and its words are part of it.

use crate::cli_fixture::amtsbote;

/// Every verb, found by following the lists of subcommands.
fn verbs(folder: &std::path::Path, path: &[String], out: &mut Vec<Vec<String>>) {
    let mut arguments: Vec<&str> = path.iter().map(String::as_str).collect();
    arguments.push("--help");
    let help = amtsbote(folder, &arguments).ends(0).stdout;
    out.push(path.to_vec());
    let listed = help.split("\nCommands:\n").nth(1).unwrap_or_default();
    for line in listed.lines().take_while(|line| !line.is_empty()) {
        let is_name = line.starts_with("  ") && !line.starts_with("   ");
        if let Some(name) = line.split_whitespace().next().filter(|name| is_name && *name != "help") {
            let mut deeper = path.to_vec();
            deeper.push(name.to_owned());
            verbs(folder, &deeper, out);
        }
    }
}

#[test]
fn help_of_every_verb() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut found = Vec::new();
    verbs(folder.path(), &[], &mut found);
    assert!(found.len() > 45, "only {} verbs were found", found.len());
    let texts: Vec<String> = found
        .iter()
        .map(|path| {
            let mut arguments: Vec<&str> = path.iter().map(String::as_str).collect();
            arguments.push("--help");
            format!(
                "$ amtsbote {}\n\n{}",
                arguments.join(" "),
                amtsbote(folder.path(), &arguments).ends(0).stdout
            )
        })
        .collect();
    insta::assert_snapshot!(texts.join("\n"));
}

#[test]
fn wrong_input_is_answered_with_what_is_wrong() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("writes");
    write("unknown-key.toml", "[store]\nfolder = \"s\"\n[limits]\nidle_second = 3\n");
    write("no-toml.toml", "[store\n");
    write("participants.toml", "[[account]]\nname = \"Amt\"\n");
    write("no.pem", "nothing here\n");
    write("proof.txt", "amtsbote-proof/1\nnonsense\n");
    let cases: [(&[&str], i32); 18] = [
        (&["servve"], 2),
        (&["message", "list", "--state", "lost"], 2),
        (&["message", "show", "a b"], 2),
        (&["message", "hold", "x"], 2),
        (&["participant", "apply", "participants.toml"], 2),
        (&["evidence", "verify"], 2),
        (&["send", "x.xml", "--from", "", "--to", "b"], 2),
        (&["mailbox", "list"], 2),
        (&["mailbox", "list", "--config", "unknown-key.toml"], 2),
        (&["mailbox", "list", "--config", "no-toml.toml"], 2),
        (&["mailbox", "list", "--socket", "nobody.sock"], 3),
        (&["participant", "apply", "participants.toml", "--reason", "x", "--socket", "nobody.sock"], 2),
        (&["cert", "show", "no.pem"], 2),
        (&["cert", "show", "absent.pem"], 2),
        (&["evidence", "verify", "absent.txt"], 2),
        (&["evidence", "verify", "proof.txt"], 4),
        (&["store", "verify", "absent"], 2),
        (&["explain", "4711"], 6),
    ];
    let mut said = String::new();
    for (arguments, code) in cases {
        let ran = amtsbote(folder.path(), arguments).ends(code);
        assert_eq!(ran.stdout, "", "a complaint is no data: {arguments:?}");
        said.push_str(&format!("$ amtsbote {}\n{}exit {code}\n\n", arguments.join(" "), ran.stderr));
    }
    insta::assert_snapshot!(said);
}

#[test]
fn every_code_can_be_explained() {
    let folder = tempfile::tempdir().expect("a folder");
    let list = amtsbote(folder.path(), &["explain"]).ends(0).stdout;
    assert_eq!(list.lines().count(), 23 + 64 + 32 + 20 + 19 + 30);
    let portal = amtsbote(folder.path(), &["explain", "no-destination"]).ends(0).stdout;
    assert!(portal.contains("amtsbote route explain") && portal.contains("zuständig"), "{portal}");
    let one = amtsbote(folder.path(), &["explain", "9024"]).ends(0).stdout;
    assert!(one.contains("createMessageId") && one.contains("Nachrichten-ID"), "{one}");
    let code = amtsbote(folder.path(), &["explain", "T070"]).ends(0).stdout;
    assert!(code.contains("rueckweisung.asynchron.0010") && code.contains("nicht berechtigt"), "{code}");
    // By number and by word.
    let reason = amtsbote(folder.path(), &["explain", "02"]).ends(0).stdout;
    assert_eq!(reason, amtsbote(folder.path(), &["explain", "street-unknown"]).ends(0).stdout);
    assert!(reason.contains("street-unknown (02)") && reason.contains("keine Straße"), "{reason}");
    let number = amtsbote(folder.path(), &["explain", "0032"]).ends(0).stdout;
    assert!(number.contains("nichtzustaendigkeit.0032") && number.contains("andere Stelle"), "{number}");
    let shared = amtsbote(folder.path(), &["explain", "9100"]).ends(0).stdout;
    assert!(shared.contains("NotBefore") && shared.contains("keine gültige OSCI-Nachricht"), "{shared}");
    let both = amtsbote(folder.path(), &["explain", "CancelDenied", "--json"]).ends(0).json();
    assert_eq!(both.as_array().map(Vec::len), Some(2));
}

#[test]
fn completions_and_manual_pages_come_from_the_same_definition() {
    let folder = tempfile::tempdir().expect("a folder");
    for shell in ["bash", "zsh", "fish"] {
        assert!(
            amtsbote(folder.path(), &["completions", shell]).ends(0).stdout.contains("requeue"),
            "{shell}"
        );
    }
    assert!(amtsbote(folder.path(), &["man"]).ends(0).stdout.starts_with(".ie"));
    amtsbote(folder.path(), &["man", "--into", "pages"]).ends(0);
    let page = std::fs::read_to_string(folder.path().join("pages/amtsbote-message-requeue.1"));
    assert!(page.expect("a page for each verb").contains("requeue"));
}
