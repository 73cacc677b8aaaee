//! The search form of names: DIN 91379 (August 2022), table 9, "mapping of Latin letters to basic letters in the way
//! of ICAO", as the annex of the BMeldDAV demands in numbers 4 a) aa) and 6 a) aa).
//!
//! The text is first brought to Unicode's normal form C, so that both ways to write a letter are one; then the longest
//! sequence that the table knows is mapped. What the table does not know is dropped: digits, hyphens, dots, marks
//! that form no letter of the table, letters of other scripts. Separation of names comes before this (see
//! [`super::name`]).

use std::collections::HashMap;
use std::sync::LazyLock;

use unicode_normalization::UnicodeNormalization;

/// Basic letters, the letters beyond ASCII that become them, and the sequences that do.
#[rustfmt::skip]
const TABLE: &[(&str, &str, &[&str])] = &[
    ("A", "ÀÁÂÃàáâãĀāĂăĄąǍǎȧẠạẢảẤấẦầẨẩẪẫẬậẮắẰằẲẳẴẵẶặ", &["A\u{30b}", "a\u{30b}"]),
    ("B", "ḂḃḆḇ", &[]),
    ("C", "ÇçĆćĈĉĊċČčƇƈ", &["C\u{300}", "C\u{304}", "C\u{306}", "C\u{308}", "C\u{315}", "C\u{323}", "C\u{326}", "C\u{328}\u{306}", "c\u{300}", "c\u{304}", "c\u{306}", "c\u{308}", "c\u{315}", "c\u{323}", "c\u{326}", "c\u{328}\u{306}", "Ç\u{306}", "ç\u{306}", "Č\u{315}", "Č\u{323}", "č\u{315}", "č\u{323}"]),
    ("D", "ÐðĎďĐđḊḋḌḍḎḏḐḑ", &["D\u{302}", "d\u{302}"]),
    ("E", "ÈÉÊËèéêëĒēĔĕĖėĘęĚěƏȨȩəḗḜḝẸẹẺẻẼẽẾếỀềỂểỄễỆệ", &["ē\u{30d}"]),
    ("F", "Ḟḟ", &["F\u{300}", "F\u{304}", "f\u{300}", "f\u{304}"]),
    ("G", "ĜĝĞğĠġĢģǤǥǦǧǴǵḠḡ", &["G\u{300}", "g\u{300}"]),
    ("H", "ĤĥĦħȞȟḢḣḤḥḦḧḨḩḪḫẖ", &["H\u{304}", "H\u{326}", "H\u{331}", "h\u{304}", "h\u{326}"]),
    ("I", "ÌÍÎÏìíîïĨĩĪīĬĭĮįİıƗǏǐɨḯỈỉỊị", &["Ī\u{301}", "ī\u{301}"]),
    ("J", "Ĵĵǰ", &["J\u{301}", "J\u{30c}", "j\u{301}"]),
    ("K", "ĶķĸǨǩḰḱḲḳḴḵ", &["K\u{300}", "K\u{302}", "K\u{304}", "K\u{307}", "K\u{315}", "K\u{31b}", "K\u{326}", "k\u{300}", "k\u{302}", "k\u{304}", "k\u{307}", "k\u{315}", "k\u{31b}", "k\u{326}", "Ḳ\u{304}", "ḳ\u{304}"]),
    ("KH", "", &["K\u{35f}H", "K\u{35f}h", "k\u{35f}h"]),
    ("L", "ĹĺĻļĽľĿŀŁłḶḷḺḻ", &["L\u{302}", "L\u{325}", "L\u{325}\u{304}", "L\u{326}", "l\u{302}", "l\u{325}", "l\u{325}\u{304}", "l\u{326}"]),
    ("M", "ṀṁṂṃ", &["M\u{300}", "M\u{302}", "M\u{306}", "M\u{310}", "m\u{300}", "m\u{302}", "m\u{306}", "m\u{310}"]),
    ("N", "ÑñŃńŅņŇňŉŊŋǸǹṄṅṆṇṈṉ", &["N\u{302}", "N\u{304}", "N\u{306}", "N\u{326}", "n\u{302}", "n\u{304}", "n\u{306}", "n\u{326}"]),
    ("O", "ÒÓÔÕòóôõŌōŎŏŐőƠơǑǒǪǫǬǭȬȭȮȯȰȱṒṓỌọỎỏỐốỒồỔổỖỗỘộỚớỜờỞởỠỡỢợ", &["ō\u{30d}"]),
    ("P", "ṔṕṖṗ", &["P\u{300}", "P\u{304}", "P\u{315}", "P\u{323}", "p\u{300}", "p\u{304}", "p\u{315}", "p\u{323}"]),
    ("Q", "", &[]),
    ("R", "ŔŕŖŗŘřȒȓṘṙṚṛṞṟ", &["R\u{306}", "R\u{325}", "R\u{325}\u{304}", "r\u{306}", "r\u{325}", "r\u{325}\u{304}"]),
    ("S", "ŚśŜŝŞşŠšȘșṠṡṢṣ", &["S\u{300}", "S\u{304}", "S\u{31b}\u{304}", "S\u{331}", "s\u{300}", "s\u{304}", "s\u{31b}\u{304}", "s\u{331}", "Ṣ\u{304}", "ṣ\u{304}"]),
    ("T", "ŢţŤťŦŧȚțṪṫṬṭṮṯẗ", &["T\u{300}", "T\u{304}", "T\u{308}", "T\u{315}", "T\u{31b}", "t\u{300}", "t\u{304}", "t\u{315}", "t\u{31b}", "Ṭ\u{304}", "ṭ\u{304}"]),
    ("U", "ÙÚÛùúûŨũŪūŬŭŮůŰűŲųƯưǓǔỤụỦủỨứỪừỬửỮữỰự", &["U\u{307}", "u\u{307}", "Û\u{304}", "û\u{304}", "Ụ\u{304}", "ụ\u{304}"]),
    ("V", "", &[]),
    ("W", "ŴŵẀẁẂẃẄẅẆẇ", &[]),
    ("X", "Ẍẍ", &[]),
    ("Y", "ÝýÿŶŷŸȲȳẎẏỲỳỴỵỶỷỸỹ", &["ÿ\u{301}"]),
    ("Z", "ŹźŻżŽžƷǮǯʒẐẑẒẓẔẕ", &["Z\u{300}", "Z\u{304}", "Z\u{306}", "Z\u{308}", "Z\u{327}", "z\u{300}", "z\u{304}", "z\u{306}", "z\u{308}", "z\u{327}", "Ž\u{326}", "Ž\u{327}", "ž\u{326}", "ž\u{327}"]),
    ("AE", "ÄÆäæǞǟǢǣǼǽ", &["Ạ\u{308}", "ạ\u{308}"]),
    ("AA", "ÅåǺǻ", &[]),
    ("OE", "ÖØöøŒœǾǿȪȫ", &["Ọ\u{308}", "ọ\u{308}"]),
    ("UE", "ÜüǕǖǗǘǙǚǛǜ", &["Ụ\u{308}", "ụ\u{308}"]),
    ("TH", "Þþ", &[]),
    ("SS", "ßẞ", &[]),
    ("IJ", "Ĳĳ", &[]),
];

