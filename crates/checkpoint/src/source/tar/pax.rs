//! Extended headers of pax: `"LEN key=value\n"` records (POSIX.1-2017).

/// The records of an extended header that readers of this crate need.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Pax {
    pub(super) path: Option<String>,
    pub(super) size: Option<u64>,
    /// Whether the member is sparse in GNU's format 1.0: its runs stand in
    /// front of its data.
    pub(super) sparse: bool,
    /// Its length with the holes.
    pub(super) real_size: Option<u64>,
}

impl Pax {
    /// Takes the records of `data`; `None` if they are malformed.
    pub(super) fn parse(mut data: &[u8]) -> Option<Self> {
        let mut pax = Self::default();
        let mut version = [None, None];
        while !data.is_empty() {
            let (key, value, rest) = record(data)?;
            data = rest;
            match key {
                b"path" => _ = pax.path.get_or_insert_with(|| lossy(value)),
                // The sparse member's own name; `path` is made up then.
                b"GNU.sparse.name" => pax.path = Some(lossy(value)),
                b"size" => pax.size = Some(decimal(value)?),
                b"GNU.sparse.realsize" => pax.real_size = Some(decimal(value)?),
                b"GNU.sparse.major" => version[0] = decimal(value),
                b"GNU.sparse.minor" => version[1] = decimal(value),
                _ => {}
            }
        }
        pax.sparse = version == [Some(1), Some(0)];
        Some(pax)
    }
}

/// The first record: its key, its value and what follows it.
fn record(data: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let blank = data.iter().take(20).position(|byte| *byte == b' ')?;
    let len = usize::try_from(decimal(data.get(..blank)?)?).ok()?;
    let (record, rest) = data.split_at_checked(len)?;
    let record = record.strip_suffix(b"\n")?.get(blank.saturating_add(1)..)?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    Some((record.get(..equals)?, record.get(equals.saturating_add(1)..)?, rest))
}

/// A decimal number of digits only.
pub(super) fn decimal(text: &[u8]) -> Option<u64> {
    let digits = text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text).ok().filter(|_| digits)?.parse().ok()
}

fn lossy(value: &[u8]) -> String {
    String::from_utf8_lossy(value).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_taken_by_their_length_not_by_their_line_ends() {
        let pax = Pax::parse(b"16 comment=a\nb\n\n12 path=a=b\n11 size=12\n").unwrap();
        assert_eq!(pax.path.as_deref(), Some("a=b"));
        assert_eq!(pax.size, Some(12));
    }

    #[test]
    fn malformed_records_are_refused() {
        for data in
            ["", "x", "5 a=b", "999999999999999999999 a=b\n", "6 a=bc", "4 ab\n", "-6 a=b\n"]
                .map(str::as_bytes)
        {
            assert_eq!(Pax::parse(data).is_some(), data.is_empty(), "{data:?}");
        }
        assert_eq!(Pax::parse(b"2 \n"), None);
        assert_eq!(Pax::parse(b"12 size=-12\n"), None);
    }
}
