//! Reads a large answer while it is decompressed.
//!
//! Series in exactly the form that Prometheus writes are read here. Labels that an earlier answer had are
//! recognised by their bytes and not parsed again. From the first series in another form on, the rest of the
//! answer is left to [`matrix`].

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Read};

use memchr::memmem;

use super::matrix;
use crate::gpu::reading::Sample;

/// Bytes that are unpacked at a time: few enough to stay in a processor's cache until they are read.
const WINDOW: usize = 128 << 10;
/// An answer up to its first series.
const HEAD: &[u8] = br#"{"status":"success","data":{"resultType":"matrix","result":["#;
/// A series up to its labels.
const METRIC: &[u8] = br#"{"metric":"#;
/// Between labels and samples. In JSON these bytes are nowhere else: after a string that ends with `},`
/// there is no `v`.
const VALUES: &[u8] = br#"},"values":["#;
/// For the same reason the only place of the name in labels.
const NAME: &[u8] = br#""__name__":""#;
/// Bytes of what is known about labels, besides their text, with room for what vectors and maps keep free.
const ENTRY_BYTES: usize = 128;
/// So many digits make a whole number that a float holds exactly.
const EXACT_DIGITS: usize = 15;
#[rustfmt::skip]
const POWERS_OF_TEN: [f64; EXACT_DIGITS + 1] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];

/// What the labels read so far mean, leaving the metric's name aside. A run's answers about several metrics
/// repeat the labels of each GPU, mostly in the same order.
#[derive(Debug)]
pub(crate) struct Known<T> {
    /// The labels' text without the name, one after the other.
    texts: Vec<u8>,
    entries: Vec<Entry<T>>,
    by_hash: HashMap<u64, u32>,
    hashes: RandomState,
    /// Number of the entry after the one that was found last.
    next: usize,
    /// Of the labels that were read last.
    values: Vec<String>,
    /// Limit on the bytes of all this.
    limit: usize,
}

#[derive(Debug)]
struct Entry<T> {
    /// Where its text begins, was parted by the name, and ends.
    place: [u32; 3],
    meaning: T,
}

impl<T> Known<T> {
    /// Nothing is known yet, and never more than about `limit` bytes.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            texts: Vec::new(),
            entries: Vec::new(),
            by_hash: HashMap::new(),
            hashes: RandomState::new(),
            next: 0,
            values: Vec::new(),
            limit: limit.min(u32::MAX as usize),
        }
    }

    /// The number of the entry for labels without their name, made with `meaning` if there is none. None
    /// unless `text`, the labels with their name, is valid.
    fn entry(
        &mut self,
        parts: [&[u8]; 2],
        text: &[u8],
        labels: &[String],
        meaning: impl FnOnce(&[String]) -> T,
    ) -> Option<usize> {
        if self.is(self.next, parts) {
            return Some(self.next);
        }
        let mut hash = self.hashes.build_hasher();
        parts.into_iter().for_each(|part| hash.write(part));
        let hash = hash.finish();
        if let Some(index) = self.by_hash.get(&hash)
            && self.is(*index as usize, parts)
        {
            return Some(*index as usize);
        }
        matrix::read_labels(text, labels, &mut self.values).ok()?;
        let bytes = self.texts.len() + text.len() + self.entries.len() * ENTRY_BYTES;
        if bytes > self.limit {
            self.texts.clear();
            self.entries.clear();
            self.by_hash.clear();
        }
        let index = self.entries.len();
        let start = self.texts.len();
        parts
            .into_iter()
            .for_each(|part| self.texts.extend_from_slice(part));
        let place = [start, start + parts[0].len(), self.texts.len()];
        self.entries.push(Entry {
            place: place.map(|at| at as u32),
            meaning: meaning(&self.values),
        });
        self.by_hash.insert(hash, index as u32);
        Some(index)
    }

    fn is(&self, index: usize, [before, after]: [&[u8]; 2]) -> bool {
        self.entries.get(index).is_some_and(|entry| {
            let [start, parted, end] = entry.place.map(|at| at as usize);
            self.texts[start..parted] == *before && self.texts[parted..end] == *after
        })
    }
}