/// Code points of the longest sequence in the table.
const SEQUENCE_MAX: usize = 3;
type Key = [char; SEQUENCE_MAX];
const BLANK: char = '\0';

static MAPPING: LazyLock<HashMap<Key, &'static str>> = LazyLock::new(|| {
    let singles =
        TABLE.iter().flat_map(|(basic, letters, _)| letters.chars().map(|one| (key(&[one]), *basic)));
    let sequences = TABLE.iter().flat_map(|(basic, _, sequences)| {
        sequences.iter().map(|sequence| (key(&sequence.chars().collect::<Vec<_>>()), *basic))
    });
    singles.chain(sequences).collect()
});

fn key(chars: &[char]) -> Key {
    let mut key = [BLANK; SEQUENCE_MAX];
    for (place, one) in key.iter_mut().zip(chars) {
        *place = *one;
    }
    key
}

/// The search form: capital letters A to Z alone, possibly none.
pub fn search_form(text: &str) -> String {
    mapped(text, |_| false)
}

/// As [`search_form`], with the placeholders `?` and `*` left standing: they are applied to the normalised selection
/// datum (annex 7 b).
pub fn search_form_with_placeholders(text: &str) -> String {
    mapped(text, |one| matches!(one, '?' | '*'))
}

fn mapped(text: &str, keeps: impl Fn(char) -> bool) -> String {
    let chars: Vec<char> = text.nfc().collect();
    let mut out = String::with_capacity(chars.len() + 2);
    let mut at = 0;
    while at < chars.len() {
        let (basic, length) = longest(&chars[at..]);
        match basic {
            Some(basic) => out.push_str(basic),
            None if chars[at].is_ascii_alphabetic() => out.push(chars[at].to_ascii_uppercase()),
            None if keeps(chars[at]) => out.push(chars[at]),
            None => {}
        }
        at += length;
    }
    out
}

