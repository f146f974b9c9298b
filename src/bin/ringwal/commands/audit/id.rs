//! Ids as people write them: hex, or as much of its beginning as no other id has.

use ringwal::key_codec::{self, AuditKey};
use ringwal::{AuditError, Direction, KeyRange, KvStore};

use super::open::Trail;
use crate::exit::WrongUse;

/// Hex digits that an id begins with.
#[derive(Clone, Debug)]
pub(super) struct Prefix {
    text: String,
    lowest: [u8; 32],
    highest: [u8; 32],
}

pub(super) fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An id in full.
pub(super) fn parse(text: &str) -> Result<[u8; 32], String> {
    match prefix(text)? {
        Prefix { lowest, highest, .. } if lowest == highest => Ok(lowest),
        _ => Err(format!("{text:?} has {} hex digits, an id has 64", text.len())),
    }
}

pub(super) fn prefix(text: &str) -> Result<Prefix, String> {
    if text.is_empty() || text.len() > 64 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(format!("{text:?} is no id: 64 hex digits, or the first of them"));
    }
    let filled = |filler: u8| {
        let mut id = [0; 32];
        for (place, byte) in id.iter_mut().enumerate() {
            let digit = |at: usize| text.as_bytes().get(at).copied().unwrap_or(filler);
            let value = |digit: u8| (digit as char).to_digit(16).and_then(|value| u8::try_from(value).ok());
            let (high, low) = (value(digit(place * 2)), value(digit(place * 2 + 1)));
            *byte = high.zip(low).map_or(0, |(high, low)| high << 4 | low);
        }
        id
    };
    Ok(Prefix { text: text.to_ascii_lowercase(), lowest: filled(b'0'), highest: filled(b'f') })
}

/// The one query that the prefix means.
pub(super) fn query(trail: &Trail, prefix: &Prefix) -> anyhow::Result<[u8; 32]> {
    let range = key_codec::record_range(&prefix.lowest, &prefix.highest);
    let mut found = Vec::new();
    for entry in trail.store().scan(range, Direction::Forward, 2)? {
        found.push(*decode(&entry?.key)?.query_id());
    }
    only("query", prefix, &found)
}

/// A key that is none of a trail's is damage.
fn decode(key: &[u8]) -> Result<AuditKey, AuditError> {
    Ok(AuditKey::decode(key)?)
}

/// The one agent that the prefix means.
pub(super) fn agent(trail: &Trail, prefix: &Prefix) -> anyhow::Result<[u8; 32]> {
    let mut found = Vec::new();
    let mut from = Some(prefix.lowest);
    while let Some(lowest) = from.filter(|_| found.len() < 2) {
        let range = key_codec::agent_from(&lowest);
        let Some(agent_id) = first_agent(trail, range)?.filter(|agent_id| *agent_id <= prefix.highest) else {
            break;
        };
        found.push(agent_id);
        from = next(agent_id);
    }
    only("agent", prefix, &found)
}

fn first_agent(trail: &Trail, range: KeyRange) -> anyhow::Result<Option<[u8; 32]>> {
    let Some(entry) = trail.store().scan(range, Direction::Forward, 1)?.next() else { return Ok(None) };
    match decode(&entry?.key)? {
        AuditKey::Agent { agent_id, .. } => Ok(Some(agent_id)),
        _ => Ok(None),
    }
}

/// The id behind this one.
fn next(mut id: [u8; 32]) -> Option<[u8; 32]> {
    let last = id.iter().rposition(|byte| *byte != 0xFF)?;
    id[last] += 1;
    id[last + 1..].fill(0);
    Some(id)
}

fn only(what: &str, prefix: &Prefix, found: &[[u8; 32]]) -> anyhow::Result<[u8; 32]> {
    let text = &prefix.text;
    match found {
        [id] => Ok(*id),
        [] => Err(WrongUse(format!("there is no {what} {text} in this trail")).into()),
        [first, second, ..] => {
            let (first, second) = (hex(first), hex(second));
            Err(WrongUse(format!("{what} {text} is ambiguous: {first} and {second}, perhaps more")).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_everything_that_begins_so() {
        let some = prefix("aBc").unwrap();
        assert_eq!(
            (some.lowest[..2].to_vec(), some.highest[..2].to_vec()),
            (vec![0xAB, 0xC0], vec![0xAB, 0xCF])
        );
        assert_eq!((some.lowest[31], some.highest[31]), (0, 0xFF));
        assert_eq!(parse(&"0f".repeat(32)), Ok([0x0F; 32]));
        for bad in ["", "xyz", "0x12", &"0".repeat(65)] {
            assert!(prefix(bad).is_err(), "{bad}");
        }
        assert!(parse("12").is_err());
        assert_eq!(next([0xFF; 32]), None);
        assert_eq!(next([0; 32]).unwrap()[31], 1);
    }
}
