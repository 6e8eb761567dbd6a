//! Reads a Prometheus answer series by series. Each is passed on as soon as it is complete; no more than
//! one is held in memory.
//! <https://prometheus.io/docs/prometheus/latest/querying/api/#format-overview>

use std::fmt;

use crate::gpu::reading::Sample;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Reads an answer whose result is a matrix. Calls `each` for every series with the values of `labels`, in
/// their order, empty where the series lacks one, and with its samples, oldest first. Returns Prometheus's
/// warnings.
///
/// # Errors
/// The bytes are not such an answer, or end too early.
pub(crate) fn read(
    answer: &[u8],
    labels: &[String],
    each: impl FnMut(&[String], &[Sample]),
) -> Result<Vec<String>, serde_json::Error> {
    let mut series = Series {
        labels,
        values: vec![String::new(); labels.len()],
        samples: Vec::new(),
        each,
    };
    // UTF-8 is checked once for the whole answer, which is faster than for every string.
    let answer = std::str::from_utf8(answer).map_err(serde_json::Error::custom)?;
    let mut json = serde_json::Deserializer::from_str(answer);
    let warnings = Answer(&mut series).deserialize(&mut json)?;
    json.end()?;
    Ok(warnings)
}

/// Reads the JSON of one series's labels: puts the values of `labels` into `values`, as [`read`] passes them on.
///
/// # Errors
/// The bytes are no such JSON.
pub(super) fn read_labels(
    json: &[u8],
    labels: &[String],
    values: &mut Vec<String>,
) -> Result<(), serde_json::Error> {
    values.resize(labels.len(), String::new());
    values.iter_mut().for_each(String::clear);
    let mut json = serde_json::Deserializer::from_slice(json);
    Labels { labels, values }.deserialize(&mut json)?;
    json.end()
}

/// A sample's value, not a number where the text is none.
pub(super) fn value(text: &str) -> f64 {
    text.parse().unwrap_or(f64::NAN)
}

/// Buffers for one series, reused for the next.
struct Series<'a, F> {
    labels: &'a [String],
    values: Vec<String>,
    samples: Vec<Sample>,
    each: F,
}

/// `{"status":"success","data":…,"warnings":[…]}`
struct Answer<'s, 'a, F>(&'s mut Series<'a, F>);

impl<'de, F: FnMut(&[String], &[Sample])> DeserializeSeed<'de> for Answer<'_, '_, F> {
    type Value = Vec<String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, F: FnMut(&[String], &[Sample])> Visitor<'de> for Answer<'_, '_, F> {
    type Value = Vec<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a Prometheus answer")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut warnings = Vec::new();
        let mut has_data = false;
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "data" => {
                    map.next_value_seed(Data(self.0))?;
                    has_data = true;
                }
                "warnings" => warnings = map.next_value()?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        if has_data {
            Ok(warnings)
        } else {
            Err(A::Error::missing_field("data"))
        }
    }
}

/// `{"resultType":"matrix","result":[…]}`
struct Data<'s, 'a, F>(&'s mut Series<'a, F>);

impl<'de, F: FnMut(&[String], &[Sample])> DeserializeSeed<'de> for Data<'_, '_, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, F: FnMut(&[String], &[Sample])> Visitor<'de> for Data<'_, '_, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the data of a Prometheus answer")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            if key == "result" {
                map.next_value_seed(Matrix(&mut *self.0))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

/// `[{"metric":…,"values":…},…]`
struct Matrix<'s, 'a, F>(&'s mut Series<'a, F>);

impl<'de, F: FnMut(&[String], &[Sample])> DeserializeSeed<'de> for Matrix<'_, '_, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, F: FnMut(&[String], &[Sample])> Visitor<'de> for Matrix<'_, '_, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a matrix: a list of series with their raw samples")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(OneSeries(&mut *self.0))?.is_some() {}
        Ok(())
    }
}

/// `{"metric":{"gpu":"0",…},"values":[[1700000000.123,"98"],…]}`
struct OneSeries<'s, 'a, F>(&'s mut Series<'a, F>);

impl<'de, F: FnMut(&[String], &[Sample])> DeserializeSeed<'de> for OneSeries<'_, '_, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, F: FnMut(&[String], &[Sample])> Visitor<'de> for OneSeries<'_, '_, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a series")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Series {
            labels,
            values,
            samples,
            each,
        } = self.0;
        values.iter_mut().for_each(String::clear);
        samples.clear();
        while let Some(key) = map.next_key_seed(Key(&["metric", "values"]))? {
            match key {
                Some(0) => map.next_value_seed(Labels { labels, values })?,
                Some(_) => map.next_value_seed(Samples(samples))?,
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        each(values, samples);
        Ok(())
    }
}

/// Reads a key and finds its index among the wanted ones, without an allocation.
struct Key<'a, S>(&'a [S]);

