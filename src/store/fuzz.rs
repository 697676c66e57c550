//! Fuzzing: arbitrary bytes as a record.

use super::record;

/// A key and a record; panics where reading does, or where what was read is not read back.
pub fn record(bytes: &[u8]) {
    let Some((key, bytes)) = bytes.split_first_chunk::<{ record::KEY_BYTES }>() else {
        return;
    };
    let Ok(at) = record::read_key(key) else {
        return;
    };
    assert_eq!(record::key(at), *key);
    let Ok(entity) = record::decode(at, bytes) else {
        return;
    };
    let again = record::decode(at, &record::encode(&entity));
    assert_eq!(again.as_ref(), Ok(&entity));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_are_a_record_or_are_refused(
            kind in 0_u8..10,
            rest in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            super::record(&[&[kind][..], &rest].concat());
        }
    }
}
