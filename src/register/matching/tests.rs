//! The annex's rules as tables, and a file of further cases where an environment variable names one.

use std::fmt::Write as _;

use serde_json::Value;

use super::date::PartialDate;
use super::latin::search_form;
use super::name::{Form, Manner, Token, all_found};
use super::street::{HouseNumber, street_form, street_token};

/// Person search: the whole name equals one stored name (4 b) bb), 4 d) dd)).
fn whole(stored: &[&str], asked: &str, manner: Manner) -> bool {
    let stored: Vec<Form> = stored.iter().filter_map(|name| Form::of(name)).collect();
    let token = Token::whole(asked, manner).expect("no placeholders");
    token.is_some_and(|token| all_found(&[token], &stored))
}

/// Free search, and first names in both: every part is among the stored parts (6 b) cc), 4 c) aa)).
fn parts(stored: &[&str], asked: &str, manner: Manner) -> bool {
    let stored: Vec<Form> = stored.iter().flat_map(|name| Form::parts_of(name)).collect();
    match Token::parts(asked, manner) {
        Ok(tokens) => !tokens.is_empty() && all_found(&tokens, &stored),
        Err(_) => false,
    }
}

fn dates(stored: &[&str], asked: &str) -> bool {
    let asked: PartialDate = asked.parse().expect("a date");
    stored.iter().any(|one| one.parse() == Ok(asked))
}

fn period(stored: &str, first: &str, last: &str) -> bool {
    let stored: PartialDate = stored.parse().expect("a date");
    stored.lies_in(first.parse().expect("a day"), last.parse().expect("a day"))
}

fn house(asked: [&str; 3], stored: [&str; 3]) -> bool {
    let of = |[number, letter, part]: [&str; 3]| HouseNumber::new(number, letter, part);
    of(asked).admits(&of(stored))
}

/// `+name`: found; `-name`: not found.
#[track_caller]
fn check(stored: &[&str], verdicts: &[&str], matches: impl Fn(&[&str], &str) -> bool) {
    for verdict in verdicts {
        let (sign, asked) = verdict.split_at(1);
        assert_eq!(matches(stored, asked), sign == "+", "stored {stored:?}, asked {asked:?}");
    }
}

fn letters_whole(stored: &[&str], asked: &str) -> bool {
    whole(stored, asked, Manner::Letters)
}

fn letters_parts(stored: &[&str], asked: &str) -> bool {
    parts(stored, asked, Manner::Letters)
}

fn placeholders(stored: &[&str], asked: &str) -> bool {
    parts(stored, asked, Manner::Placeholders)
}

#[test]
fn family_names_of_the_person_search_are_whole_and_in_order() {
    check(
        &["Freiherr zu Birkenau"],
        &[
            "-Freiherr",
            "-Birkenau",
            "-zu Birkenau Freiherr",
            "+Freiherr zu Birkenau",
            "+freiherr  zu birkenau",
        ],
        letters_whole,
    );
    check(&["zu Birkenau"], &["-Freiherr zu Birkenau", "+Zu-Birkenau"], letters_whole);
    check(&["Löwe Haßfurt"], &["-Löwe", "-Haßfurt Löwe", "+Löwe Haßfurt", "+Loewe Hassfurt"], letters_whole);
    check(&["Løvstad"], &["+Lövstad", "+Loevstad", "-Lovstad"], letters_whole);
    // 1st and 2nd period, birth name, former name, order and stage name are one set: any of them may be the one.
    check(&["Adler", "Bussard"], &["+Bussard", "-Adler Bussard"], letters_whole);
    check(&["+"], &["++", "-Adler"], letters_whole);
    check(&["Adler"], &["-+", "-123"], letters_whole);
}

#[test]
fn family_names_of_the_free_search_are_sets_of_parts() {
    check(
        &["Freiherr zu Birkenau"],
        &["+Freiherr", "+Birkenau", "+zu Birkenau Freiherr", "+Birkenau Freiherr", "-Freiherr zur Birkenau"],
        letters_parts,
    );
    check(&["Löwe Haßfurt"], &["+Haßfurt Löwe", "-Löwe Lorch Haßfurt"], letters_parts);
    check(&["zu Birkenau"], &["-Freiherr zu Birkenau"], letters_parts);
    check(
        &["zu Birkenau", "Freiherr Unsinn"],
        &["+Freiherr zu Birkenau", "-Freiherr zu Birkenau Junior"],
        letters_parts,
    );
    // No separation on hyphens.
    check(
        &["Adler-Bussard"],
        &["-Adler", "+Adler-Bussard", "+Adlerbussard", "-Adler Bussard"],
        letters_parts,
    );
}