/// Reads an answer as [`matrix::read`] does. `meaning` makes something of the values of `labels`, once for
/// all series of the same labels but for the name; `each` takes name, meaning and samples of every series.
///
/// # Errors
/// The bytes can't be read, or are no such answer.
pub(crate) fn read<T>(
    answer: impl Read,
    labels: &[String],
    known: &mut Known<T>,
    meaning: impl FnMut(&[String]) -> T,
    each: impl FnMut(&str, &T, &[Sample]),
) -> io::Result<Vec<String>> {
    read_by(WINDOW, answer, labels, known, meaning, each)
}

fn read_by<T>(
    window: usize,
    answer: impl Read,
    labels: &[String],
    known: &mut Known<T>,
    mut meaning: impl FnMut(&[String]) -> T,
    mut each: impl FnMut(&str, &T, &[Sample]),
) -> io::Result<Vec<String>> {
    let pattern = Pattern::new();
    let mut text = Window::new(answer, window);
    let mut samples = Vec::new();
    let mut name = String::new();
    known.next = 0;
    let mut in_result = false;
    loop {
        let rest = text.rest();
        let read = if in_result {
            pattern.series(rest, &mut samples).and_then(|series| {
                let parts = [series.before, series.after];
                let entry = known.entry(parts, series.labels, labels, &mut meaning)?;
                known.next = entry + 1;
                if name.as_bytes() != series.name {
                    name = valid_name(series.name)?;
                }
                each(&name, &known.entries[entry].meaning, &samples);
                Some(series.rest)
            })
        } else {
            rest.strip_prefix(HEAD)
        };
        if let Some(left) = read {
            in_result = true;
            let left = left.len();
            text.leave(left);
        } else if !text.fill()? {
            break;
        }
    }
    let name = labels.iter().position(|label| label == "__name__");
    let mut rest = text.rest();
    let whole;
    if in_result {
        whole = [HEAD, rest].concat();
        rest = &whole;
    }
    let warnings = matrix::read(rest, labels, |values, samples| {
        let name = name.map_or("", |place| &values[place]);
        each(name, &meaning(values), samples);
    })?;
    Ok(warnings)
}

/// The part of a text that is in memory.
struct Window<R> {
    source: R,
    buffer: Vec<u8>,
    /// What is neither read nor free.
    start: usize,
    end: usize,
}

impl<R: Read> Window<R> {
    fn new(source: R, bytes: usize) -> Self {
        Self {
            source,
            buffer: vec![0; bytes],
            start: 0,
            end: 0,
        }
    }

    fn rest(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Drops all but the last `left` bytes.
    fn leave(&mut self, left: usize) {
        self.start = self.end - left;
    }

    /// Adds to the rest, and makes room where it fills the window. Returns false at the text's end.
    fn fill(&mut self) -> io::Result<bool> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.end == self.buffer.len() {
            self.buffer.resize(2 * self.buffer.len(), 0);
        }
        let before = self.end;
        while self.end < self.buffer.len() {
            match self.source.read(&mut self.buffer[self.end..]) {
                Ok(0) => break,
                Ok(read) => self.end += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(self.end > before)
    }
}

/// Finds the parts of a series.
struct Pattern {
    values: memmem::Finder<'static>,
    name: memmem::Finder<'static>,
}

/// One series of a text.
struct Series<'t> {
    labels: &'t [u8],
    name: &'t [u8],
    /// The labels but for the name, before and after it.
    before: &'t [u8],
    after: &'t [u8],
    /// What follows, from the next series or the list's end on.
    rest: &'t [u8],
}

impl Pattern {
    fn new() -> Self {
        Self {
            values: memmem::Finder::new(VALUES),
            name: memmem::Finder::new(NAME),
        }
    }

    /// The series that a text begins with, its samples in `samples`. None unless it is whole, and as
    /// Prometheus writes it; whether the labels are valid JSON is left open.
    fn series<'t>(&self, text: &'t [u8], samples: &mut Vec<Sample>) -> Option<Series<'t>> {
        let text = text.strip_prefix(METRIC)?;
        let end = self.values.find(text)?;
        let labels = &text[..=end];
        let (before, named) = labels.split_at(self.name.find(labels)?);
        let named = &named[NAME.len()..];
        let (name, after) = named.split_at(memchr::memchr(b'"', named)?);
        let rest = read_samples(&text[end + VALUES.len()..], samples)?;
        Some(Series {
            labels,
            name,
            before,
            after,
            rest,
        })
    }
}

/// A metric's name, unless it needs JSON's escapes.
fn valid_name(text: &[u8]) -> Option<String> {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"_:".contains(byte);
    text.iter()
        .all(is_plain)
        .then(|| String::from_utf8_lossy(text).into_owned())
}

