//! Whatever AMP answers: reading it never panics, and what is believed of it can be published.

#![no_main]
#![allow(dead_code, reason = "the modules are the function's; not all of them is called here")]

#[path = "../../functions/dcgm-to-cloudwatch/src/fleet.rs"]
mod fleet;
#[path = "../../functions/dcgm-to-cloudwatch/src/matrix.rs"]
mod matrix;
#[path = "../../functions/dcgm-to-cloudwatch/src/sample.rs"]
mod sample;

use fleet::Fleet;
use libfuzzer_sys::fuzz_target;
use sample::{CLOUDWATCH_VALUES, believe};

fuzz_target!(|answer: &[u8]| {
    let mut fleet = Fleet::new(&["instance_id".to_owned(), "instance".to_owned()]);
    let labels = fleet.labels().to_vec();
    // What is wrong with an answer is told; what came before the fault was handed on all the same.
    let _ = matrix::read(answer, &labels, |values, samples| {
        assert_eq!(values.len(), labels.len());
        if let Ok(number) = fleet.identify(values) {
            let gpu = fleet.gpu(number);
            assert!(is_dimension_value(&gpu.instance_id) && is_dimension_value(&gpu.gpu));
            assert!(gpu.gpu_instance.is_empty() || is_dimension_value(&gpu.gpu_instance));
        }
        for (_, value) in samples {
            if let Ok(value) = believe(*value, &CLOUDWATCH_VALUES) {
                assert!(CLOUDWATCH_VALUES.contains(&value));
            }
        }
    });
});

/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_Dimension.html>
fn is_dimension_value(text: &str) -> bool {
    (1..=1024).contains(&text.len())
        && text.is_ascii()
        && !text.trim().is_empty()
        && !text.bytes().any(|byte| byte.is_ascii_control())
}
