//! The wire format of protobuf, as much of it as OTLP's metrics need.
//! <https://protobuf.dev/programming-guides/encoding/>

/// Wire types.
const VARINT: u8 = 0;
const FIXED_64: u8 = 1;
const LENGTH_DELIMITED: u8 = 2;
const FIXED_32: u8 = 5;

/// Bytes of a field whose content takes `len`.
pub(super) fn field_len(len: usize) -> usize {
    let mut bytes = 2;
    let mut rest = len >> 7;
    while rest > 0 {
        bytes += 1;
        rest >>= 7;
    }
    bytes + len
}

/// What stands before a message of `len` bytes.
pub(super) fn message(out: &mut Vec<u8>, field: u8, len: usize) {
    tag(out, field, LENGTH_DELIMITED);
    write_varint(out, len);
}

/// A field that is a text.
pub(super) fn text(out: &mut Vec<u8>, field: u8, text: &str) {
    message(out, field, text.len());
    out.extend_from_slice(text.as_bytes());
}

/// A field of 64 bits, given as its little-endian bytes.
pub(super) fn fixed64(out: &mut Vec<u8>, field: u8, bytes: [u8; 8]) {
    tag(out, field, FIXED_64);
    out.extend_from_slice(&bytes);
}

/// One byte, which [`field_len`] counts on.
fn tag(out: &mut Vec<u8>, field: u8, wire_type: u8) {
    debug_assert!(field < 16, "longer tags are not needed");
    out.push(field << 3 | wire_type);
}

fn write_varint(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// The content of a field.
#[derive(Clone, Copy, Debug)]
pub(super) enum Field<'b> {
    /// A number, as a varint.
    Number(u64),
    /// Anything else.
    Bytes(&'b [u8]),
}

/// Number and content of each field of a message; none if it is not one.
pub(super) fn fields(mut body: &[u8]) -> Option<Vec<(u64, Field<'_>)>> {
    let mut fields = Vec::new();
    while !body.is_empty() {
        let tag = read_varint(&mut body)?;
        let field = match tag as u8 & 7 {
            VARINT => Field::Number(read_varint(&mut body)?),
            FIXED_64 => Field::Bytes(split(&mut body, 8)?),
            LENGTH_DELIMITED => {
                let length = usize::try_from(read_varint(&mut body)?).ok()?;
                Field::Bytes(split(&mut body, length)?)
            }
            FIXED_32 => Field::Bytes(split(&mut body, 4)?),
            _ => return None,
        };
        fields.push((tag >> 3, field));
    }
    Some(fields)
}

fn read_varint(body: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = body.split_first()?;
        *body = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn split<'b>(body: &mut &'b [u8], length: usize) -> Option<&'b [u8]> {
    let (taken, rest) = body.split_at_checked(length)?;
    *body = rest;
    Some(taken)
}