/// Reads samples up to the end of their series. Returns the rest from the next series or the list's end on.
fn read_samples<'t>(mut rest: &'t [u8], samples: &mut Vec<Sample>) -> Option<&'t [u8]> {
    samples.clear();
    loop {
        let (at, after) = moment(rest.strip_prefix(b"[")?)?;
        let (value, after) = value(after.strip_prefix(b",\"")?)?;
        samples.push((at, value));
        rest = match after.strip_prefix(b"]")? {
            [b',', next @ ..] => next,
            [b']', b'}', next @ ..] => break rest = next,
            _ => return None,
        };
    }
    match rest {
        [b',', next @ ..] if next.starts_with(b"{") => Some(next),
        [b']', ..] => Some(rest),
        _ => None,
    }
}

/// Seconds with up to three decimals, in milliseconds.
fn moment(text: &[u8]) -> Option<(i64, &[u8])> {
    let number = Decimal::read(text)?;
    // No number in JSON begins with a 0 that other digits follow, or ends with its point.
    let is_written_so = (text[0] != b'0' || number.whole == 1) && number.decimals != Some(0);
    let shift = 3usize.checked_sub(number.decimals.unwrap_or_default())?;
    let milliseconds = number.digits * [1, 10, 100, 1_000][shift];
    // Above, the other reader's float is no longer exact to half a millisecond.
    let is_exact = milliseconds < 1 << 50;
    (is_written_so && is_exact).then_some((milliseconds as i64, number.after))
}

/// A number in a string, and the quotation mark after it.
fn value(text: &[u8]) -> Option<(f64, &[u8])> {
    if let Some(number) = Decimal::read(text)
        && let Some(rest) = number.after.strip_prefix(b"\"")
    {
        // Both are exact, so that the quotient is the float nearest to the decimal.
        let value = number.digits as f64 / POWERS_OF_TEN[number.decimals.unwrap_or_default()];
        return Some((value, rest));
    }
    let (number, rest) = text.split_at(memchr::memchr(b'"', text)?);
    let is_plain = |byte: &u8| byte.is_ascii_graphic() && *byte != b'\\';
    let number = str::from_utf8(number).ok()?;
    number
        .as_bytes()
        .iter()
        .all(is_plain)
        .then(|| (matrix::value(number), &rest[1..]))
}

/// Digits, perhaps with a point among them.
struct Decimal<'t> {
    digits: u64,
    /// How many are before the point.
    whole: usize,
    /// And how many behind it, if there is one.
    decimals: Option<usize>,
    after: &'t [u8],
}

impl<'t> Decimal<'t> {
    /// Reads digits before and perhaps behind a point. None if they are none, or too many to be exact.
    fn read(text: &'t [u8]) -> Option<Self> {
        let (mut digits, whole) = append_digits(0, text);
        let mut after = &text[whole..];
        let mut decimals = None;
        if let Some(behind) = after.strip_prefix(b".") {
            let count;
            (digits, count) = append_digits(digits, behind);
            after = &behind[count..];
            decimals = Some(count);
        }
        let length = whole + decimals.unwrap_or_default();
        (whole > 0 && length <= EXACT_DIGITS).then_some(Self {
            digits,
            whole,
            decimals,
            after,
        })
    }
}