/// What the sequence at the front becomes, and how many characters it takes.
fn longest(chars: &[char]) -> (Option<&'static str>, usize) {
    let plain = |one: Option<&char>| one.is_none_or(char::is_ascii);
    if plain(chars.first()) && plain(chars.get(1)) {
        return (None, 1);
    }
    for length in (1..=SEQUENCE_MAX.min(chars.len())).rev() {
        if let Some(basic) = MAPPING.get(&key(&chars[..length])) {
            return (Some(basic), length);
        }
    }
    (None, 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(search_form(text), expected, "{text:?}");
    }

    #[test]
    fn letters_become_basic_letters_and_the_rest_goes() {
        check("Sœrensen", "SOERENSEN");
        check("Sörensen", "SOERENSEN");
        check("So\u{308}rensen", "SOERENSEN");
        check("Weiß", "WEISS");
        check("WEIẞ", "WEISS");
        check("Ångström", "AANGSTROEM");
        check("Łódź", "LODZ");
        check("Ĳssel", "IJSSEL");
        check("Ķ\u{0}ēniņš", "KENINS");
        check("d'Añasco-Ruíz 3.", "DANASCORUIZ");
        check("Ạ\u{308}", "AE");
        check("K\u{35f}Hoja", "KHOJA");
        check("L\u{325}\u{304}a", "LA");
        check("ŉ", "N");
    }

    #[test]
    fn what_the_table_does_not_know_is_dropped() {
        check("0815", "");
        check("Алексей", "");
        check("αβγ", "");
        check("A\u{301}\u{316}", "A");
        // A composed letter outside the table goes as a whole; a loose mark goes alone.
        check("\u{1e01}b", "B");
        check("X\u{301}", "X");
        // Unassigned and private code points.
        check("\u{378}M\u{e000}e\u{10fffd}yer", "MEYER");
    }

    #[test]
    fn every_entry_of_the_table_is_reached() {
        let mut count = 52;
        for (basic, letters, sequences) in TABLE {
            let all = letters.chars().map(String::from).chain(sequences.iter().map(|one| (*one).to_owned()));
            for entry in all {
                count += 1;
                assert_eq!(search_form(&entry), *basic, "{entry:?}");
                assert_eq!(
                    search_form(&format!("m{entry}n")),
                    format!("M{basic}N"),
                    "{entry:?} inside a word"
                );
            }
        }
        assert_eq!(count, 649, "letters and sequences of DIN 91379, group of Latin letters");
    }

    proptest! {
        #[test]
        fn forms_are_capital_letters_and_stay_as_they_are(text in any::<String>()) {
            let form = search_form(&text);
            prop_assert!(form.bytes().all(|byte| byte.is_ascii_uppercase()));
            prop_assert_eq!(search_form(&form), form.clone());
            let decomposed: String = text.nfd().collect();
            prop_assert_eq!(search_form(&decomposed), form);
        }
    }
}