#[test]
fn first_names_are_a_set_and_a_hyphen_joins() {
    check(
        &["Ernst Otto Willi"],
        &[
            "+Willi",
            "+Otto",
            "+Ernst Otto",
            "+Ernst Willi",
            "+Otto Willi",
            "-Ernst-Otto",
            "+Willi Ernst",
            "-Ernst Rolf",
            "-+",
        ],
        letters_parts,
    );
    check(
        &["Ernst-Otto Willi"],
        &[
            "+Willi",
            "-Ernst Otto",
            "-Ernst Willi",
            "+Ernst-Otto",
            "-Willi Ernst",
            "+Willi Ernst-Otto",
            "-Ernst-Otto Rolf",
            "-+",
            "+Ernstotto",
        ],
        letters_parts,
    );
    check(&["+"], &["++", "-Willi"], letters_parts);
    // 0301 in two periods, 0302, 0303, 0501 and 0502 are one set.
    check(&["Willi", "Bruder Anselm"], &["+Anselm Willi", "+Anselm", "-Ernst"], letters_parts);
}

#[test]
fn order_and_stage_names_are_whole_here_and_sets_there() {
    check(
        &["Lola Fuchs"],
        &["-Lola", "-Fuchs", "+Lola Fuchs", "-Fuchs Lola", "-Lola Rosa Fuchs"],
        letters_whole,
    );
    check(
        &["Lola Fuchs"],
        &["+Lola", "+Fuchs", "+Lola Fuchs", "+Fuchs Lola", "-Lola Rosa Fuchs"],
        letters_parts,
    );
    check(&["Lola"], &["-Dj Lola"], letters_whole);
}

#[test]
fn sound_alone_decides_where_it_is_asked_for() {
    let sound_whole = |stored: &[&str], asked: &str| whole(stored, asked, Manner::Sound);
    let sound_parts = |stored: &[&str], asked: &str| parts(stored, asked, Manner::Sound);
    check(&["Meyer"], &["+Maier", "+Mayr", "-Müller"], sound_whole);
    check(&["Sørensen"], &["+Sorensen"], sound_whole);
    check(&["Meyer Schmidt"], &["+Schmitt", "+Schmied Maier", "-Schulz"], sound_parts);
    check(&["+"], &["++", "-Ah"], sound_parts);
}

#[test]
fn streets_have_one_form_whichever_way_they_end() {
    for (text, form) in [
        ("Krumme Straße", "KRUMMESTRASSE"),
        ("Krumme Str.", "KRUMMESTRASSE"),
        ("Krumme-Strasse", "KRUMMESTRASSE"),
        ("KrummeStr", "KRUMMESTRASSE"),
        ("Kurzer Wegle", "KURZERWEG"),
        ("Enge Gässle", "ENGEGASSE"),
        ("Enge Gassle", "ENGEGASSLE"),
        ("Großer Pl.", "GROSSERPLATZ"),
        ("Platz d. Einheit", "PLATZDEINHEIT"),
        ("Pl. d. Einheit", "PLDEINHEIT"),
        ("Straße des 1. Mai", "STRASSEDESMAI"),
        ("a.b.c.-weg", "ABCWEG"),
    ] {
        assert_eq!(street_form(text).expect("letters").as_str(), form, "{text}");
    }
    assert_eq!(street_form("17"), None);
    let fits = |asked: &str, stored: &str| {
        let token = street_token(asked, true).expect("a term").expect("letters");
        token.fits(&street_form(stored).expect("letters"))
    };
    assert!(fits("Krumm* Str", "Krumme Straße") && fits("Krumme Str*", "Krumme Straße"));
    assert!(!fits("Krumm?Str", "Krumme-Straße 3 B"), "digits are dropped, letters stay");
}

#[test]
fn house_numbers_are_compared_part_by_part() {
    let stored = [
        ["17", "", ""],
        ["17", "a", ""],
        ["17", "", "1/3"],
        ["17", "a", "1/3"],
        ["18", "", ""],
        ["18", "a", ""],
    ];
    for (asked, expected) in [
        (["17", "", ""], [true, true, true, true, false, false]),
        (["17", "a", ""], [false, true, false, true, false, false]),
        (["", "A", ""], [false, true, false, true, false, true]),
        (["0017", "A", "1/3"], [false, false, false, true, false, false]),
        (["1", "", ""], [false; 6]),
    ] {
        for (stored, expected) in stored.iter().zip(expected) {
            assert_eq!(house(asked, *stored), expected, "asked {asked:?}, stored {stored:?}");
        }
    }
    for (number, expected) in
        [("2", false), ("3", true), ("07", true), ("12", true), ("13", false), ("", false)]
    {
        assert_eq!(HouseNumber::new(number, "b", "1/5").lies_in(3, 12), expected, "{number}");
    }
}