/// Appends the digits that a text begins with. Returns how many they are, too.
fn append_digits(mut number: u64, text: &[u8]) -> (u64, usize) {
    let mut count = 0;
    for byte in text {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        number = number.wrapping_mul(10).wrapping_add(u64::from(digit));
        count += 1;
    }
    (number, count)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Collected = Vec<(Vec<String>, Vec<(i64, u64)>)>;

    fn labels() -> [String; 3] {
        ["__name__", "gpu", "instance_id"].map(str::to_owned)
    }

    fn bits(samples: &[Sample]) -> Vec<(i64, u64)> {
        let bits = |(at, value): &Sample| (*at, value.to_bits());
        samples.iter().map(bits).collect()
    }

    /// What the reader of any answer makes of each one, if that is no error.
    fn expected(answers: &[&str]) -> Option<(Collected, Vec<String>)> {
        let (mut all, mut warnings) = (Vec::new(), Vec::new());
        for answer in answers {
            let read = matrix::read(answer.as_bytes(), &labels(), |values, samples| {
                all.push((values.to_vec(), bits(samples)));
            });
            warnings.extend(read.ok()?);
        }
        Some((all, warnings))
    }

    /// The same by this reader, and how many labels it has read.
    fn streamed(window: usize, answers: &[&str]) -> Option<(Collected, Vec<String>, usize)> {
        streamed_within(1 << 20, window, answers)
    }

    fn streamed_within(
        limit: usize,
        window: usize,
        answers: &[&str],
    ) -> Option<(Collected, Vec<String>, usize)> {
        let (mut all, mut warnings, mut labels_read) = (Vec::new(), Vec::new(), 0);
        let mut known = Known::new(limit);
        for answer in answers {
            let read = read_by(
                window,
                answer.as_bytes(),
                &labels(),
                &mut known,
                |values| {
                    labels_read += 1;
                    values[1..].to_vec()
                },
                |name, others, samples| {
                    let values = [&[name.to_owned()], &others[..]].concat();
                    all.push((values, bits(samples)));
                },
            );
            warnings.extend(read.ok()?);
        }
        Some((all, warnings, labels_read))
    }

    fn answer(series: &[String]) -> String {
        let head = str::from_utf8(HEAD).unwrap();
        format!(
            "{head}{}]}},\"warnings\":[\"slow down\"]}}",
            series.join(",")
        )
    }

    fn gpu(name: &str, gpu: u32, values: &str) -> String {
        format!(
            r#"{{"metric":{{"UUID":"GPU-{gpu}","__name__":"{name}","gpu":"{gpu}","instance_id":"i-1"}},"values":[{values}]}}"#
        )
    }

    const VALUES_WRITTEN: [&str; 20] = [
        "98",
        "0",
        "0.5",
        "412.345",
        "1e+02",
        "-0.25",
        "-0",
        "+Inf",
        "-Inf",
        "NaN",
        "9223372036854775794",
        "123456789012345",
        "1234567890123456",
        "0.000001",
        "0.1234567890123456789",
        "",
        ".",
        "5.",
        ".5",
        "ninety",
    ];

    #[test]
    fn labels_are_read_once_whatever_the_name() {
        let of_name = |name| {
            answer(
                &[0, 1]
                    .map(|index| gpu(name, index, r#"[1700000000.123,"98"],[1700000015,"0.5"]"#)),
            )
        };
        let answers = ["A", "B", "C"].map(of_name);
        let answers = answers.each_ref().map(String::as_str);
        let (all, warnings, labels_read) = streamed(WINDOW, &answers).unwrap();
        assert_eq!(labels_read, 2);
        assert_eq!(Some((all, warnings)), expected(&answers));
    }

    #[test]
    fn labels_are_known_in_any_order() {
        let of = |name, indexes: &[u32]| {
            let series = indexes.iter().map(|index| gpu(name, *index, r#"[1,"1"]"#));
            answer(&series.collect::<Vec<_>>())
        };
        let answers = [
            of("A", &[0, 1, 2]),
            of("B", &[0, 2, 3]),
            of("C", &[3, 2, 1, 0, 3]),
        ];
        let answers = answers.each_ref().map(String::as_str);
        let (all, warnings, labels_read) = streamed(WINDOW, &answers).unwrap();
        assert_eq!(labels_read, 4);
        assert_eq!(Some((all, warnings)), expected(&answers));
    }

    #[test]
    fn what_is_known_stays_within_its_limit() {
        let of = |name| answer(&[0, 1, 2].map(|index| gpu(name, index, r#"[1,"1"]"#)));
        let answers = ["A", "B"].map(of);
        let answers = answers.each_ref().map(String::as_str);
        let rows = [
            (0, 6),
            (2 * ENTRY_BYTES, 6),
            (3 * ENTRY_BYTES, 6),
            (10 * ENTRY_BYTES, 3),
        ];
        for (limit, expected_reads) in rows {
            let (all, warnings, labels_read) = streamed_within(limit, WINDOW, &answers).unwrap();
            assert_eq!(labels_read, expected_reads, "{limit}");
            assert_eq!(Some((all, warnings)), expected(&answers), "{limit}");
        }
    }

    #[test]
    fn every_value_and_time_is_the_other_reader_s() {
        let times = [
            "1700000000.1",
            "1700000000.12",
            "1700000000.010",
            "0",
            "0.5",
            "1",
        ];
        let values = VALUES_WRITTEN.map(|value| format!(r#"[1700000000.123,"{value}"]"#));
        let times = times.map(|time| format!(r#"[{time},"1"]"#));
        let answer = answer(&[
            gpu("A", 0, &values.join(",")),
            gpu("A", 1, &times.join(",")),
        ]);
        let (all, warnings, labels_read) = streamed(WINDOW, &[&answer]).unwrap();
        assert_eq!(labels_read, 2, "some are left to the other reader");
        assert_eq!(Some((all, warnings)), expected(&[&answer]));
    }

    #[test]
    fn what_is_written_otherwise_is_the_other_reader_s() {
        let good = gpu("A", 0, r#"[1,"1"]"#);
        let rows = [
            gpu("A", 1, ""),
            gpu(r"\u0041", 1, r#"[1,"1"]"#),
            gpu("A", 1, r#"[1,"\u0031"]"#),
            gpu("A", 1, r#"[1, "1"]"#),
            gpu("A", 1, r#"[1e3,"1"]"#),
            gpu("A", 1, r#"[-1.5,"1"]"#),
            gpu("A", 1, r#"[1700000000.1234,"1"]"#),
            gpu("A", 1, r#"[999999999999999,"1"]"#),
            gpu("A", 1, r#"[1,"é"]"#),
            r#"{"metric":{"gpu":"1"},"values":[[1,"1"]]}"#.to_owned(),
            r#"{"metric":{"__name__":"A","gpu":"},\"values\":["},"values":[[1,"1"]]}"#.to_owned(),
            r#"{"metric":{"__name__":"A","gpu":"\"__name__\":\"B"},"values":[[1,"1"]]}"#.to_owned(),
            r#"{"metric":{"__name__":"A","gpu":"1"},"histograms":[[1,{"count":"2"}]]}"#.to_owned(),
            r#"{"values":[[1,"1"]],"metric":{"__name__":"A","gpu":"1"}}"#.to_owned(),
        ];
        for row in rows {
            let answer = answer(&[good.clone(), row.clone(), good.clone()]);
            let read = streamed(WINDOW, &[&answer]).map(|(all, warnings, _)| (all, warnings));
            assert_eq!(read.as_ref().map(|(all, _)| all.len()), Some(3), "{row}");
            assert_eq!(read, expected(&[&answer]), "{row}");
        }
    }

    #[test]
    fn refuses_what_the_other_reader_refuses() {
        let good = gpu("A", 0, r#"[1,"1"]"#);
        let rows = [
            gpu("A", 1, r#"[01,"1"]"#),
            gpu("A", 1, r#"[1.,"1"]"#),
            gpu("A", 1, r#"[.5,"1"]"#),
            gpu("A", 1, r#"[1,"1"],"#),
            gpu("A", 1, r#"[1,1]"#),
            gpu("A", 1, "[1,\"\u{7}\"]"),
            gpu("A\n", 1, r#"[1,"1"]"#),
            good.replace("\"gpu\":\"0\"", "\"gpu\":0"),
            good.replace("\"gpu\"", "gpu"),
            String::new(),
        ];
        for row in rows {
            let answer = answer(&[good.clone(), row]);
            assert_eq!(streamed(WINDOW, &[&good, &answer]), None, "{answer}");
            assert_eq!(streamed(WINDOW, &[&answer]), None, "{answer}");
        }
    }

    proptest! {
        #[test]
        fn is_the_other_reader_whatever_is_damaged(
            window in 1usize..2_000,
            shapes in prop::collection::vec((0u32..3, prop::collection::vec(0usize..20, 1..5)), 0..6),
            damage in prop::option::of((0usize..2_000, "[\\[\\]{}\",.:\\\\0-9a-z é]{0,3}", 0usize..3)),
        ) {
            let series = shapes.iter().map(|(index, values)| {
                let values = values.iter().zip(0..);
                let samples = values.map(|(value, at)| format!(r#"[{at}.5,"{}"]"#, VALUES_WRITTEN[*value]));
                gpu("A", *index, &samples.collect::<Vec<_>>().join(","))
            });
            let good = answer(&series.collect::<Vec<_>>());
            let mut bad = good.clone();
            if let Some((at, text, length)) = damage {
                let at = at % good.len();
                bad.replace_range(at..(at + length).min(good.len()), &text);
            }
            for answers in [&[&*bad][..], &[&*good, &*bad]] {
                let read = streamed(window, answers).map(|(all, warnings, _)| (all, warnings));
                prop_assert_eq!(read, expected(answers), "{}", bad);
            }
        }
    }
}