impl<'de, S: AsRef<str>> DeserializeSeed<'de> for Key<'_, S> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<S: AsRef<str>> Visitor<'_> for Key<'_, S> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().position(|wanted| wanted.as_ref() == key))
    }
}

struct Labels<'s> {
    labels: &'s [String],
    values: &'s mut [String],
}

impl<'de> DeserializeSeed<'de> for Labels<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Labels<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("labels")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(wanted) = map.next_key_seed(Key(self.labels))? {
            match wanted {
                Some(index) => map.next_value_seed(Text(&mut self.values[index]))?,
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

/// Reads a string into an existing one.
struct Text<'s>(&'s mut String);

impl<'de> DeserializeSeed<'de> for Text<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Text<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.0.clear();
        self.0.push_str(text);
        Ok(())
    }
}

/// `[[1700000000.123,"98"],…]`
struct Samples<'s>(&'s mut Vec<Sample>);

impl<'de> DeserializeSeed<'de> for Samples<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Samples<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of samples")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some((seconds, Value(value))) = seq.next_element::<(f64, Value)>()? {
            self.0.push(((seconds * 1000.0).round() as i64, value));
        }
        Ok(())
    }
}

/// A sample's value, which Prometheus writes as a string.
struct Value(f64);

impl<'de> serde::Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;
        impl Visitor<'_> for Number {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number in a string")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
                Ok(Value(value(text)))
            }
        }
        deserializer.deserialize_str(Number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Collected = Vec<(Vec<String>, Vec<Sample>)>;

    fn collect(answer: &str) -> Result<(Collected, Vec<String>), serde_json::Error> {
        let labels = ["gpu", "instance_id"].map(str::to_owned);
        let mut all = Vec::new();
        let warnings = read(answer.as_bytes(), &labels, |values, samples| {
            all.push((values.to_vec(), samples.to_vec()));
        })?;
        Ok((all, warnings))
    }

    #[test]
    fn hands_on_each_series_with_the_labels_asked_for() {
        let (all, warnings) = collect(
            r#"{"status":"success","data":{"resultType":"matrix","result":[
                {"metric":{"__name__":"X","gpu":"0","instance_id":"i-1"},
                 "values":[[1700000000.123,"98"],[1700000015,"0.5"]]},
                {"values":[[1700000000,"1"]],"metric":{"gpu":"1"}}
            ]},"warnings":["slow down"],"infos":[]}"#,
        )
        .unwrap();
        assert_eq!(
            all,
            [
                (
                    vec!["0".to_owned(), "i-1".to_owned()],
                    vec![(1_700_000_000_123, 98.0), (1_700_000_015_000, 0.5)]
                ),
                (
                    vec!["1".to_owned(), String::new()],
                    vec![(1_700_000_000_000, 1.0)]
                ),
            ]
        );
        assert_eq!(warnings, ["slow down"]);
    }

    #[test]
    fn reads_every_value_prometheus_writes() {
        let rows = [
            ("98", 98.0),
            ("1e+02", 100.0),
            ("+Inf", f64::INFINITY),
            ("-Inf", f64::NEG_INFINITY),
            ("9223372036854775794", 9_223_372_036_854_775_794.0),
            ("NaN", f64::NAN),
            ("ninety", f64::NAN),
            ("", f64::NAN),
        ];
        for (text, value) in rows {
            let answer = format!(r#"{{"data":{{"result":[{{"values":[[1,"{text}"]]}}]}}}}"#);
            let read = collect(&answer).unwrap().0[0].1[0].1;
            assert!(
                read == value || (read.is_nan() && value.is_nan()),
                "{text}: {read}"
            );
        }
    }

    #[test]
    fn a_histogram_series_has_no_samples() {
        let answer = r#"{"data":{"result":[{"metric":{},"histograms":[[1,{"count":"2"}]]}]}}"#;
        assert_eq!(
            collect(answer).unwrap().0,
            [(vec![String::new(); 2], vec![])]
        );
    }

    #[test]
    fn refuses_what_is_no_matrix() {
        let rows = [
            "",
            "<html>502 Bad Gateway</html>",
            "null",
            "[]",
            r#"{"status":"success"}"#,
            r#"{"data":{"resultType":"scalar","result":[1,"2"]}}"#,
            r#"{"data":{"resultType":"vector","result":[{"metric":{},"value":7,"values":8}]}}"#,
            r#"{"data":{"result":[{"metric":{"gpu":0}}]}}"#,
            r#"{"data":{"result":[{"values":[["1","2"]]}]}}"#,
            r#"{"data":{"result":[]}} trailing"#,
            r#"{"data":{"result":[{"values":[[1,"2"]]}"#,
        ];
        for answer in rows {
            assert!(collect(answer).is_err(), "{answer}");
        }
    }
}