#[test]
fn dates_are_equal_or_they_are_not() {
    let stored = ["00000000", "00001998", "00031998", "17031998", "00002001", "00032001", "17032001"];
    for asked in stored {
        for one in stored {
            assert_eq!(dates(&[one], asked), one == asked, "asked {asked}, stored {one}");
        }
    }
    assert!(dates(&["17031998", "18031998"], "18031998"), "earlier periods count");
    for (first, last, expected) in [
        ("1998-03-01", "1998-03-31", [true, true, false, false, false]),
        ("1998-03-05", "1998-03-31", [true, false, false, false, false]),
        ("1997-03-05", "1998-03-31", [true, true, true, false, false]),
        ("1998-03-17", "1998-03-17", [true, false, false, false, false]),
        ("2001-01-01", "2001-01-01", [false, false, false, false, true]),
    ] {
        let stored = ["17031998", "00031998", "00001998", "00000000", "00002001"];
        for (stored, expected) in stored.iter().zip(expected) {
            assert_eq!(period(stored, first, last), expected, "{first} to {last}, stored {stored}");
        }
    }
}

#[test]
fn placeholders_stand_for_letters_of_the_normal_form() {
    check(&["Bayer"], &["+Ba?er", "+Ba*er", "-Ba?r", "-*yer", "-*", "-??"], placeholders);
    check(&["Baer"], &["-Ba?er", "+Ba*er"], placeholders);
    check(&["Bayer-Thoß"], &["-Bayer?Thoß", "+Ba*er*", "+Bayer*"], placeholders);
    check(&["Bayer Thoß"], &["-Bayer?Thoß", "+Ba*er", "-Ba*oß", "+Th* Ba*", "+Tho??"], placeholders);
    check(&["Ernst Otto Willi"], &["+E*t", "+Ernst O*o", "-Ernst*Otto", "-Ern*ich"], placeholders);
    check(&["Bœck"], &["+B*ck", "-B?ck", "+Bo?ck"], placeholders);
}

/// Cases of the same JSON form as this project's partners exchange; every one must hold.
#[test]
fn cases_from_the_named_file_hold() {
    let Some(path) = std::env::var_os("AMTSBOTE_SEARCH_VECTORS") else {
        eprintln!("AMTSBOTE_SEARCH_VECTORS names no file: no further cases were tried");
        return;
    };
    let text =
        std::fs::read_to_string(&path).expect("the file that AMTSBOTE_SEARCH_VECTORS names can be read");
    let file: Value = serde_json::from_str(&text).expect("JSON");
    let cases = file["vectors"].as_array().expect("a list of cases");
    let mut faults = String::new();
    for case in cases {
        if let Err(fault) = try_case(case) {
            let _ = writeln!(faults, "{fault}: {case}");
        }
    }
    assert!(!cases.is_empty() && faults.is_empty(), "of {} cases:\n{faults}", cases.len());
    eprintln!("{} cases of {} hold", cases.len(), path.display());
}

fn try_case(case: &Value) -> Result<(), String> {
    let word = |value: &Value| value.as_str().map(str::to_owned).ok_or_else(|| "not a string".to_owned());
    let rule = word(&case["rule"])?;
    if rule == "norm" {
        let (found, expected) = (search_form(&word(&case["input"])?), word(&case["expect"])?);
        return if found == expected { Ok(()) } else { Err(format!("normal form is {found}")) };
    }
    let stored: Vec<&str> = match &case["register"] {
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
        Value::String(name) => vec![name.as_str()],
        _ => Vec::new(),
    };
    let asked = case["query"].as_str().unwrap_or_default();
    let found = match rule.as_str() {
        "family.person" | "stage.person" => letters_whole(&stored, asked),
        "family.free" | "stage.free" | "given" => letters_parts(&stored, asked),
        "wildcard" => placeholders(&stored, asked),
        "wildcard.reject" => Token::parts(asked, Manner::Placeholders).is_ok(),
        "street" => street_case(case, &stored, asked)?,
        "house" => house_of(&case["query"]).admits(&house_of(&case["register"])),
        "house.range" => {
            let of =
                |value: &Value| value.as_u64().and_then(|number| u32::try_from(number).ok()).unwrap_or(0);
            let stored = HouseNumber::new(&of(&case["register"]).to_string(), "", "");
            stored.lies_in(of(&case["query"][0]), of(&case["query"][1]))
        }
        "birth" => dates(&stored, asked),
        "birth.range" => period(stored[0], &word(&case["query"][0])?, &word(&case["query"][1])?),
        other => return Err(format!("no such rule {other}")),
    };
    if Some(found) == case["match"].as_bool() { Ok(()) } else { Err(format!("match is {found}")) }
}

fn street_case(case: &Value, stored: &[&str], asked: &str) -> Result<bool, String> {
    let (own, theirs) = (street_form(stored[0]), street_form(asked));
    for (form, name) in [(&own, "register_norm"), (&theirs, "query_norm")] {
        let form = form.as_ref().map(Form::as_str);
        if let Some(expected) = case[name].as_str()
            && form != Some(expected)
        {
            return Err(format!("{name} is {form:?}"));
        }
    }
    Ok(own.is_some() && own == theirs)
}

fn house_of(value: &Value) -> HouseNumber {
    let text = |name: &str| match &value[name] {
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        _ => String::new(),
    };
    HouseNumber::new(&text("n"), &text("l"), &text("t"))
}
