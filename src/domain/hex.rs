//! Bytes as text, two lower-case digits each: digests, fingerprints, serial numbers.

pub fn lower(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    let digit = |value: u8| DIGITS.get(usize::from(value)).copied().unwrap_or('0');
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(digit(byte >> 4));
        text.push(digit(byte & 0x0F));
    }
    text
}

/// The bytes of such a text; upper case is taken, too.
pub fn parse(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut bytes = Vec::with_capacity(text.len() / 2);
    for pair in text.as_bytes().chunks(2) {
        let [high, low] = pair else { return None };
        bytes.push(digit(high)? << 4 | digit(low)?);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_byte_has_two_digits() {
        for byte in 0..=u8::MAX {
            assert_eq!(super::lower(&[byte, 0x0A]), format!("{byte:02x}0a"));
            assert_eq!(super::parse(&super::lower(&[byte, 0x0A])), Some(vec![byte, 0x0A]));
        }
        for bad in ["0", "0g", "+1", "ä"] {
            assert_eq!(super::parse(bad), None, "{bad}");
        }
    }
}
