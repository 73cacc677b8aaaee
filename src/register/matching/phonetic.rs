//! Kölner Phonetik (Postel, 1969) over the search form, as the annex of the BMeldDAV demands in number 1: built from
//! the normalised form, made for German, of the whole name and never cut.
//!
//! The annex leaves the exact variant to each office. Ours: letters that give the same digit one after another count
//! once, then zeros are dropped except in front; H gives no digit and does not keep equal digits apart.

use std::fmt;

use super::name::Form;

/// The digits of a name; empty where the name has none (`H`).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PhoneticCode(String);

impl PhoneticCode {
    pub fn of(form: &Form) -> Self {
        // "Rightly without a name" sounds like nothing but itself.
        if form.is_rightly_absent() {
            return Self(form.as_str().to_owned());
        }
        let letters = form.as_str().as_bytes();
        let mut digits = String::with_capacity(letters.len() + 1);
        let mut last = None;
        for at in 0..letters.len() {
            for digit in digits_of(letters, at).bytes() {
                if last != Some(digit) {
                    if digit != b'0' || last.is_none() {
                        digits.push(char::from(digit));
                    }
                    last = Some(digit);
                }
            }
        }
        Self(digits)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PhoneticCode {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

fn digits_of(letters: &[u8], at: usize) -> &'static str {
    let before = at.checked_sub(1).map(|place| letters[place]);
    let after = letters.get(at + 1).copied();
    let next_in = |set: &[u8]| after.is_some_and(|letter| set.contains(&letter));
    match letters[at] {
        b'A' | b'E' | b'I' | b'J' | b'O' | b'U' | b'Y' => "0",
        b'B' => "1",
        b'P' => {
            if next_in(b"H") {
                "3"
            } else {
                "1"
            }
        }
        b'D' | b'T' => {
            if next_in(b"CSZ") {
                "8"
            } else {
                "2"
            }
        }
        b'F' | b'V' | b'W' => "3",
        b'G' | b'K' | b'Q' => "4",
        b'C' => match before {
            None => {
                if next_in(b"AHKLOQRUX") {
                    "4"
                } else {
                    "8"
                }
            }
            Some(b'S' | b'Z') => "8",
            Some(_) => {
                if next_in(b"AHKOQUX") {
                    "4"
                } else {
                    "8"
                }
            }
        },
        b'X' => {
            if matches!(before, Some(b'C' | b'K' | b'Q')) {
                "8"
            } else {
                "48"
            }
        }
        b'L' => "5",
        b'M' | b'N' => "6",
        b'R' => "7",
        b'S' | b'Z' => "8",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, expected: &str) {
        let form = Form::of(name).expect("a name with letters");
        assert_eq!(PhoneticCode::of(&form).as_str(), expected, "{name}");
    }

    #[test]
    fn names_have_the_digits_that_the_method_gives_them() {
        check("Müller-Lüdenscheidt", "65752682");
        check("Breschnew", "17863");
        check("Wikipedia", "3412");
        for same in ["Meyer", "Maier", "Mayr", "Meiher"] {
            check(same, "67");
        }
        check("Schmidt", "862");
        check("Schmitz", "868");
        check("Philipp", "351");
        check("Xaver", "4837");
        check("Hexe", "048");
        check("Fuchs", "348");
        check("Chlodwig", "45234");
        check("Celik", "854");
        check("Aachen", "046");
        check("H", "");
        check("+", "+");
    }

    #[test]
    fn long_names_are_not_cut() {
        let long = "Karl".repeat(100);
        let form = Form::of(&long).expect("letters");
        assert_eq!(PhoneticCode::of(&form).as_str().len(), 300);
    }
}
